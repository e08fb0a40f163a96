"""``POST /introspect``: token introspection (RFC 7662), for servers in other languages that keep what is theirs with
OAuth libraries.
"""

import logging
from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.answers import TOO_BUSY, UNAVAILABLE, only, refusal, too_many
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.auth.line_budget import RefusalLog
from mcp_keys_server.auth.network_address import client_address
from mcp_keys_server.auth.throttle import Throttle
from mcp_keys_server.core.errors import (
    InvalidApiKeyError,
    KeyNotFoundError,
    NotPermittedError,
    StoreUnavailableError,
    TooBusyError,
)
from mcp_keys_server.core.grant import KEYS_INTROSPECT
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.core.records import KeyRecord, Principal
from mcp_keys_server.core.verifier import KeyVerifier
from mcp_keys_server.server.pages.forms import read_form

logger = logging.getLogger(__name__)

INACTIVE: Final[Mapping[str, object]] = {"active": False}
"""All that is said of a key that is not good, so that nobody learns whether it ever was one."""


class Introspection:
    """Answers what a key is worth, to a key that may ask. It stands behind the guard."""

    def __init__(self, verifier: KeyVerifier, manager: KeyManager, issuer: str, calls: Throttle) -> None:
        self._verifier = verifier
        self._manager = manager
        self._issuer = issuer
        self._calls = calls
        self._log = RefusalLog(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._answer(Request(scope, receive)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return only({"POST"})
        asker = principal_of(request.scope)
        try:
            asker.grant.require(KEYS_INTROSPECT)
        except NotPermittedError as error:
            self._log.refused("may not introspect", asker)
            return refusal(403, str(error))
        try:
            tokens = (await read_form(request)).texts("token")
        except HTTPException as error:
            return _bad_request(error.status_code)
        if len(tokens) != 1:
            return _bad_request(400)
        try:
            return await self._introspected(tokens[0], asker, client_address(request.scope))
        except (StoreUnavailableError, TooBusyError) as error:
            return TOO_BUSY if isinstance(error, TooBusyError) else UNAVAILABLE

    async def _introspected(self, token: str, asker: Principal, client: str) -> Response:
        try:
            principal = await self._verifier.verify(token, client=client)
            key = await self._manager.current_key(principal)
        except (InvalidApiKeyError, KeyNotFoundError) as error:
            if self._log.take(asker):
                logger.info("introspected as inactive: %s asked_by=%s", error, asker.key_id)
            return _said(INACTIVE)
        if not _concerns(asker, principal):
            if self._log.take(asker):
                key_id = principal.key_id
                logger.info("introspected as inactive: of another alias key_id=%s asked_by=%s", key_id, asker.key_id)
            return _said(INACTIVE)
        seconds = await self._calls.take(principal.key_id)
        return too_many(seconds) if seconds else _said(self._claims(principal, key))

    def _claims(self, principal: Principal, key: KeyRecord) -> dict[str, object]:
        grant = principal.grant
        claims: dict[str, object] = {
            "active": True,
            "iss": self._issuer,
            "sub": principal.user_id,
            "client_id": principal.key_id,
            "scope": " ".join(sorted(grant.scopes)),
            "token_type": "Bearer",
            "iat": int(key.created_at.timestamp()),
        }
        if grant.expires_at is not None:
            claims["exp"] = int(grant.expires_at.timestamp())
        if grant.aliases is not None:
            claims["aud"] = sorted(grant.aliases)
        if grant.tools is not None:
            claims["tools"] = sorted(grant.tools)
        return claims


def _concerns(asker: Principal, principal: Principal) -> bool:
    """Whether the key opens anything that the asking one stands for; one without aliases stands for everything."""
    aliases = asker.grant.aliases
    return aliases is None or any(principal.grant.opens(alias) for alias in aliases)


def _said(claims: Mapping[str, object]) -> Response:
    return JSONResponse(claims, headers={"cache-control": "no-store"})


def _bad_request(status: int) -> Response:
    """RFC 7662 leaves it to RFC 6749 section 5.2, which names it so."""
    description = "Send one token=API_KEY in the body, as application/x-www-form-urlencoded."
    body = {"error": "invalid_request", "error_description": description}
    return JSONResponse(body, status, {"cache-control": "no-store"})
