"""Keys made, claimed and rotated, decided within the transaction: from what holds then to what is to be written.

So nothing that is decided on is older than the change itself: neither a quota nor the authority of a key, nor a claim,
can be raced.
"""

import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from mcp_keys_server.core.changes import (
    AddKey,
    AddSecret,
    Change,
    Decision,
    EndSecret,
    EndSessions,
    Holdings,
    PutClaim,
    RemoveSecret,
    SpendClaim,
)
from mcp_keys_server.core.deed import Deed, described, held_key
from mcp_keys_server.core.errors import ClaimNotOpenError, NotRotatableError, TooManyKeysError
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.ledger import Event, EventKind
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.core.records import Claim, KeyRecord, KeyStatus, KnownSecret
from mcp_keys_server.core.upkeep import revocations

LIVE: Final = frozenset({KeyStatus.ACTIVE, KeyStatus.DISABLED, KeyStatus.UNCLAIMED})
MOST_HELD_KEYS: Final = 2_000
"""That were not revoked, live or not."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret that was minted for this change."""

    prefix: str
    key_hash: str
    proof: bytes | None = None
    made_with: bytes | None = None
    """The id of the checksum secret."""

    def added_to(self, key_id: str, at: datetime) -> AddSecret:
        return AddSecret(key_id, self.prefix, self.key_hash, at, self.proof, self.made_with)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is asked for, before it is decided what is given."""

    name: str
    requested: RequestedGrant
    key_id: str = field(default_factory=lambda: f"key_{secrets.token_hex(8)}")


def create(holdings: Holdings, deed: Deed, new: NewKey, policy: KeyPolicy) -> KeyRecord:
    """The key as it may be made, which has neither a secret nor a claim yet."""
    maker = deed.require_write(holdings)
    grant = new.requested.root(deed.now, policy) if maker is None else maker.child(new.requested, deed.now, policy)
    live = sum(key.status(deed.now) in LIVE for key in holdings.keys.values())
    if policy.max_live_keys is not None and live >= policy.max_live_keys:
        raise TooManyKeysError(policy.max_live_keys)
    # Also of those that lapsed or expired, because every change reads what the user holds, and others wait meanwhile.
    most = max(MOST_HELD_KEYS, 2 * (policy.max_live_keys or 0))
    if len(holdings.keys) >= most:
        raise TooManyKeysError(most)
    return KeyRecord(new.key_id, holdings.user.user_id, new.name, grant, deed.by.key_id, deed.now)


def with_secret(key: KeyRecord, deed: Deed, secret: NewSecret) -> Decision[KeyRecord]:
    """A new key that is good at once."""
    known = KnownSecret(secret.prefix, deed.now)
    added = secret.added_to(key.key_id, deed.now)
    return Decision(replace(key, secrets=(known,)), (AddKey(key), added), (_created(key, deed),))


def with_claim(key: KeyRecord, deed: Deed, claim: Claim, digest: bytes | None = None) -> Decision[KeyRecord]:
    """A new key that waits to be claimed."""
    put = PutClaim(key.key_id, claim, digest)
    return Decision(replace(key, claim=claim), (AddKey(key), put), (_created(key, deed),))


def invite(  # noqa: PLR0913 - each is a part of the invitation
    holdings: Holdings, deed: Deed, new: NewKey, policy: KeyPolicy, *, claim: Claim, digest: bytes
) -> Decision[KeyRecord]:
    """A new key for who brings a code, in the place of all invitations that were not used."""
    unused = [
        other
        for other in holdings.keys.values()
        if other.claim and other.claim.by_invitation and other.status(deed.now) is KeyStatus.UNCLAIMED
    ]
    ends = revocations(unused, deed, "a newer invitation replaced it")
    others = {key_id: key for key_id, key in holdings.keys.items() if key not in unused}
    key = create(replace(holdings, keys=others), deed, new, policy)
    made = with_claim(key, deed, claim, digest)
    return Decision(made.answer, (*ends.changes, *made.changes), (*ends.events, *made.events))


def claim(holdings: Holdings, deed: Deed, secret: NewSecret, *, key_id: str) -> Decision[KeyRecord]:
    """Give a key the secret to which its claim is the right, the first that comes and no other."""
    look_at_claim(holdings, deed, key_id)
    key = holdings.keys[key_id]
    claimed = claimable(holdings, key, deed)
    spent = replace(claimed, claimed_at=deed.now, claimed_from=deed.by.client)
    after = _with_new_secret(replace(key, claim=spent), deed, secret, claimed.overlap)
    event = deed.event(EventKind.KEY_CLAIMED, key, f"prefix={secret.prefix}")
    return Decision(after.answer, (SpendClaim(key_id, deed.now, deed.by.client), *after.changes), (event,))


def look_at_claim(holdings: Holdings, deed: Deed, key_id: str) -> Decision[None]:
    """Whether the key can be claimed, and nothing else.

    Raises:
        ClaimNotOpenError, NotPermittedError, KeyNoLongerGoodError: It cannot.
    """
    if key_id not in holdings.keys:
        raise ClaimNotOpenError
    key = holdings.keys[key_id]
    deed.require_authority_over(key, holdings)
    if key.claim is not None and key.claim.overlap is not None:
        deed.require_descent(key, holdings)
    claimable(holdings, key, deed)
    return Decision(None)


def claimable(holdings: Holdings, key: KeyRecord, deed: Deed) -> Claim:
    """The key's claim, if it can be spent now in this way.

    Raises:
        ClaimNotOpenError: It cannot.
    """
    found = key.claim
    # A key that was asked for and never handed over ends with its maker; one that is in use does not.
    maker_is_good = key.parent_key_id is None or key.parent_key_id in holdings.keys or bool(key.secrets)
    waits = key.awaits_claim(deed.now) and holdings.user.disabled_at is None
    if found is None or found.by_invitation != (deed.actor is None) or not (maker_is_good and waits):
        raise ClaimNotOpenError
    return found


def rotate(
    holdings: Holdings, deed: Deed, secret: NewSecret, *, key_id: str, overlap: timedelta
) -> Decision[KeyRecord]:
    """Put a new secret beside the key's, which ends when the overlap does."""
    key = _rotatable(holdings, deed, key_id)
    after = _with_new_secret(key, deed, secret, overlap)
    return Decision(after.answer, after.changes, (_rotated(key, deed, overlap),))


