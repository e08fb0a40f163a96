"""Every tool over standard input and output, where the key is the one with which the program was started."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.shared.memory import create_client_server_memory_streams

from mcp_keys_server.server import stdio
from mcp_keys_server.settings import Settings
from tests.authorisation.callers import Caller, bad_keys, holdings
from tests.authorisation.calls import ENTERING, Ask, a_family, is_listed, wrong_calls
from tests.authorisation.table import TOOLS
from tests.world import World

pytestmark = pytest.mark.anyio

SETTINGS = Settings(secret_delivery="inline")


@asynccontextmanager
async def started_with(world: World, key: str, *, mode: str = "auto") -> AsyncIterator[Client]:
    """A client of the program, with memory in the place of its standard input and output."""
    async with create_client_server_memory_streams() as (of_client, of_server):

        @asynccontextmanager
        async def streams() -> AsyncIterator[Any]:
            yield of_server

        @asynccontextmanager
        async def transport() -> AsyncIterator[Any]:
            yield of_client

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(stdio, "stdio_server", streams)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stdio.serve_stdio, world.ring, key, stdio.key_tools(world.ring, SETTINGS))
                async with Client(transport(), mode=mode, cache=None) as client:
                    yield client
                tasks.cancel_scope.cancel()


def asker(world: World) -> Ask:
    async def ask(caller: Caller, tool: str, arguments: dict[str, Any], *, modern: bool) -> dict[str, Any]:
        async with started_with(world, caller.presented, mode="auto" if modern else "legacy") as client:
            await client.list_tools()  # which the client does afterwards else, to see whether the result fits
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                return {"error": {"message": str(error)}}
            return {"result": result.model_dump(mode="json", by_alias=True)}

    return ask


@pytest.mark.parametrize("name", ["a key that reads", "a key of few tools"])
async def test_every_key_does_what_the_table_says(sqlite_world: World, name: str) -> None:
    assert await wrong_calls(sqlite_world, asker(sqlite_world), ENTERING[name], shift=0) == []


async def test_what_is_listed_is_what_the_table_says(sqlite_world: World) -> None:
    for grant in ENTERING.values():
        caller, _ = await a_family(sqlite_world, grant)
        async with started_with(sqlite_world, caller.presented) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {tool for tool in TOOLS if is_listed(caller, tool)}


async def test_a_key_that_is_not_good_calls_nothing(sqlite_world: World) -> None:
    keys = await bad_keys(sqlite_world)
    before = await holdings(sqlite_world)
    for name, key in keys.items():
        async with started_with(sqlite_world, key) as client:
            for tool in TOOLS:
                result = await client.call_tool(tool, {})
                assert result.is_error, (name, tool)
                assert "no longer valid" in str(result.content)
            with pytest.raises(MCPError):
                await client.list_tools()
    assert await holdings(sqlite_world) == before
