"""What the holder of a key, or a person who is signed in, may do with the keys of their user."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from mcp_keys_server.core import issuance, upkeep
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.attempts import Attempts
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.counters import Counters
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import InvalidFieldError, KeyNotFoundError
from mcp_keys_server.core.field_rules import check_overlap, parse_cursor, parse_key_id, parse_name, parse_reason
from mcp_keys_server.core.grant import AS_IT_IS, KEYS_READ, RequestedGrant
from mcp_keys_server.core.issuance import NewKey, NewSecret
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import Entry
from mcp_keys_server.core.policy import NO_LIMITS, KeyPolicy
from mcp_keys_server.core.records import Actor, Claim, KeyRecord, Principal
from mcp_keys_server.core.review import EXPIRING_DAYS, UNUSED_DAYS, Finding, review

PAGE_SIZE: Final = 50
CLAIM_LIFE: Final = timedelta(minutes=15)
OVERLAP_HOURS: Final = 24.0
NEWEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A part of a list of keys. ``next_cursor`` asks for the next part and is None with the last."""

    keys: Sequence[KeyRecord]
    next_cursor: str | None


class KeyManager:
    """What is done with keys on behalf of an actor, who reaches nobody's keys but their own user's.

    Every method may raise InvalidFieldError where an argument breaks the rule of its field, NotPermittedError where the
    actor may not do it, KeyNoLongerGoodError where they might a moment before, and, but for claims and revocations,
    TooManyChangesError. ``client`` is the network address of whoever asks, for the ledger.
    """

    def __init__(  # noqa: PLR0913 - each is another's work, or a setting given by name
        self,
        store: KeyStore,
        issuer: KeyIssuer,
        counters: Counters,
        *,
        policy: KeyPolicy = NO_LIMITS,
        claim_life: timedelta = CLAIM_LIFE,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._attempts = Attempts(store, issuer, counters, policy, clock)
        self._policy = policy
        self._claim_life = claim_life
        self._clock = clock

    async def create_key(
        self, actor: Actor, *, name: str, requested: RequestedGrant, client: str | None = None
    ) -> tuple[KeyRecord, ApiKey]:
        """Make a key, good at once, for the actor's user. It may do at most what the actor may.

        Raises:
            TooManyKeysError: The user has as many as the operator allows.
        """
        new = NewKey(parse_name(name), requested)

        def decide(holdings: Holdings, deed: Deed, secret: NewSecret) -> Decision[KeyRecord]:
            return issuance.with_secret(issuance.create(holdings, deed, new, self._policy), deed, secret)

        return await self._attempts.issue(actor, client, decide)

    async def create_unclaimed_key(
        self, actor: Actor, *, name: str, requested: RequestedGrant, client: str | None = None
    ) -> KeyRecord:
        """Make a key by the same rules that has no secret yet: whoever claims it in time is the first to see one.

        Raises:
            TooManyKeysError: As for ``create_key``.
        """
        new = NewKey(parse_name(name), requested)

        def decide(holdings: Holdings, deed: Deed) -> Decision[KeyRecord]:
            claim = Claim(deed.now + self._claim_life)
            return issuance.with_claim(issuance.create(holdings, deed, new, self._policy), deed, claim)

        return await self._attempts.change(actor, client, decide)

    async def claim_key(self, actor: Actor, *, key_id: str, claimed_from: str | None) -> tuple[KeyRecord, ApiKey]:
        """Make the secret that waits to be claimed and spend the claim. A key claims nothing that may do more than
        itself.

        Raises:
            KeyNotFoundError: The user has no such key.
            ClaimNotOpenError: It was claimed before, its claim has lapsed, or it was revoked.
        """
        key = await self.find_key(actor, key_id=key_id)
        # Asked before as well, so that what cannot be claimed takes no bcrypt.
        look = partial(issuance.look_at_claim, key_id=key.key_id)
        await self._attempts.change(actor, claimed_from, look, counted=False)
        claim = partial(issuance.claim, key_id=key.key_id)
        return await self._attempts.issue(actor, claimed_from, claim, counted=False)

    async def rotate_key(
        self, actor: Actor, *, key_id: str, overlap_hours: float = OVERLAP_HOURS, client: str | None = None
    ) -> tuple[KeyRecord, ApiKey]:
        """Give a key a new secret, good at once; the one before ends when the overlap does. All else of the key stays.

        Raises:
            KeyNotFoundError: The user has no such key.
            NotRotatableError: It is not active, or is being rotated.
        """
        rotate = partial(issuance.rotate, key_id=parse_key_id(key_id), overlap=check_overlap(overlap_hours))
        return await self._attempts.issue(actor, client, rotate)

    async def offer_rotation(
        self, actor: Actor, *, key_id: str, overlap_hours: float = OVERLAP_HOURS, client: str | None = None
    ) -> KeyRecord:
        """The same from the moment in which the new secret is claimed; until then, nothing changes.

        Raises:
            KeyNotFoundError, NotRotatableError: As for ``rotate_key``.
        """
        parsed_id, overlap = parse_key_id(key_id), check_overlap(overlap_hours)
        offer = partial(issuance.rotate_by_claim, key_id=parsed_id, overlap=overlap, claim_life=self._claim_life)
        return await self._attempts.change(actor, client, offer)

    async def find_key(self, actor: Actor, *, key_id: str) -> KeyRecord:
        """One key of the user's. Every key may see itself and those that it made.

        Raises:
            KeyNotFoundError: The user has no such key.
        """
        key = await self._find(actor, key_id)
        if actor.key_id not in (key.key_id, key.parent_key_id):
            actor.grant.require(KEYS_READ)
        return key

    async def current_key(self, principal: Principal) -> KeyRecord:
        """The key with which the principal came."""
        return await self.find_key(principal, key_id=principal.key_id)

    async def list_keys(self, actor: Actor, *, include_ended: bool = False, cursor: str | None = None) -> KeyPage:
        """The user's keys, newest first, a page at a time; if told so, also those revoked or never claimed."""
        actor.grant.require(KEYS_READ)
        after = None if cursor is None else parse_cursor(cursor)
        if after is not None and await self._store.find_key(actor.user_id, after) is None:
            raise InvalidFieldError("cursor", "the next_cursor of an earlier page; leave it out for the first one")
        found = await self._store.list_keys(
            actor.user_id, include_ended=include_ended, now=self._clock(), after=after, limit=PAGE_SIZE + 1
        )
        page = found[:PAGE_SIZE]
        return KeyPage(page, page[-1].key_id if len(found) > PAGE_SIZE else None)

    async def review_keys(
        self, actor: Actor, *, unused_days: float = UNUSED_DAYS, expiring_days: float = EXPIRING_DAYS
    ) -> Sequence[Finding]:
        """What is worth a look at the user's keys."""
        page = await self.list_keys(actor, include_ended=True)
        found = [*page.keys]
        while page.next_cursor is not None:
            page = await self.list_keys(actor, include_ended=True, cursor=page.next_cursor)
            found += page.keys
        return review(found, self._clock(), unused_days=unused_days, expiring_days=expiring_days)

    async def list_events(self, actor: Actor, *, before: int | None = None) -> Sequence[Entry]:
        """What was done to the user's keys, the newest first, fifty at most."""
        actor.grant.require(KEYS_READ)
        return await self._store.list_events(actor.user_id, before=before or NEWEST, limit=PAGE_SIZE)

    async def update_key(
        self,
        actor: Actor,
        *,
        key_id: str,
        name: str | None = None,
        requested: RequestedGrant = AS_IT_IS,
        client: str | None = None,
    ) -> KeyRecord:
        """Rename a key, or narrow what it may; what it made is narrowed with it. What is None stays as it is.

        Raises:
            KeyNotFoundError: The user has no such key, or it was revoked.
        """
        parsed_id, parsed_name = parse_key_id(key_id), None if name is None else parse_name(name)
        update = partial(upkeep.update, key_id=parsed_id, name=parsed_name, requested=requested)
        return await self._attempts.change(actor, client, update)

    async def disable_key(self, actor: Actor, *, key_id: str, client: str | None = None) -> KeyRecord:
        """Refuse a key until it is enabled again.

        Raises:
            KeyNotFoundError: The user has no such key, or it was revoked.
        """
        return await self._attempts.change(actor, client, partial(upkeep.disable, key_id=parse_key_id(key_id)))

    async def enable_key(self, actor: Actor, *, key_id: str, client: str | None = None) -> KeyRecord:
        """
        Raises:
            KeyNotFoundError: The user has no such key, or it was revoked.
        """
        return await self._attempts.change(actor, client, partial(upkeep.enable, key_id=parse_key_id(key_id)))

    async def revoke_key(
        self, actor: Actor, *, key_id: str, reason: str | None, client: str | None = None
    ) -> KeyRecord:
        """End a key for good. Ending it again changes nothing. Every key may end itself.

        Raises:
            KeyNotFoundError: The user has no such key.
        """
        ended = await self._revoke(actor, key_id, reason, client, cascade=False)
        return upkeep.ended_now(ended, key_id) or await self._find(actor, key_id)

    async def revoke_with_descendants(
        self, actor: Actor, *, key_id: str, reason: str | None, client: str | None = None
    ) -> tuple[KeyRecord, Sequence[KeyRecord]]:
        """End a key and all that it made, that they made, and so on; the key, and those of the others that ended now.

        Raises:
            KeyNotFoundError: The user has no such key.
        """
        ended = await self._revoke(actor, key_id, reason, client, cascade=True)
        key = upkeep.ended_now(ended, key_id) or await self._find(actor, key_id)
        return key, [one for one in ended if one.key_id != key.key_id]

    async def _revoke(
        self, actor: Actor, key_id: str, reason: str | None, client: str | None, *, cascade: bool
    ) -> Sequence[KeyRecord]:
        parsed_id, parsed_reason = parse_key_id(key_id), None if reason is None else parse_reason(reason)
        revoke = partial(upkeep.revoke, key_id=parsed_id, reason=parsed_reason, cascade=cascade)
        return await self._attempts.change(actor, client, revoke, counted=False)

    async def _find(self, actor: Actor, key_id: str) -> KeyRecord:
        key = await self._store.find_key(actor.user_id, parse_key_id(key_id))
        if key is None:
            raise KeyNotFoundError
        return key
