"""``/verify``: whether a reverse proxy may let a request through, which is what ``auth_request`` and the like ask.

What a key has to open is read from where only the proxy's configuration writes. Headers of the original request come
along with most of these questions, and their sender is whoever is to be kept out; so a header is believed only when
the configuration names it, as one that the proxy itself sets.
"""

import logging
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.answers import INVALID_REQUEST, NOT_OPENED, refusal, too_many
from mcp_keys_server.auth.entrance import Entrance, path_as_sent
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.auth.line_budget import RefusalLog
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.errors import InvalidFieldError, NotPermittedError
from mcp_keys_server.core.field_rules import check_scopes
from mcp_keys_server.core.records import Principal
from mcp_keys_server.server.addresses import endpoint_path

logger = logging.getLogger(__name__)

ENDPOINT_HEADERS: Final = frozenset({"x-original-uri", "x-forwarded-uri"})
_ENDPOINT: Final = endpoint_path("{user_id}", "{alias}")
_PARAMETERS: Final = frozenset({"alias", "endpoint", "scope"})
_HOW_TO_ASK: Final = (
    "To be set in the reverse proxy: /verify?alias=ALIAS for one alias, or /verify?endpoint=X-Original-URI (or "
    "X-Forwarded-Uri) for endpoints /u/USER_ID/ALIAS/mcp, with that header set by the proxy itself; &scope=SCOPE, "
    "also several times, for what a key has to be allowed. A proxy that appends the path of the request, as Envoy "
    "does, asks at /verify/alias/ALIAS, /verify/endpoint or /verify/endpoint-of/ALIAS."
)


class UnclearQuestionError(Exception):
    """The question does not say what the key has to open. The message says what is wrong with it."""


class Verification:
    """Answers 200 with the principal in headers, or as an endpoint would. It stands behind the guard."""

    def __init__(self, calls: Throttle) -> None:
        self._calls = calls
        self._log = RefusalLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._answer(scope))(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        principal = principal_of(scope)
        try:
            reason = _why_not(scope, principal)
        except UnclearQuestionError as error:
            if self._log.take(principal):
                logger.warning("cannot answer a proxy: %s client=%s", error, client_address(scope))
            return refusal(400, f"{error} {_HOW_TO_ASK}", code=INVALID_REQUEST)
        if reason is not None:
            refused, answer = reason
            self._log.refused(refused, principal)
            return answer
        seconds = await self._calls.take(principal.key_id)
        if seconds:
            self._log.refused("too many calls", principal)
            return too_many(seconds)
        logger.debug("verified: key_id=%s user_id=%s", principal.key_id, principal.user_id)
        return Response(headers={"cache-control": "no-store", **_who(principal)})


def _why_not(scope: Scope, principal: Principal) -> tuple[str, Response] | None:
    entrance, entered, scopes = _asked(scope)
    if entrance.opened_alias(entered, principal) is None:
        return "not opened by this key", NOT_OPENED
    try:
        for one in scopes:
            principal.grant.require(one)
    except NotPermittedError as error:
        return "not within its scopes", refusal(403, str(error))
    return None


def _asked(scope: Scope) -> tuple[Entrance, str, list[str]]:
    """Where a key has to be let in, the path by which it comes, and the scopes that it needs besides."""
    match path_as_sent(scope).split("/", 4):
        case ["", "verify"]:
            return _asked_in_query(scope)
        # Behind these, path and query are those of the original request.
        case ["", "verify", "endpoint", *_]:
            return Entrance(path=_ENDPOINT), path_as_sent(scope).removeprefix("/verify/endpoint"), []
        case ["", "verify", "endpoint-of", alias, *_]:
            return _entrance(alias, _ENDPOINT), path_as_sent(scope).removeprefix(f"/verify/endpoint-of/{alias}"), []
        case ["", "verify", "alias", alias, *_]:
            return _entrance(alias), "", []
        case _:
            raise UnclearQuestionError("This path says nothing of what the key has to open.")


def _asked_in_query(scope: Scope) -> tuple[Entrance, str, list[str]]:
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    aliases, headers = asked.get("alias", []), asked.get("endpoint", [])
    if not asked.keys() <= _PARAMETERS or len(aliases) > 1 or len(headers) > 1:
        raise UnclearQuestionError(
            "The query has to be of alias, endpoint and scope, and of each but the last only one."
        )
    if not aliases and not headers:
        raise UnclearQuestionError("Nothing says what the key has to open.")
    scopes = asked.get("scope", [])
    try:
        check_scopes(scopes)
    except InvalidFieldError as error:
        raise UnclearQuestionError(f"{error}.") from None
    alias = aliases[0] if aliases else None
    if not headers:
        return _entrance(alias), "", scopes
    return _entrance(alias, _ENDPOINT), _path_in(headers[0], scope), scopes


def _entrance(alias: str | None, path: str | None = None) -> Entrance:
    try:
        return Entrance(alias=alias, path=path)
    except InvalidFieldError as error:
        raise UnclearQuestionError(f"{error}.") from None


def _path_in(header: str, scope: Scope) -> str:
    if header.lower() not in ENDPOINT_HEADERS:
        raise UnclearQuestionError("The endpoint can be named by the header X-Original-URI or X-Forwarded-Uri.")
    values = Headers(scope=scope).getlist(header)
    if len(values) != 1:
        # Of two, which is the proxy's and which the client's cannot be told.
        raise UnclearQuestionError(f"There is not one {header} in the request, so the proxy does not set it.")
    return values[0].partition("?")[0]


def _who(principal: Principal) -> dict[str, str]:
    return {
        "x-user-id": principal.user_id,
        "x-key-id": principal.key_id,
        # Never empty: what a proxy takes for missing it may leave as the client sent it. No scope looks like this.
        "x-scopes": " ".join(sorted(principal.grant.scopes)) or "-",
    }
