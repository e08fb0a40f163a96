"""A program that the SDK serves as it comes, without authentication: with one of our tools, ``client_config``, which
reads no database and does here what it does with us. Its argument is the port.
"""

import sys
from typing import Final

from mcp.server import MCPServer

from mcp_keys_server.server.client_config import Client, Endpoint, snippet
from mcp_keys_server.server.tool_results import ClientConfig

PATH: Final = "/mcp"


def client_config(client: Client, alias: str) -> ClientConfig:
    """Show what to paste into an MCP client so that it uses one of the user's endpoints."""
    made = snippet(client, Endpoint(f"http://localhost:8000/u/ada/{alias}/mcp"), alias=alias)
    return ClientConfig(client=made.client, title=made.title, where=made.where, text=made.text)


if __name__ == "__main__":
    server = MCPServer("plain")
    server.tool()(client_config)
    server.run("streamable-http", port=int(sys.argv[1]), stateless_http=True)
