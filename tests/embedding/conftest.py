from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp_keys_server import KeyRecord, KeyRing, RequestedGrant, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST


@dataclass(frozen=True)
class Keys:
    """Keys of a database that others have open as well."""

    ring: KeyRing
    database: Path

    async def key(
        self, user: str = "ada", *, scopes: tuple[str, ...] = ("orders:read",), alias: str = "orders"
    ) -> tuple[KeyRecord, str]:
        requested = RequestedGrant(scopes=frozenset(scopes), aliases=frozenset({alias}))
        record, key = await self.ring.administration.create_key(user, name="A key", requested=requested)
        return record, key.reveal()


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Keys]:
    database = tmp_path / "data" / "keys.db"
    async with open_key_ring(database, bcrypt_cost=CHEAPEST_COST) as ring:
        for user in ("ada", "bob"):
            await ring.administration.add_user(user)
        yield Keys(ring, database)
