"""All users come at once after a restart. How long that takes is measured by tests/benchmarks/restart.py."""

import asyncio

import pytest

from mcp_keys_server import open_key_ring
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
USERS = 100
REQUESTS_EACH = 3
SECRET, ANOTHER = bytes(32), bytes([1] * 32)


@pytest.mark.parametrize(("secret", "checks"), [(SECRET, 0), (ANOTHER, USERS)], ids=["the same", "another"])
async def test_after_a_restart_all_are_let_in_and_bcrypt_runs_only_without_proofs_and_once_for_a_key(
    world: World, bcrypt_calls: list[str], secret: bytes, checks: int
) -> None:
    users = [f"user{number}" for number in range(USERS)]
    keys = {}
    async with open_key_ring(
        world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock, proof_secret=SECRET
    ) as before:
        for user in users:
            await before.administration.add_user(user)
            _, keys[user] = await before.administration.create_key(user, name="x", requested=NOTHING_SPECIAL)
    bcrypt_calls.clear()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock, proof_secret=secret) as ring:
        crowd = [ring.verifier.verify(keys[user].reveal(), client="192.0.2.1") for user in users * REQUESTS_EACH]
        let_in = await asyncio.gather(*crowd)
    assert [principal.user_id for principal in let_in] == users * REQUESTS_EACH
    assert bcrypt_calls == ["checkpw"] * checks
