"""Small decisions, made in a test and written by the store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mcp_keys_server import Grant, KeyRecord
from mcp_keys_server.core.changes import (
    AddKey,
    AddSecret,
    Change,
    Decide,
    Decision,
    Holdings,
    PutClaim,
    RevokeKey,
    SpendClaim,
)
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.ledger import OPERATOR, Event, EventKind
from mcp_keys_server.core.records import Claim, KnownSecret

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
LAPSES = NOON + timedelta(minutes=15)
MOMENT = timedelta(microseconds=1)
FULL = Grant(
    frozenset({"keys:read", "orders:read"}),
    frozenset({"keys", "notes"}),
    NOON + timedelta(days=1),
    frozenset({"keys:*", "notes:read_*"}),
)
BARE = Grant(frozenset(), None, None)


def key_id(number: int) -> str:
    return f"key_{number:016x}"


def a_prefix(number: int) -> str:
    return f"{number:08d}"


def a_key(
    number: int = 0,
    *,
    user_id: str = "ada",
    grant: Grant = FULL,
    parent_key_id: str | None = None,
    created_at: datetime = NOON,
    has_secret: bool = True,
) -> KeyRecord:
    secrets = (KnownSecret(a_prefix(number), created_at),) if has_secret else ()
    return KeyRecord(key_id(number), user_id, "Büro 🗝", grant, parent_key_id, created_at, secrets)


def an_event(key: KeyRecord, detail: str = "") -> Event:
    return Event(EventKind.KEY_CREATED, NOON, key.user_id, key.key_id, OPERATOR, detail)


def deciding(*changes: Change, events: tuple[Event, ...] = ()) -> Decide[None]:
    """Decided whatever the user holds."""
    return lambda _: Decision(None, changes, events)


def adding(key: KeyRecord, key_hash: str = "hash") -> tuple[Change, ...]:
    secrets = (AddSecret(key.key_id, secret.prefix, key_hash, secret.created_at) for secret in key.secrets)
    return (AddKey(key), *secrets)


async def add(store: KeyStore, key: KeyRecord, key_hash: str = "hash") -> KeyRecord:
    await store.change(key.user_id, deciding(*adding(key, key_hash)))
    return key


async def ask(store: KeyStore, key: KeyRecord, *, digest: bytes | None = None) -> KeyRecord:
    """A key that waits to be claimed."""
    claim = Claim(LAPSES, by_invitation=digest is not None)
    asked = replace(key, claim=claim)
    await store.change(key.user_id, deciding(AddKey(key), PutClaim(key.key_id, claim, digest)))
    return asked


async def spend(
    store: KeyStore, key: KeyRecord, *, prefix: str = "claimed!", at: datetime = NOON, client: str | None = None
) -> None:
    secret = AddSecret(key.key_id, prefix, "hash", at)
    await store.change(key.user_id, deciding(SpendClaim(key.key_id, at, client), secret))


async def revoke(store: KeyStore, key: KeyRecord, *, at: datetime = NOON, reason: str | None = None) -> None:
    ended = replace(key, revoked_at=at, revoked_reason=reason, revoked_by="operator")
    await store.change(key.user_id, deciding(RevokeKey(ended)))


async def found(store: KeyStore, key: KeyRecord) -> KeyRecord | None:
    return await store.find_key(key.user_id, key.key_id)


async def holdings_of(store: KeyStore, user_id: str = "ada") -> Holdings:
    look: Callable[[Holdings], Decision[Holdings]] = Decision
    return await store.change(user_id, look)
