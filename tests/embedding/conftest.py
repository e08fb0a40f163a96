from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from mcp_keys_server import KeyRecord, KeyRing, RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.databases import SqliteDatabase


@dataclass(frozen=True)
class Keys:
    """Keys of a database that others have open as well."""

    ring: KeyRing
    database: SqliteDatabase

    async def key(
        self, user: str = "ada", *, scopes: tuple[str, ...] = ("orders:read",), alias: str = "orders"
    ) -> tuple[KeyRecord, str]:
        requested = RequestedGrant(scopes=frozenset(scopes), aliases=frozenset({alias}))
        record, key = await self.ring.administration.create_key(user, name="A key", requested=requested)
        return record, key.reveal()


@pytest.fixture
async def keys(sqlite_database: SqliteDatabase) -> AsyncIterator[Keys]:
    async with open_key_ring(str(sqlite_database), bcrypt_cost=CHEAPEST_COST) as ring:
        for user in ("ada", "bob"):
            await ring.administration.add_user(user)
        yield Keys(ring, sqlite_database)