def rotate_by_claim(
    holdings: Holdings, deed: Deed, *, key_id: str, overlap: timedelta, claim_life: timedelta
) -> Decision[KeyRecord]:
    """The same, from the moment in which somebody claims the new secret."""
    key = _rotatable(holdings, deed, key_id)
    if key.claim and key.claim.by_invitation and key.claim.lapses_at > deed.now:
        # The offer would take the place of the invitation, and whoever was invited could not disown the key any more.
        raise NotRotatableError(
            f"key_id: until {key.claim.lapses_at:%Y-%m-%dT%H:%M:%SZ} whoever was invited may disown this key; rotate "
            "it after that, or at once without a claim"
        )
    offered = Claim(deed.now + claim_life, overlap=overlap)
    return Decision(replace(key, claim=offered), (PutClaim(key_id, offered),), (_rotated(key, deed, overlap),))


def _with_new_secret(key: KeyRecord, deed: Deed, secret: NewSecret, overlap: timedelta | None) -> Decision[KeyRecord]:
    """The key with its new secret, and at most one that is older and about to end."""
    changes: list[Change] = []
    kept: list[KnownSecret] = []
    for older in key.secrets:
        if overlap and older.is_live(deed.now):
            kept.append(replace(older, ends_at=deed.now + overlap))
            changes.append(EndSecret(older.prefix, deed.now + overlap))
        else:
            changes.append(RemoveSecret(older.prefix))
    if len(kept) > 1:
        raise ClaimNotOpenError
    if key.secrets and not kept:  # then whoever got hold of an old secret is to be out, of the pages too
        changes.append(EndSessions(key.key_id))
    changes.append(secret.added_to(key.key_id, deed.now))
    return Decision(replace(key, secrets=(KnownSecret(secret.prefix, deed.now), *kept)), tuple(changes))


def _rotatable(holdings: Holdings, deed: Deed, key_id: str) -> KeyRecord:
    key = held_key(holdings, key_id)
    deed.require_authority_over(key, holdings)
    deed.require_descent(key, holdings)
    if key.status(deed.now) is not KeyStatus.ACTIVE:
        raise NotRotatableError(f"key_id: this key is {key.status(deed.now)}; only an active one is rotated")
    replaced = [secret for secret in key.live_secrets(deed.now) if secret.ends_at is not None]
    if replaced:
        raise NotRotatableError(
            f"key_id: this key is being rotated: its older secret ends at {replaced[0].ends_at:%Y-%m-%dT%H:%M:%SZ}. "
            "Wait for that, or revoke the key if it was stolen"
        )
    return key


def _created(key: KeyRecord, deed: Deed) -> Event:
    return deed.event(EventKind.KEY_CREATED, key, described(key))


def _rotated(key: KeyRecord, deed: Deed, overlap: timedelta) -> Event:
    return deed.event(EventKind.KEY_ROTATED, key, f"overlap_hours={overlap / timedelta(hours=1):g}")
