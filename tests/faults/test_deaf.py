"""Replicas that are not told what others have done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, KeyRing, StoreUnavailableError, open_key_ring
from mcp_keys_server.auth.guard import KeyGuard
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.postgres import connecting as postgres_connecting
from mcp_keys_server.stores.postgres.store import PostgresStore
from tests.databases import needs_postgres
from tests.faults.callers import Callers, application, until_ended
from tests.faults.relay import Relay
from tests.world import World

pytestmark = [pytest.mark.anyio, needs_postgres]


@pytest.fixture
def kind() -> str:
    return "postgres"


@pytest.fixture
async def relay(world: World) -> AsyncIterator[Relay]:
    async with Relay(world.address).running() as relay:
        yield relay


@asynccontextmanager
async def another_replica(relay: Relay, world: World, *, looks: bool = True) -> AsyncIterator[KeyRing]:
    async with open_key_ring(relay.url, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        if not looks:
            ring.open_responses._seconds_between_looks = 3600
        yield ring


def open_at(ring: KeyRing, key: ApiKey) -> Callers:
    return Callers([KeyGuard(application, ring.verifier, ring.open_responses)], key, key)


@pytest.mark.parametrize(
    ("is_deaf", "looks", "ends"),
    [
        pytest.param(True, True, True, id="it looks"),
        pytest.param(False, False, True, id="it is told"),
        pytest.param(True, False, False, id="neither"),
    ],
)
async def test_what_is_open_ends_with_its_key_whether_its_replica_is_told_or_looks(
    world: World, relay: Relay, *, is_deaf: bool, looks: bool, ends: bool
) -> None:
    """And where it does neither it goes on, so that the others mean something."""
    record, key = await world.key()
    relay.is_deaf = is_deaf
    async with another_replica(relay, world, looks=looks) as ring, open_at(ring, key).open_responses(3) as responses:
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        with pytest.raises(InvalidApiKeyError):
            await ring.verifier.verify(key.reveal())
        if ends:
            await until_ended(responses)
            return
        with anyio.fail_after(60):
            while not relay.kept_back:
                await asyncio.sleep(0)
        with pytest.raises(InvalidApiKeyError):  # by now it would have heard of it
            await ring.verifier.verify(key.reveal())
        assert not any(response.done() for response in responses)


async def test_a_listener_that_was_ended_listens_again_with_the_next_look_up(world: World, relay: Relay) -> None:
    record, key = await world.key()
    async with another_replica(relay, world, looks=False) as ring, open_at(ring, key).open_responses(3) as responses:
        assert isinstance(ring.store, PostgresStore)
        listening = ring.store._connections.lookups._connection
        assert listening is not None
        world.sql(f"SELECT pg_terminate_backend({listening.get_server_pid()})")
        await ring.verifier.verify(key.reveal())
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        await until_ended(responses)


async def test_a_connection_that_is_lost_without_a_word_lets_nobody_in_and_is_made_again(
    world: World, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connecting, "SECONDS_FOR_A_STATEMENT", 1)
    record, key = await world.key()
    _, other = await world.key()
    async with another_replica(relay, world) as ring, open_at(ring, key).open_responses(3) as responses:
        relay.silence()
        await world.ring.administration.revoke_key(record.key_id, reason=None)
        with pytest.raises((InvalidApiKeyError, StoreUnavailableError)):
            await ring.verifier.verify(key.reveal())
        await until_ended(responses)
        await ring.verifier.verify(other.reveal())
        with pytest.raises(InvalidApiKeyError):
            await ring.verifier.verify(key.reveal())
