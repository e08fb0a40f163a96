"""What is kept about users and keys, as the rest of the package sees it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mcp_keys_server.core.errors import Refusal
from mcp_keys_server.core.grant import Grant


class KeyStatus(StrEnum):
    """What a list says of a key."""

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
class KeyRecord:
    """The lasting thing: what a list shows and a revocation ends. It holds nothing that opens anything."""

    key_id: str
    user_id: str
    name: str
    prefix: str
    grant: Grant
    parent_key_id: str | None
    created_at: datetime
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    last_used_at: datetime | None = None
    use_count: int = 0

    def status(self, now: datetime) -> KeyStatus:
        if self.revoked_at is not None:
            return KeyStatus.REVOKED
        if self.grant.expires_at is not None and self.grant.expires_at <= now:
            return KeyStatus.EXPIRED
        return KeyStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Principal:
    """What a good key proves: whose it is, which one, and what it may do."""

    user_id: str
    key_id: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """One plaintext's hash with all that decides about it, as a single read of the store gives it."""

    principal: Principal
    key_hash: str = field(repr=False)
    revoked: bool
    owner_disabled: bool

    def refusal(self, now: datetime) -> Refusal | None:
        """Why the key is not good at this moment, or None when it is."""
        if self.revoked:
            return Refusal.REVOKED
        if self.owner_disabled:
            return Refusal.OWNER_DISABLED
        expires_at = self.principal.grant.expires_at
        if expires_at is not None and expires_at <= now:
            return Refusal.EXPIRED
        return None


@dataclass(frozen=True, slots=True)
class Use:
    """How often a key was used since the last time this was written down, and when last."""

    count: int
    last_used_at: datetime
