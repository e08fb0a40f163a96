"""What is kept about users and keys, as the rest of the package sees it."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mcp_keys_server.core.errors import Refusal
from mcp_keys_server.core.grant import MANAGEMENT_SCOPES, Grant


class KeyStatus(StrEnum):
    """What a list says of a key."""

    UNCLAIMED = "unclaimed"
    LAPSED = "lapsed"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class UserRecord:
    """Somebody who has keys."""

    user_id: str
    email: str | None
    name: str | None
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The one-time right of a person to see the secret of a key, which is made in that moment and not before."""

    lapses_at: datetime
    by_invitation: bool = False
    """Whether a link with a code opens it; otherwise its owner does, signed in."""
    claimed_at: datetime | None = None
    claimed_from: str | None = None
    """The network address."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who spends a claim."""

    key_id: str | None
    """The key in use; None for a person, and for whoever brings an invitation."""
    address: str | None
    """The network address."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The lasting thing: what a list shows and a revocation ends. It holds nothing that opens anything."""

    key_id: str
    user_id: str
    name: str
    prefix: str | None
    """None while the key is unclaimed: it has no secret yet."""
    grant: Grant
    parent_key_id: str | None
    created_at: datetime
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    """The network address; None for use on the machine itself."""
    use_count: int = 0
    claim: Claim | None = None
    """None: the key was handed over as it was made."""

    def status(self, now: datetime) -> KeyStatus:
        if self.revoked_at is not None:
            return KeyStatus.REVOKED
        if self.grant.expires_at is not None and self.grant.expires_at <= now:
            return KeyStatus.EXPIRED
        if self.prefix is None:
            return KeyStatus.UNCLAIMED if self.claim and self.claim.lapses_at > now else KeyStatus.LAPSED
        return KeyStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is decided about a key before there is one."""

    user_id: str
    name: str
    grant: Grant
    parent_key_id: str | None = None

    def record(self, now: datetime, *, prefix: str | None = None, claim: Claim | None = None) -> KeyRecord:
        return KeyRecord(
            key_id=f"key_{secrets.token_hex(8)}",
            user_id=self.user_id,
            name=self.name,
            prefix=prefix,
            grant=self.grant,
            parent_key_id=self.parent_key_id,
            created_at=now,
            claim=claim,
        )


@dataclass(frozen=True, slots=True)
class Principal:
    """What a good key proves: whose it is, which one, and what it may do."""

    user_id: str
    key_id: str
    grant: Grant

    def may_claim(self, key: KeyRecord) -> bool:
        return self.grant.covers(key.grant)


@dataclass(frozen=True, slots=True)
class Person:
    """A user who is known by other means than a key: to a proxy, say, that the operator trusts."""

    user_id: str
    key_id: None = None

    @property
    def grant(self) -> Grant:
        return Grant(MANAGEMENT_SCOPES, None, None)

    def may_claim(self, _: KeyRecord) -> bool:
        return True  # whatever was asked for, it was asked for in their name by one who might


Actor = Principal | Person
"""Whoever acts on the keys of a user, who is that user themself or one of their keys."""


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """One plaintext's hash with all that decides about it, as a single read of the store gives it."""

    principal: Principal
    key_hash: str = field(repr=False)
    revoked: bool
    owner_disabled: bool

    def refusal(self, now: datetime) -> Refusal | None:
        """Why the key is not good at this moment, or None when it is."""
        return _refusal(self.principal.grant, now, revoked=self.revoked, owner_disabled=self.owner_disabled)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session of the pages with the key that began it, which decides at every request what it may still do."""

    principal: Principal
    signed_in_at: datetime
    seen_at: datetime
    revoked: bool
    owner_disabled: bool

    def refusal(self, now: datetime) -> Refusal | None:
        return _refusal(self.principal.grant, now, revoked=self.revoked, owner_disabled=self.owner_disabled)


def _refusal(grant: Grant, now: datetime, *, revoked: bool, owner_disabled: bool) -> Refusal | None:
    if revoked:
        return Refusal.REVOKED
    if owner_disabled:
        return Refusal.OWNER_DISABLED
    if grant.expires_at is not None and grant.expires_at <= now:
        return Refusal.EXPIRED
    return None


@dataclass(frozen=True, slots=True)
class Use:
    """How often a key was used since the last time this was written down, and when and from where last."""

    count: int
    last_used_at: datetime
    last_used_from: str | None = None
