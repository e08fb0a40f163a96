"""What the holder of a key may do with the keys of its owner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import ClaimNotOpenError, InvalidFieldError, KeyNotFoundError, NotPermittedError
from mcp_keys_server.core.field_rules import parse_cursor, parse_key_id, parse_name, parse_reason
from mcp_keys_server.core.grant import KEYS_READ, KEYS_WRITE, RequestedGrant
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.records import Actor, Claimant, KeyRecord, KeyStatus, NewKey, Principal

PAGE_SIZE = 50
CLAIM_LIFE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A part of a list of keys. ``next_cursor`` asks for the next part and is None with the last."""

    keys: Sequence[KeyRecord]
    next_cursor: str | None


class KeyManager:
    """What is done with keys on behalf of an actor, who reaches nobody's keys but their own user's."""

    def __init__(
        self, store: KeyStore, issuer: KeyIssuer, *, claim_life: timedelta = CLAIM_LIFE, clock: Clock = utc_now
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._claim_life = claim_life
        self._clock = clock

    async def create_key(self, actor: Actor, *, name: str, requested: RequestedGrant) -> tuple[KeyRecord, ApiKey]:
        """Make a key, good at once, for the actor's user. It may do at most what the actor may.

        Raises:
            InvalidFieldError: The name breaks its rule.
            NotPermittedError: The actor may not make keys, or not such a one.
        """
        return await self._issuer.issue(self._new_key(actor, name, requested))

    async def create_unclaimed_key(self, actor: Actor, *, name: str, requested: RequestedGrant) -> KeyRecord:
        """Make a key by the same rules that has no secret yet: whoever claims it in time is the first to see one.

        Raises:
            InvalidFieldError, NotPermittedError: As for ``create_key``.
        """
        return await self._issuer.issue_unclaimed(self._new_key(actor, name, requested), claim_life=self._claim_life)

    async def claim_key(self, actor: Actor, *, key_id: str, claimed_from: str | None) -> tuple[KeyRecord, ApiKey]:
        """Make the secret of an unclaimed key and spend the claim. A key claims nothing that may do more than itself.

        Raises:
            InvalidFieldError: The key id breaks its rule.
            NotPermittedError: The actor may not make keys, or not such a one.
            KeyNotFoundError: The user has no such key.
            ClaimNotOpenError: It was claimed before, its claim has lapsed, or it was revoked.
            KeyNoLongerGoodError: The actor is a key that was revoked or expired in the meantime.
        """
        key = await self.find_key(actor, key_id=key_id)
        actor.grant.require(KEYS_WRITE)
        if key.claim is None or key.claim.by_invitation:
            raise ClaimNotOpenError
        if not actor.may_claim(key):
            raise NotPermittedError(
                "this key may do more, or lives longer, than the one in use; claim it with the key that asked for it"
            )
        if key.status(self._clock()) is not KeyStatus.UNCLAIMED:
            raise ClaimNotOpenError
        return await self._issuer.redeem(key.key_id, Claimant(actor.key_id, claimed_from))

    async def find_key(self, actor: Actor, *, key_id: str) -> KeyRecord:
        """One key of the user's. Every key may see itself and those that it made.

        Raises:
            InvalidFieldError: The key id breaks its rule.
            NotPermittedError: The actor may not see other keys.
            KeyNotFoundError: The user has no such key.
        """
        key = _found(await self._store.find_key(actor.user_id, parse_key_id(key_id)))
        if actor.key_id not in (key.key_id, key.parent_key_id):
            actor.grant.require(KEYS_READ)
        return key

    async def list_keys(self, actor: Actor, *, include_ended: bool = False, cursor: str | None = None) -> KeyPage:
        """The user's keys, newest first, a page at a time; those that were revoked or not claimed in time if told so.

        Raises:
            NotPermittedError: The key may not see the others.
            InvalidFieldError: The cursor is not one that this list gave.
        """
        actor.grant.require(KEYS_READ)
        after = None if cursor is None else parse_cursor(cursor)
        if after is not None and await self._store.find_key(actor.user_id, after) is None:
            raise InvalidFieldError("cursor", "the next_cursor of an earlier page; leave it out for the first one")
        found = await self._store.list_keys(
            actor.user_id, include_ended=include_ended, now=self._clock(), after=after, limit=PAGE_SIZE + 1
        )
        page = found[:PAGE_SIZE]
        return KeyPage(page, page[-1].key_id if len(found) > PAGE_SIZE else None)

    async def rename_key(self, actor: Actor, *, key_id: str, name: str) -> KeyRecord:
        """
        Raises:
            InvalidFieldError: The key id or the name breaks its rule.
            NotPermittedError: The actor may not change keys.
            KeyNotFoundError: The user has no such key.
        """
        parsed_id, parsed_name = parse_key_id(key_id), parse_name(name)
        actor.grant.require(KEYS_WRITE)
        return _found(await self._store.rename_key(actor.user_id, parsed_id, parsed_name))

    async def revoke_key(self, actor: Actor, *, key_id: str, reason: str | None) -> KeyRecord:
        """End a key for good. Ending it again changes nothing. Every key may end itself.

        Raises:
            InvalidFieldError: The key id or the reason breaks its rule.
            NotPermittedError: The actor may not end keys.
            KeyNotFoundError: The user has no such key.
        """
        parsed_id = parse_key_id(key_id)
        parsed_reason = None if reason is None else parse_reason(reason)
        if parsed_id != actor.key_id:
            actor.grant.require(KEYS_WRITE)
        return _found(await self._store.revoke_key(actor.user_id, parsed_id, at=self._clock(), reason=parsed_reason))

    async def current_key(self, principal: Principal) -> KeyRecord:
        """The key with which the principal came."""
        return await self.find_key(principal, key_id=principal.key_id)

    def _new_key(self, actor: Actor, name: str, requested: RequestedGrant) -> NewKey:
        parsed_name = parse_name(name)
        actor.grant.require(KEYS_WRITE)
        return NewKey(actor.user_id, parsed_name, actor.grant.child(requested, self._clock()), actor.key_id)


def _found(key: KeyRecord | None) -> KeyRecord:
    if key is None:
        raise KeyNotFoundError
    return key
