"""What the holder of a key may do with the keys of its owner."""

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import InvalidFieldError, KeyNotFoundError
from mcp_keys_server.core.field_rules import parse_cursor, parse_key_id, parse_name, parse_reason
from mcp_keys_server.core.grant import KEYS_READ, KEYS_WRITE, RequestedGrant
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import KeyRecord, Principal

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A part of a list of keys. ``next_cursor`` asks for the next part and is None with the last."""

    keys: Sequence[KeyRecord]
    next_cursor: str | None


class KeyManager:
    """Creates, lists and revokes keys on behalf of a principal, who reaches nobody's keys but their own."""

    def __init__(self, store: KeyStore, issuer: KeyIssuer, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def create_key(
        self, principal: Principal, *, name: str, requested: RequestedGrant
    ) -> tuple[KeyRecord, ApiKey]:
        """Make a key for the principal's user that may do at most what the principal's own key may.

        Raises:
            InvalidFieldError: The name breaks its rule.
            NotPermittedError: The key may not make keys, or not such a one.
        """
        parsed_name = parse_name(name)
        principal.grant.require(KEYS_WRITE)
        grant = principal.grant.child(requested, self._clock())
        return await self._issuer.issue(principal.user_id, parsed_name, grant, parent_key_id=principal.key_id)

    async def list_keys(
        self, principal: Principal, *, include_revoked: bool = False, cursor: str | None = None
    ) -> KeyPage:
        """The user's keys, newest first, a page at a time.

        Raises:
            NotPermittedError: The key may not see the others.
            InvalidFieldError: The cursor is not one that this list gave.
        """
        principal.grant.require(KEYS_READ)
        after = None if cursor is None else parse_cursor(cursor)
        if after is not None and await self._store.find_key(principal.user_id, after) is None:
            raise InvalidFieldError("cursor", "the next_cursor of an earlier page; leave it out for the first one")
        found = await self._store.list_keys(
            principal.user_id, include_revoked=include_revoked, after=after, limit=PAGE_SIZE + 1
        )
        page = found[:PAGE_SIZE]
        return KeyPage(page, page[-1].key_id if len(found) > PAGE_SIZE else None)

    async def revoke_key(self, principal: Principal, *, key_id: str, reason: str | None) -> KeyRecord:
        """End a key for good. Ending it again changes nothing. Every key may end itself.

        Raises:
            InvalidFieldError: The key id or the reason breaks its rule.
            NotPermittedError: The key may not end others.
            KeyNotFoundError: The user has no such key.
        """
        parsed_id = parse_key_id(key_id)
        parsed_reason = None if reason is None else parse_reason(reason)
        if parsed_id != principal.key_id:
            principal.grant.require(KEYS_WRITE)
        revoked = await self._store.revoke_key(principal.user_id, parsed_id, at=self._clock(), reason=parsed_reason)
        if revoked is None:
            raise KeyNotFoundError
        return revoked

    async def current_key(self, principal: Principal) -> KeyRecord:
        """The key with which the principal came."""
        key = await self._store.find_key(principal.user_id, principal.key_id)
        if key is None:
            raise KeyNotFoundError
        return key
