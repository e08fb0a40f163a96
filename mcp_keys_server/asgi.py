"""An application of one's own behind the keys of a key ring: Starlette, FastAPI, or any other that speaks ASGI."""

import logging
from collections.abc import Awaitable, Callable, Collection

from limits import RateLimitItemPerMinute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.auth.answers import NOT_OPENED
from mcp_keys_server.auth.credential import CARRIERS
from mcp_keys_server.auth.entrance import Entrance, path_as_sent
from mcp_keys_server.auth.guard import PRINCIPAL, KeyGuard, principal_of
from mcp_keys_server.auth.line_budget import RefusalLog
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.open_responses import only_while_open
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.errors import NotPermittedError
from mcp_keys_server.core.field_rules import check_scopes
from mcp_keys_server.core.records import Principal
from mcp_keys_server.key_ring import KeyRing

__all__ = ["ApiKeyMiddleware", "current_principal", "require_scopes"]

logger = logging.getLogger(__name__)

FAILURES_PER_MINUTE = 60


class ApiKeyMiddleware:
    """Lets a request in with a key that opens this application, and answers every other.

    Which keys do is said by ``alias``, by ``path`` with ``{user_id}`` and ``{alias}`` in it, or by both. Requests to
    ``open_paths`` are let in without any key. The key ring is the one given, or what the lifespan yields as
    ``{"key_ring": ring}``.

    The key itself goes no further: behind the middleware, ``Authorization: Bearer`` holds the key's id in its place.

    Raises:
        InvalidFieldError: The alias breaks the rule of its field.
        ValueError: Nothing says which alias a key has to open.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, given by name
        self,
        app: ASGIApp,
        key_ring: KeyRing | None = None,
        *,
        alias: str | None = None,
        path: str | None = None,
        open_paths: Collection[str] = (),
        failures_per_minute: int = FAILURES_PER_MINUTE,
    ) -> None:
        self._app = app
        self._entrance = Entrance(alias=alias, path=path)
        self._open_paths = frozenset(open_paths)
        self._failures = RateLimitItemPerMinute(failures_per_minute)
        self._given = key_ring
        self._guarded: tuple[KeyRing, KeyGuard] | None = None
        self._log = RefusalLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or path_as_sent(scope) in self._open_paths:
            await self._app(scope, receive, send)
            return
        await self._guard(scope)(scope, receive, send)

    def _guard(self, scope: Scope) -> KeyGuard:
        ring = self._given or _ring_of_lifespan(scope)
        if self._guarded is None or self._guarded[0] is not ring:
            failures = Throttle("failures", self._failures, ring.counters)
            self._guarded = ring, KeyGuard(self._enter, ring.verifier, ring.open_responses, failures)
        return self._guarded[1]

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = principal_of(scope)
        alias = self._entrance.opened_alias(path_as_sent(scope), principal)
        if alias is None:
            self._log.refused("not opened by this key", principal, f"client={client_address(scope)}")
            await NOT_OPENED(scope, receive, send)
            return
        only_while_open(alias)
        scope["headers"] = [
            *(header for header in scope["headers"] if header[0] not in CARRIERS),
            (b"authorization", b"Bearer " + principal.key_id.encode()),
        ]
        await self._app(scope, receive, send)


async def current_principal(connection: HTTPConnection) -> Principal:
    """Whose request this is; a dependency for FastAPI, and to be awaited with the request elsewhere."""
    if PRINCIPAL not in connection.scope:
        raise RuntimeError(
            "this request came without a key: ApiKeyMiddleware is not in front, or leaves this path open"
        )
    return principal_of(connection.scope)


def require_scopes(scope: str, *more: str) -> Callable[[HTTPConnection], Awaitable[Principal]]:
    """What gives the same for a key that has all of these scopes, and a 403 for any other.

    With FastAPI it is ``Depends(require_scopes("orders:read"))``, elsewhere ``await may_read_orders(request)`` after
    ``may_read_orders = require_scopes("orders:read")``.

    Raises:
        InvalidFieldError: There can be no such scope.
    """
    needed = (scope, *more)
    check_scopes(needed)

    async def permitted_principal(connection: HTTPConnection) -> Principal:
        principal = await current_principal(connection)
        try:
            for one in needed:
                principal.grant.require(one)
        except NotPermittedError as error:
            raise HTTPException(403, str(error)) from None
        return principal

    return permitted_principal


def _ring_of_lifespan(scope: Scope) -> KeyRing:
    ring = scope.get("state", {}).get("key_ring")
    if not isinstance(ring, KeyRing):
        raise TypeError("there is no key ring: give ApiKeyMiddleware one, or yield {'key_ring': ring} in the lifespan")
    return ring
