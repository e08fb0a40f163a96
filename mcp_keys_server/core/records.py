"""What is kept about users and keys, as the rest of the package sees it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from mcp_keys_server.core.errors import Refusal
from mcp_keys_server.core.grant import MANAGEMENT_SCOPES, Grant


class KeyStatus(StrEnum):
    """What a list says of a key."""

    UNCLAIMED = "unclaimed"
    LAPSED = "lapsed"
    ACTIVE = "active"
    DISABLED = "disabled"
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
    """The one-time right of a person to see a new secret of a key, which is made in that moment and not before."""

    lapses_at: datetime
    by_invitation: bool = False
    """Whether a link with a code opens it; otherwise its owner does, signed in."""
    overlap: timedelta | None = None
    """How long the secret that it replaces stays good from then on; None: it is the key's first."""
    claimed_at: datetime | None = None
    claimed_from: str | None = None
    """The network address."""

    def is_open(self, now: datetime) -> bool:
        return self.claimed_at is None and self.lapses_at > now


@dataclass(frozen=True, slots=True)
class KnownSecret:
    """What is known of a secret: by which prefix it is recognised, and nothing that opens anything."""

    prefix: str
    created_at: datetime
    ends_at: datetime | None = None
    """When a newer one takes its place; None: as long as the key."""
    last_used_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        return self.ends_at is None or self.ends_at > now


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The lasting thing: what a list shows and a revocation ends. It holds nothing that opens anything."""

    key_id: str
    user_id: str
    name: str
    grant: Grant
    parent_key_id: str | None
    created_at: datetime
    secrets: tuple[KnownSecret, ...] = ()
    """The newest first; none while the key is unclaimed."""
    disabled_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    revoked_by: str | None = None
    """Who ended it, in words."""
    last_used_at: datetime | None = None
    last_used_from: str | None = None
    """The network address; None for use on the machine itself."""
    use_count: int = 0
    claim: Claim | None = None
    """The latest; None: every secret was handed over as it was made."""

    @property
    def prefix(self) -> str | None:
        """That of the newest secret; None while there is none."""
        return self.secrets[0].prefix if self.secrets else None

    def live_secrets(self, now: datetime) -> tuple[KnownSecret, ...]:
        return tuple(secret for secret in self.secrets if secret.is_live(now))

    def awaits_claim(self, now: datetime) -> bool:
        """Whether its owner can be shown a secret, a first or a new one."""
        is_open = self.claim is not None and self.claim.is_open(now) and self.disabled_at is None
        return is_open and self.status(now) in (KeyStatus.UNCLAIMED, KeyStatus.ACTIVE)

    def status(self, now: datetime) -> KeyStatus:
        if self.revoked_at is not None:
            return KeyStatus.REVOKED
        if self.grant.expires_at is not None and self.grant.expires_at <= now:
            return KeyStatus.EXPIRED
        if not self.secrets:
            return KeyStatus.UNCLAIMED if self.claim and self.claim.is_open(now) else KeyStatus.LAPSED
        return KeyStatus.ACTIVE if self.disabled_at is None else KeyStatus.DISABLED


@dataclass(frozen=True, slots=True)
class Principal:
    """What a good key proves: whose it is, which one, and what it may do."""

    user_id: str
    key_id: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class Person:
    """A user who is known by other means than a key: to a proxy, say, that the operator trusts."""

    user_id: str
    key_id: None = None

    @property
    def grant(self) -> Grant:
        return Grant(MANAGEMENT_SCOPES, None, None)


Actor = Principal | Person
"""Whoever acts on the keys of a user, who is that user themself or one of their keys."""


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """One plaintext's hash with all that decides about it, as a single read of the store gives it."""

    principal: Principal
    key_hash: str = field(repr=False)
    revoked: bool
    disabled: bool
    owner_disabled: bool
    ends_at: datetime | None = None
    proof: bytes | None = field(default=None, repr=False)
    """That some key fits the hash, for whoever has the proof secret; see ``proofs``."""
    clock_behind: timedelta = timedelta()
    """How far this machine's clock is behind the store's, which is nothing where the store has no other."""

    def refusal(self, now: datetime) -> Refusal | None:
        """Why the key is not good at this moment of this machine's clock, or None when it is. Its end has come as soon
        as it has by either clock.
        """
        now += self.clock_behind
        if self.ends_at is not None and self.ends_at <= now:
            return Refusal.REPLACED
        return _refusal(self, now)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session of the pages with the key that began it, which decides at every request what it may still do."""

    principal: Principal
    signed_in_at: datetime
    seen_at: datetime
    revoked: bool
    disabled: bool
    owner_disabled: bool

    def refusal(self, now: datetime) -> Refusal | None:
        return _refusal(self, now)


def _refusal(of: "SecretRecord | SessionRecord", now: datetime) -> Refusal | None:
    if of.revoked:
        return Refusal.REVOKED
    if of.disabled:
        return Refusal.DISABLED
    if of.owner_disabled:
        return Refusal.OWNER_DISABLED
    expires_at = of.principal.grant.expires_at
    if expires_at is not None and expires_at <= now:
        return Refusal.EXPIRED
    return None


@dataclass(frozen=True, slots=True)
class ProvenHash:
    """A key hash with the proof that the key of its secret fits it."""

    key_hash: str = field(repr=False)
    proof: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Use:
    """How often a secret was used since the last time this was written down, and when and from where last."""

    count: int
    last_used_at: datetime
    last_used_from: str | None = None
