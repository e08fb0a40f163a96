"""What one worker carries: the real application on a loopback port of this process, and a client beside it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.auth.answers import UNAVAILABLE
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.server.addresses import endpoint_path
from mcp_keys_server.server.app import build_app
from mcp_keys_server.server.bench.findings import CallFigures, Times
from mcp_keys_server.server.bench.load import LoadError, run_load
from mcp_keys_server.server.bench.load_generator import Job
from mcp_keys_server.server.bench.looked_up import LookedUp
from mcp_keys_server.server.bench.mcp_requests import ANSWER, LEGACY, MODERN, tool_call
from mcp_keys_server.server.bench.progress import Tell
from mcp_keys_server.server.bench.throw_away import ThrowAway
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.http_service import http_server, listen
from mcp_keys_server.settings import Settings

PROTOCOLS: Final = (MODERN, LEGACY)
_LOOPBACK: Final = "127.0.0.1"
_WARM_UP: Final = 0.1
"""Of the time."""
_AS_MANY_AS_CAN_BE: Final = 10**9


class LookUps:
    """In front of the application, a look-up in another store for each request, as if its keys were in there."""

    def __init__(self, app: ASGIApp, there: LookedUp) -> None:
        self._app = app
        self._there = there

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._there.look_up_next()
            except StoreUnavailableError:
                await UNAVAILABLE(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def measure_calls(
    there: LookedUp, other: ThrowAway, settings: Settings, *, seconds: float, tell: Tell
) -> Sequence[CallFigures]:
    """Let all users of the other ring call at once, each on a connection of their own, in each version of the protocol.

    Raises:
        StoreUnavailableError: The store does not answer.
        LoadError: The calls were not answered for another reason.
    """
    measured = []
    async with _served(there, other, settings) as port:
        for number, protocol in enumerate(PROTOCOLS):
            tell(number / len(PROTOCOLS), f"requests, MCP {protocol}")
            try:
                measured.append(await _measure(protocol, port, other, seconds / len(PROTOCOLS)))
            except LoadError:
                await there.store.check()  # which says it if this is why
                raise
    return measured


async def _measure(protocol: str, port: int, other: ThrowAway, seconds: float) -> CallFigures:
    requests = [
        tool_call(protocol, port=port, path=endpoint_path(user_id, KEYS_ALIAS), key=key.reveal())
        for user_id, key in other.keys.items()
    ]
    outcome = await run_load(
        Job(
            port=port,
            requests=requests,
            expected=ANSWER,
            warm_up_seconds=seconds * _WARM_UP,
            seconds=seconds * (1 - _WARM_UP),
        )
    )
    return CallFigures(protocol, outcome["requests_per_second"], Times(outcome["median_ms"], outcome["p99_ms"]))


@asynccontextmanager
async def _served(there: LookedUp, other: ThrowAway, settings: Settings) -> AsyncIterator[int]:
    """The port. A signal that ends the server early is raised again, and so ends whoever runs this."""
    with closing(listen(_LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        server = http_server(_app(there, other, for_measuring(settings), port))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield port
        finally:
            was_told_to_stop = server.should_exit
            server.should_exit = True
            await serving
            if was_told_to_stop:  # and then calls were not answered for no other reason
                raise KeyboardInterrupt


def _app(there: LookedUp, other: ThrowAway, settings: Settings, port: int) -> Starlette:
    app = build_app(other.ring, host_policy(settings, port=port), settings)
    app.add_middleware(LookUps, there=there)
    return app


def for_measuring(settings: Settings) -> Settings:
    """These, without what starts programs, calls other servers, or refuses who calls often."""
    return settings.model_copy(
        update={
            "host": _LOOPBACK,
            "public_url": None,
            "secret_delivery": None,
            "calls_per_minute": _AS_MANY_AS_CAN_BE,
            "failures_per_minute": _AS_MANY_AS_CAN_BE,
            "rate_limit_storage": None,
            "upstreams": {},
        }
    )
