"""A key ring that is gone when it is closed, with users whose keys are used to measure."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.core.grant import RequestedGrant
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.key_ring import KeyRing, open_key_ring


@dataclass(frozen=True, slots=True)
class ThrowAway:
    ring: KeyRing
    keys: Mapping[str, ApiKey]
    """By user id."""


@asynccontextmanager
async def throw_away(users: int) -> AsyncIterator[ThrowAway]:
    """One with so many users, in an SQLite file in the system's folder for what is temporary.

    Raises:
        UnusableDatabaseError: There is no such folder, or it cannot be written.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="mcp-keys-server-bench-")
    except OSError as error:
        raise UnusableDatabaseError(
            f"no folder can be made for a database to measure with: {error.strerror}; set TMPDIR to one that is "
            "writable for this user"
        ) from None
    with folder as place:
        # Hashed at the cheapest cost, because what is measured with them comes after their proof.
        async with open_key_ring(Path(place) / "keys.db", bcrypt_cost=CHEAPEST_COST) as ring:
            yield ThrowAway(
                ring, {user_id: await _key(ring, user_id) for user_id in map("bench-{}".format, range(users))}
            )


async def _key(ring: KeyRing, user_id: str) -> ApiKey:
    await ring.administration.add_user(user_id)
    _, key = await ring.administration.create_key(user_id, name="Bench", requested=RequestedGrant())
    return key
