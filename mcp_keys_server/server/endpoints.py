"""Which endpoint a principal may enter, and what stands behind it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp_types import HEADER_MISMATCH
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_keys_server.auth.answers import WRONG_ENDPOINT, lacks_scopes, only, refusal, too_many
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.auth.line_budget import RefusalLog
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.open_responses import only_while_open
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.auth.token_verifier import access_token
from mcp_keys_server.core.api_key import redact
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.addresses import endpoint_path

logger = logging.getLogger(__name__)

LONGEST_LOGGED_PATH = 200
_OF_MCP: Final = b"mcp-"
_NOT_ASCII: Final = refusal(400, "A header of MCP holds letters that are not ASCII.", code=HEADER_MISMATCH)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What stands at an alias: for every user another one, as far as they can tell."""

    app: ASGIApp
    methods: frozenset[str] = frozenset({"POST"})
    required_scopes: frozenset[str] = frozenset()


class Endpoints:
    """All of ``/u/{user_id}/{alias}/mcp``, behind the guard.

    Whatever a principal may not enter is one and the same 403: another's endpoint, an alias that the key does not
    open, one that nobody has, a path of another spelling. So nobody learns which of them exist.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], calls: Throttle) -> None:
        """The endpoints by alias, which may change at any time."""
        self._endpoints = endpoints
        self._calls = calls
        self._log = RefusalLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = principal_of(scope)
        alias = self._entered_alias(scope, principal)
        endpoint = None if alias is None else self._endpoints.get(alias)
        if alias is None or endpoint is None:
            path = redact(scope["path"][:LONGEST_LOGGED_PATH])
            self._log.refused("not this key's endpoint", principal, f"client={client_address(scope)} path={path!r}")
            await WRONG_ENDPOINT(scope, receive, send)
            return
        if scope["method"] not in endpoint.methods:
            # Where that is POST alone, there is neither a stream to listen on nor a session to end, which are both of
            # the legacy protocol.
            await only(endpoint.methods)(scope, receive, send)
            return
        if not endpoint.required_scopes <= principal.grant.scopes:
            missing = sorted(endpoint.required_scopes - principal.grant.scopes)
            self._log.refused("no scope", principal, f"alias={alias}")
            await lacks_scopes(alias, missing)(scope, receive, send)
            return
        seconds = await self._calls.take(principal.key_id)
        if seconds:
            self._log.refused("too many calls", principal)
            await too_many(seconds)(scope, receive, send)
            return
        if any(name.startswith(_OF_MCP) and not value.isascii() for name, value in scope["headers"]):
            await _NOT_ASCII(scope, receive, send)  # the SDK would break down in unwrapping it
            return
        logger.debug("accepted: key_id=%s user_id=%s alias=%s", principal.key_id, principal.user_id, alias)
        only_while_open(alias)
        scope["user"] = _sdk_user(principal, alias)
        await endpoint.app(scope, receive, send)

    def _entered_alias(self, scope: Scope, principal: Principal) -> str | None:
        # The path as it was sent, so that there is one spelling of each and nothing to decode or to disagree about.
        path: str = scope["raw_path"].decode("latin-1")
        alias = path.removesuffix("/mcp").rpartition("/")[2]
        if path == endpoint_path(principal.user_id, alias) and principal.grant.opens(alias):
            return alias
        return None


@lru_cache(maxsize=10_000)  # the same principal is the same user, and making one takes a third of the time spent here
def _sdk_user(principal: Principal, alias: str) -> AuthenticatedUser:
    return AuthenticatedUser(access_token(principal, alias))
