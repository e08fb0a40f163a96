"""A program that serves one MCP tool, which does nothing, behind what somebody else made.

Its arguments are a way and an empty folder: one of ``FASTMCP_SERVERS``, which are FastMCP's own servers, or a name of
``verifying.PEERS``, which is asked about each request in front of the SDK's server. It says in a line of JSON where,
and which keys open it, and stops when its standard input ends. It runs with the peers' own Python, so it imports
nothing of the product.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypedDict

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.benchmarks.mcp_requests import ANSWER, TOOL
from tests.benchmarks.noop_tool import noop_server
from tests.benchmarks.peers.verifying import KEYS, PEERS, Peer, Verify
from tests.benchmarks.stopping import stop_with_standard_input

PATH: Final = "/mcp"
_BEARER: Final = b"Bearer "
_UNAUTHORIZED: Final = Response(status_code=401)

Served = tuple[ASGIApp, Sequence[str]]
"""And the keys that open it."""


class ServedThere(TypedDict):
    port: int
    keys: Sequence[str]


class Asking:
    """The least that can be in front: it asks about the key, and does nothing else."""

    def __init__(self, app: ASGIApp, verify: Verify) -> None:
        self._app = app
        self._verify = verify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            key = dict(scope["headers"])[b"authorization"].removeprefix(_BEARER).decode("ascii")
            if not await self._verify(key):
                await _UNAUTHORIZED(scope, receive, send)
                return
        await self._app(scope, receive, send)


@asynccontextmanager
async def asking(peer: Peer, folder: Path) -> AsyncIterator[Served]:
    app = noop_server().streamable_http_app(streamable_http_path=PATH, json_response=True, stateless_http=True)
    async with peer(folder) as (verify, keys):
        yield Asking(app, verify), keys


def noop() -> str:
    return ANSWER


def fastmcp_app(server: Any) -> ASGIApp:  # noqa: ANN401 - FastMCP, which only one of the environments has to have
    server.tool(name=TOOL)(noop)
    app: ASGIApp = server.http_app(path=PATH, json_response=True, stateless_http=True)
    return app


@asynccontextmanager
async def static_tokens(_: Path) -> AsyncIterator[Served]:
    from fastmcp import FastMCP
    from fastmcp.server.auth import StaticTokenVerifier

    keys = [f"token-{number}" for number in range(KEYS)]
    auth = StaticTokenVerifier({key: {"client_id": key, "scopes": []} for key in keys})
    yield fastmcp_app(FastMCP("noop", auth=auth)), keys


@asynccontextmanager
async def fastmcp_guard(folder: Path) -> AsyncIterator[Served]:
    from fastmcp import FastMCP
    from fastmcp_guard import Guard, KeyStore

    server = FastMCP[Any]("noop")
    guard = Guard(server, keys=KeyStore(backend="sqlite", path=str(folder / "keys.db")))
    keys = [str(guard.keys.create(name="one").token) for _ in range(KEYS)]
    yield fastmcp_app(server), keys


FASTMCP_SERVERS: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[Served]]]] = {
    "fastmcp-static": static_tokens,
    "fastmcp-guard": fastmcp_guard,
}


async def main(way: str, folder: Path) -> None:
    prepared = FASTMCP_SERVERS[way](folder) if way in FASTMCP_SERVERS else asking(PEERS[way], folder)
    async with prepared as (app, keys):
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        sys.stdout.write(json.dumps(ServedThere(port=listener.getsockname()[1], keys=keys)) + "\n")
        sys.stdout.flush()
        # As ours is served.
        config = uvicorn.Config(app, http="httptools", ws="none", log_config=None, access_log=False)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    stop_with_standard_input()
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
