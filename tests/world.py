"""A database with two users, opened as the server opens it, at the cheapest cost and with a clock to set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp_keys_server import ApiKey, KeyRecord, KeyRing, Principal, RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.databases import Database

NOTHING_SPECIAL = RequestedGrant()


@dataclass
class SettableClock:
    now: datetime = field(default_factory=lambda: datetime(2026, 11, 21, 12, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        self.now += timedelta(**units)


def prefix_of(key: KeyRecord) -> str:
    """The prefix of a key that has a secret."""
    assert key.prefix is not None
    return key.prefix


@dataclass(frozen=True)
class World:
    ring: KeyRing
    clock: SettableClock
    database: Database

    async def key(self, user: str = "ada", requested: RequestedGrant = NOTHING_SPECIAL) -> tuple[KeyRecord, ApiKey]:
        """A key that the operator makes."""
        return await self.ring.administration.create_key(user, name="A key", requested=requested)

    async def claim(self, asked_by: ApiKey, key_id: str) -> ApiKey:
        """The secret of an unclaimed key, as the owner of the key that asked for it gets it."""
        owner = await self.ring.verifier.verify(asked_by.reveal())
        _, key = await self.ring.manager.claim_key(owner, key_id=key_id, claimed_from="127.0.0.1")
        return key

    async def principal(self, user: str = "ada", requested: RequestedGrant = NOTHING_SPECIAL) -> Principal:
        _, key = await self.key(user, requested)
        return await self.ring.verifier.verify(key.reveal())

    @property
    def address(self) -> str:
        """Where the database is, for whoever opens it another time."""
        return str(self.database)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """What another program with the database in its hands reads or changes."""
        return self.database.sql(*statements)

    def disable(self, user: str) -> None:
        self.sql(f"UPDATE users SET disabled_at = created_at WHERE user_id = '{user}'")

    def stored_bytes(self) -> bytes:
        return self.database.stored_bytes()


@asynccontextmanager
async def open_world(
    database: Database, *, bcrypt_cost: int = CHEAPEST_COST, clock: SettableClock | None = None
) -> AsyncIterator[World]:
    clock = clock or SettableClock()
    async with open_key_ring(str(database), bcrypt_cost=bcrypt_cost, clock=clock) as ring:
        if not await ring.administration.list_users():
            await ring.administration.add_user("ada", email="ada@example.com", name="Ada")
            await ring.administration.add_user("bob")
        yield World(ring, clock, database)
