"""Requests written byte by byte to servers of this process, and what is answered."""

import asyncio
import re
import resource
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_keys_server.asgi import ApiKeyMiddleware, current_principal
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.http_service import http_server, listen
from mcp_keys_server.settings import Settings
from tests.world import World

AT_ONCE = 20
OURS = b"/u/ada/keys/mcp"
"""The path at our server; behind the middleware, all are the same."""
UNLIMITED = Settings(calls_per_minute=10**9, failures_per_minute=10**9)
LONGEST_WAIT = 60
"""Seconds; whoever is not answered by then is not answered."""
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


@asynccontextmanager
async def our_server(world: World) -> AsyncIterator[int]:
    """The port of the whole application as it is served."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(closing(listen("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        policy = host_policy(UNLIMITED, port=port)
        server = http_server(build_app(world.ring, policy, UNLIMITED, clock=world.clock))
        await _until_up(server, stack, server.serve(sockets=[listener]))
        yield port


@asynccontextmanager
async def embedded(world: World) -> AsyncIterator[int]:
    """The port of an application behind the middleware, served by uvicorn with its other parser, h11."""

    async def whose(request: Request) -> Response:
        return JSONResponse((await current_principal(request)).user_id)

    guard = Middleware(ApiKeyMiddleware, world.ring, alias="orders", failures_per_minute=10**9)
    app = Starlette(routes=[Route("/{rest:path}", whose, methods=["POST"])], middleware=[guard])
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(closing(listen("127.0.0.1", 0)))
        server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False))
        await _until_up(server, stack, server.serve(sockets=[listener]))
        yield listener.getsockname()[1]


async def _until_up(server: uvicorn.Server, stack: AsyncExitStack, serving: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(serving)

    async def stop() -> None:
        server.should_exit = True
        await task

    stack.push_async_callback(stop)
    while not server.started:
        await asyncio.sleep(0)


async def answers(port: int, requests: Iterable[bytes]) -> list[bytes]:
    """What each of them got, whole; nothing, where the connection was closed without a word."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(request: bytes) -> bytes:
        async with limit, asyncio.timeout(LONGEST_WAIT):
            return await answer(port, request)

    return await asyncio.gather(*(one(request) for request in requests))


async def answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = bytearray()
    with suppress(ConnectionError):  # it was closed before it had read all of that
        writer.write(request)
        while part := await reader.read(65_536):
            got += part
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return bytes(got)


def status(answer: bytes) -> int | None:
    found = _STATUS.match(answer)
    return int(found[1]) if found else None


def most_memory() -> int:
    """KiB that this process had at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
