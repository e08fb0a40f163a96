"""A program that serves the tool over its standard input and output."""

import asyncio

from mcp.server.stdio import stdio_server

from tests.benchmarks.noop_tool import noop_server


async def serve() -> None:
    server = noop_server()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(serve())
