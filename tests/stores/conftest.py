from collections.abc import AsyncIterator

import pytest

from mcp_keys_server import KeyRing, open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.world import World


@pytest.fixture
async def other_ring(world: World) -> AsyncIterator[KeyRing]:
    """The same database, opened a second time."""
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        yield ring
