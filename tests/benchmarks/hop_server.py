"""A program that serves the tool over HTTP, in one of the ways that are compared:

- ``upstream``: by the SDK's server, without anything between;
- ``gateway DATABASE FOLDER URL``: by our server, at the alias ``url`` what is at the URL, at ``program`` the program;
- ``fastmcp URL``, ``fastmcp program``: by FastMCP's proxy, without any authentication;
- ``fastmcp-kept URL``: the same with one connected client for all calls, whoever makes them.

It says in a line of JSON where, and stops when its standard input ends.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict, cast

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy
from fastmcp.server.providers.proxy import FastMCPProxy
from starlette.applications import Starlette

from mcp_keys_server import open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.http_service import listen, serve_http
from mcp_keys_server.server.log_setup import set_up_logging
from mcp_keys_server.settings import Settings
from mcp_keys_server.upstreams import AnyUpstream, parse_upstreams
from tests.benchmarks.keys_at_hand import add_keys, user_name
from tests.benchmarks.noop_tool import PROGRAM, PROGRAM_ENVIRONMENT, noop_server
from tests.benchmarks.stopping import stop_with_standard_input

PATH: Final = "/mcp"
BY_URL: Final = "url"
BY_PROGRAM: Final = "program"
_MOST_CALLS: Final = 1_000
"""Open at once."""
_UNLIMITED: Final = 10**9


class Place(TypedDict):
    """Where the tool is to be had."""

    port: int
    paths: dict[str, str]
    """By what stands behind it."""
    key: str | None


async def serve_upstream() -> None:
    app = noop_server().streamable_http_app(streamable_http_path=PATH, json_response=True, stateless_http=True)
    await _serve(app, {BY_URL: PATH, BY_PROGRAM: PATH})


async def serve_fastmcp(target: str) -> None:
    """As it is by default: a client for each call to a URL, and one session that is kept to a program."""
    command, *arguments = PROGRAM
    program = StdioTransport(command, arguments, env=dict(PROGRAM_ENVIRONMENT))
    await _serve_proxy(create_proxy(program if target == BY_PROGRAM else target))


async def serve_fastmcp_kept(url: str) -> None:
    async with Client(url) as client:
        await _serve_proxy(create_proxy(client))


async def _serve_proxy(proxy: FastMCPProxy) -> None:
    # Without sessions and streams for its clients, which costs it least.
    app = proxy.http_app(path=PATH, json_response=True, stateless_http=True)
    await _serve(app, {BY_URL: PATH, BY_PROGRAM: PATH})


async def serve_gateway(database: Path, folder: Path, url: str) -> None:
    upstreams = parse_upstreams(
        {
            BY_URL: {"url": url, "allow_private": True, "calls_at_once": _MOST_CALLS},
            BY_PROGRAM: {"command": PROGRAM, "env": PROGRAM_ENVIRONMENT, "calls_at_once": _MOST_CALLS},
        }
    )
    settings = Settings(
        upstreams=cast("Mapping[str, AnyUpstream]", upstreams),
        upstream_data_dir=folder,
        upstream_uids=None,
        calls_per_minute=_UNLIMITED,
    )
    async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST) as ring:
        (key,) = await add_keys(ring, 1)
        listener = listen("127.0.0.1", 0)
        port: int = listener.getsockname()[1]
        app = build_app(ring, host_policy(settings, port=port), settings)
        paths = {alias: endpoint_path(user_name(0), alias) for alias in (BY_URL, BY_PROGRAM)}
        place = Place(port=port, paths=paths, key=key.reveal())
        await serve_http(app, listener, lambda: announce(place))


async def _serve(app: Starlette, paths: dict[str, str]) -> None:
    listener = listen("127.0.0.1", 0)
    place = Place(port=listener.getsockname()[1], paths=paths, key=None)
    await serve_http(app, listener, lambda: announce(place))


def announce(place: Place) -> None:
    sys.stdout.write(json.dumps(place) + "\n")
    sys.stdout.flush()


async def serve(way: str, *arguments: str) -> None:
    match way:
        case "upstream":
            await serve_upstream()
        case "fastmcp":
            await serve_fastmcp(*arguments)
        case "fastmcp-kept":
            await serve_fastmcp_kept(*arguments)
        case _:
            database, folder, url = arguments
            await serve_gateway(Path(database), Path(folder), url)


def main(arguments: Sequence[str]) -> None:
    set_up_logging("warning")
    stop_with_standard_input()
    asyncio.run(serve(*arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
