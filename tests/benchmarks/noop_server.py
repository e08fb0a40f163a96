"""A program that serves one MCP tool, which does nothing, several times from one application: with our authentication,
without, and with the SDK's own. ``DATABASE USERS COST [WAY]``: it makes so many users, with a key each at this bcrypt
cost; the ways in which our authentication can be different are below. It says in a line of JSON where it serves, and
which keys open it, and stops when its standard input ends.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from datetime import datetime
from typing import Final, TypedDict

from limits import RateLimitItemPerMinute
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server import KeyRing, Principal, open_key_ring
from mcp_keys_server.auth.guard import PRINCIPAL, KeyGuard
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.grant import KEYS_ALIAS
from mcp_keys_server.core.key_hasher import KeyHasher
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.usage import UsageLog
from mcp_keys_server.core.verifier import KeyVerifier
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
WITH_SDK = "/sdk"
_COLD: Final = "/cold"
WITH_US_COLD = _COLD + WITH_US
"""Where it serves ``cold_keys`` as well."""
PROCESSOR_TIME = "/processor-time"


AS_IT_IS: Final = "as-it-is"
WITHOUT_USAGE: Final = "without-usage"
COLD_KEYS: Final = "cold-keys"


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


class Elsewhere:
    """Puts endpoints at another path, who know only their own."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self._path = path.encode("ascii")
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["raw_path"] = scope["raw_path"].removeprefix(self._path)
        await self._app(scope, receive, send)


class ByFirstPart:
    """Each is found in the same time, and not one after the other."""

    def __init__(self, places: Mapping[str, ASGIApp]) -> None:
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._places["/" + scope["path"].split("/", 2)[1]](scope, receive, send)


class NoVerifier:
    """What the SDK asks about a token that everybody has."""

    def __init__(self, principal: Principal) -> None:
        self._token = AccessToken(token="", client_id=principal.key_id, scopes=[])

    async def verify_token(self, _: str) -> AccessToken:
        return self._token


class NoUsage(UsageLog):
    def __init__(self) -> None:
        super().__init__(self._forget)

    def note(self, prefix: str, now: datetime, client: str | None) -> None:
        pass

    async def _forget(self, _: object) -> None:
        pass


def without_usage(verifier: KeyVerifier) -> KeyVerifier:
    changed = copy(verifier)
    changed._usage = NoUsage()
    return changed


def cold_keys(verifier: KeyVerifier, cost: int) -> KeyVerifier:
    """One to which a key is new at each use, if two others are used in between: its memory is of that size."""
    changed = copy(verifier)
    changed._hasher = KeyHasher(cost=cost, most_facts=1)
    changed._proofs = Proofs(None, verifier._store.record_proofs)
    return changed


def build_noop_app(ring: KeyRing, nobody: Principal, verifiers: Mapping[str, KeyVerifier], *, port: int) -> Starlette:
    """Put together as ``server.app`` does it, around another tool, with these verifiers by where they are."""
    sessions = StreamableHTTPSessionManager(
        noop_server(),
        stateless=True,
        json_response=True,
        security_settings=host_policy(Settings(), port=port).for_sdk(),
        max_request_body_size=LARGEST_BODY,
    )
    endpoint = AuthContextMiddleware(sessions.asgi_app)
    endpoints = Endpoints({KEYS_ALIAS: Endpoint(endpoint)}, unlimited(ring))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    def guarded(path: str, verifier: KeyVerifier) -> ASGIApp:
        behind = endpoints if path == WITH_US else Elsewhere(path, endpoints)
        return KeyGuard(behind, verifier, ring.open_responses, unlimited(ring), over_socket=True)

    sdk = AuthenticationMiddleware(RequireAuthMiddleware(endpoint, []), BearerAuthBackend(NoVerifier(nobody)))
    places: dict[str, ASGIApp] = {
        WITHOUT_US: NoGuard(endpoint, nobody),
        WITH_SDK: sdk,
        **{path: guarded(path, verifier) for path, verifier in verifiers.items()},
    }
    routes = [Route(PROCESSOR_TIME, _processor_time), Mount("/", ByFirstPart(places))]
    return Starlette(routes=routes, lifespan=lifespan)


async def _processor_time(_: Request) -> Response:
    return JSONResponse(time.process_time())


async def serve(database: str, users: int, cost: int, way: str = AS_IT_IS) -> None:
    async with open_key_ring(database, bcrypt_cost=cost) as ring:
        keys = [key.reveal() for key in await add_keys(ring, users)]
        nobody = await ring.verifier.verify(keys[0])
        listener = listen("127.0.0.1", 0)
        port: int = listener.getsockname()[1]
        by_user = {user_name(number): key for number, key in enumerate(keys)}

        match way:
            case "without-usage":
                verifiers = {WITH_US: without_usage(ring.verifier)}
            case "cold-keys":
                verifiers = {WITH_US: ring.verifier, _COLD: cold_keys(ring.verifier, cost)}
            case _:
                verifiers = {WITH_US: ring.verifier}

        def announce() -> None:
            sys.stdout.write(json.dumps(Announcement(port=port, keys=by_user)) + "\n")
            sys.stdout.flush()

        await serve_http(build_noop_app(ring, nobody, verifiers, port=port), listener, announce)


def main() -> None:
    set_up_logging("info")
    stop_with_standard_input()
    database, users, cost, *way = sys.argv[1:]
    asyncio.run(serve(database, int(users), int(cost), *way))


if __name__ == "__main__":
    main()
