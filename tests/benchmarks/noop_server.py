"""A program that serves one MCP tool, which does nothing, twice from one application: with our authentication and
without. It says in a line of JSON where, and which keys open it, and stops when its standard input ends.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypedDict

from limits import RateLimitItemPerMinute
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server import KeyRing, Principal, open_key_ring
from mcp_keys_server.auth.guard import PRINCIPAL, KeyGuard
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.server.app import LARGEST_BODY
from mcp_keys_server.server.endpoints import Endpoint, Endpoints
from mcp_keys_server.server.host_policy import host_policy
from mcp_keys_server.server.http_service import listen, serve_http
from mcp_keys_server.server.log_setup import set_up_logging
from mcp_keys_server.settings import Settings
from tests.benchmarks.keys_at_hand import add_keys, user_name
from tests.benchmarks.noop_tool import noop_server
from tests.benchmarks.stopping import stop_with_standard_input

WITH_US = "/u"
WITHOUT_US = "/open"
PROCESSOR_TIME = "/processor-time"


def unlimited(ring: KeyRing) -> Throttle:
    return Throttle("anything", RateLimitItemPerMinute(10**9), ring.counters)


class Announcement(TypedDict):
    port: int
    keys: dict[str, str]
    """By user id."""


class NoGuard:
    """Asks for nothing: everybody is the same principal."""

    def __init__(self, app: ASGIApp, principal: Principal) -> None:
        self._app = app
        self._principal = principal
        self._user = AuthenticatedUser(AccessToken(token="", client_id=principal.key_id, scopes=[]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PRINCIPAL] = self._principal
        scope["user"] = self._user
        await self._app(scope, receive, send)


def build_noop_app(ring: KeyRing, nobody: Principal, *, port: int) -> Starlette:
    """Put together as ``server.app`` does it, around another tool."""
    sessions = StreamableHTTPSessionManager(
        noop_server(),
        stateless=True,
        json_response=True,
        security_settings=host_policy(Settings(), port=port).for_sdk(),
        max_request_body_size=LARGEST_BODY,
    )
    endpoint = AuthContextMiddleware(sessions.asgi_app)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    return Starlette(
        routes=[
            # First, because finding the second takes a little longer, and that is to be ours.
            Mount(WITHOUT_US, NoGuard(endpoint, nobody)),
            Mount(
                WITH_US,
                KeyGuard(
                    Endpoints({KEYS_ALIAS: Endpoint(endpoint)}, unlimited(ring)),
                    ring.verifier,
                    ring.open_responses,
                    unlimited(ring),
                ),
            ),
            Route(PROCESSOR_TIME, _processor_time),
        ],
        lifespan=lifespan,
    )


async def _processor_time(_: Request) -> Response:
    return JSONResponse(time.process_time())


async def serve(database: Path, users: int) -> None:
    # The cheapest cost, because all keys are proven before the first request that counts.
    async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST) as ring:
        keys = [key.reveal() for key in await add_keys(ring, users)]
        nobody = await ring.verifier.verify(keys[0])
        listener = listen("127.0.0.1", 0)
        port: int = listener.getsockname()[1]
        by_user = {user_name(number): key for number, key in enumerate(keys)}

        def announce() -> None:
            sys.stdout.write(json.dumps(Announcement(port=port, keys=by_user)) + "\n")
            sys.stdout.flush()

        await serve_http(build_noop_app(ring, nobody, port=port), listener, announce)


def main() -> None:
    set_up_logging("info")
    stop_with_standard_input()
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
