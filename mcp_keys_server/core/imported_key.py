"""A key as it comes from one of the systems whose keys are imported: the hub (``mhu_``) or FleetMind (``fm_``)."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from mcp_keys_server.core.errors import InvalidFieldError
from mcp_keys_server.core.field_rules import check_scopes
from mcp_keys_server.core.grant import MANAGEMENT_SCOPES
from mcp_keys_server.core.key_hash import cost_of_bcrypt, imported_bcrypt, imported_sha256, is_sha256
from mcp_keys_server.core.key_hasher import DEAREST_COST
from mcp_keys_server.core.source_row import Reading, SourceRow, UnusableRowError, shown_identity

SCOPES_OF_FLEETMIND: Final = frozenset(
    {"orders:read", "orders:write", "drivers:read", "drivers:write", "assignments:manage"}
)
"""Of every key, and nowhere in its database."""

_PREFIX_OF_HUB: Final = re.compile(r"[A-Za-z0-9_-]{8}")
_PREFIX_OF_FLEETMIND: Final = re.compile(r"fm_(?P<prefix>[A-Za-z0-9_-]{8})[A-Za-z0-9_-]")


class System(StrEnum):
    """Whose keys can be imported."""

    HUB = "hub"
    FLEETMIND = "fleetmind"


ID_COLUMN: Final[Mapping[System, str]] = {System.HUB: "id", System.FLEETMIND: "key_id"}


@dataclass(frozen=True, slots=True)
class ScopeRule:
    """Which scopes imported keys get."""

    added: frozenset[str] = MANAGEMENT_SCOPES
    instead: frozenset[str] | None = None
    """Of those that they had; None: as they were."""

    def applied_to(self, scopes: frozenset[str]) -> frozenset[str]:
        """
        Raises:
            UnusableRowError: They are more than one key may have.
        """
        applied = (scopes if self.instead is None else self.instead) | self.added
        try:
            check_scopes(applied)
        except InvalidFieldError as error:
            raise UnusableRowError(f"its scopes cannot be kept: {error.rule}") from None
        return applied


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key as it is to be here, with its owner."""

    source_id: str
    key_id: str
    user_id: str
    user_id_there: str
    email: str | None
    user_name: str | None
    name: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    prefix: str
    key_hash: str = field(repr=False)
    revoked: bool
    last_used_at: datetime | None
    use_count: int
    notes: tuple[str, ...]
    has_naive_times: bool

    def is_live(self, now: datetime) -> bool:
        return not self.revoked and (self.expires_at is None or self.expires_at > now)


def read_key(row: SourceRow, system: System, now: datetime, rule: ScopeRule) -> ImportedKey:
    """
    Raises:
        UnusableRowError: It cannot be taken.
    """
    read: Callable[[Reading, str, ScopeRule], ImportedKey] = _of_hub if system is System.HUB else _of_fleetmind
    return read(Reading(row, now), shown_identity(row, ID_COLUMN[system]), rule)


def _of_hub(reading: Reading, source_id: str, rule: ScopeRule) -> ImportedKey:
    bcrypt_string, prefix = reading.text("key_hash"), reading.text("key_prefix")
    cost = cost_of_bcrypt(bcrypt_string)
    if cost is None:
        raise UnusableRowError("key_hash is no bcrypt string")
    if cost > DEAREST_COST:
        raise UnusableRowError(f"key_hash has the cost {cost}, which takes too long to check; {DEAREST_COST} at most")
    if not _PREFIX_OF_HUB.fullmatch(prefix):
        raise UnusableRowError("key_prefix is not the 8 characters after 'mhu_', by which the key is found")
    if reading.value("site_id") is not None:
        raise UnusableRowError("it opens one site only, and would open more here")
    user_id, user_id_there = reading.user_id()
    return ImportedKey(
        source_id=source_id,
        key_id=_key_id(System.HUB, bcrypt_string),
        user_id=user_id,
        user_id_there=user_id_there,
        email=reading.email("owner_email"),
        user_name=reading.name("owner_name"),
        name=reading.name("name") or "Hub key",
        scopes=rule.applied_to(reading.scopes("scopes")),
        created_at=reading.created_at(),
        expires_at=reading.expires_at(),
        prefix=prefix,
        key_hash=imported_bcrypt(bcrypt_string),
        revoked=False,
        last_used_at=reading.last_used_at("last_used", "last_used_at"),
        use_count=reading.use_count("use_count", "usage_count"),
        notes=tuple(reading.notes),
        has_naive_times=reading.has_naive_times,
    )


def _of_fleetmind(reading: Reading, source_id: str, rule: ScopeRule) -> ImportedKey:
    digits, shown_there = reading.text("api_key_hash"), _PREFIX_OF_FLEETMIND.fullmatch(reading.text("api_key_prefix"))
    if not is_sha256(digits):
        raise UnusableRowError("api_key_hash is not 64 hexadecimal digits in lower case")
    if shown_there is None:
        raise UnusableRowError("api_key_prefix is not 'fm_' and 9 characters of a key")
    user_id, user_id_there = reading.user_id()
    return ImportedKey(
        source_id=source_id,
        key_id=_key_id(System.FLEETMIND, digits),
        user_id=user_id,
        user_id_there=user_id_there,
        email=reading.email("email"),
        user_name=reading.name("name"),
        name="FleetMind key",
        scopes=rule.applied_to(SCOPES_OF_FLEETMIND),
        created_at=reading.created_at(),
        expires_at=None,
        prefix=shown_there["prefix"],
        key_hash=imported_sha256(digits),
        revoked=not reading.flag("is_active"),
        last_used_at=reading.last_used_at("last_used_at"),
        use_count=0,
        notes=tuple(reading.notes),
        has_naive_times=reading.has_naive_times,
    )


def _key_id(system: System, key_hash: str) -> str:
    """The same whenever the key is read, from whichever row: ids of rows change when a database is moved, and a secret
    that was replaced here since would come back as another key.
    """
    of = f"{system}\0{key_hash}"
    return f"key_{hashlib.sha256(of.encode()).hexdigest()[:16]}"
