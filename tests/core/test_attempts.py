"""How much a user can add to the ledger, and what they still can when it is enough."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_keys_server import KeyRing, NotPermittedError, Principal, RequestedGrant, open_key_ring
from mcp_keys_server.core.attempts import MOST_REFUSALS
from mcp_keys_server.core.errors import TooManyChangesError, TooManyKeysError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.ledger import EventKind
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.core.records import Actor, Person
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
ADA, BOB = Person("ada"), Person("bob")
MOST = 5
WRITER = RequestedGrant(scopes=frozenset({"keys:read", "keys:write"}))


@asynccontextmanager
async def ring_with(world: World, policy: KeyPolicy) -> AsyncIterator[KeyRing]:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, policy=policy, clock=world.clock) as ring:
        yield ring


async def ask(ring: KeyRing, actor: Actor) -> str:
    return (await ring.manager.create_unclaimed_key(actor, name="x", requested=WRITER)).key_id


def entries(world: World, kind: EventKind | None = None) -> int:
    of_kind = "" if kind is None else f" WHERE kind = '{kind}'"
    return int(world.sql(f"SELECT count(*) FROM events{of_kind}")[0][0])


async def test_a_user_makes_so_many_changes_within_an_hour_and_a_neighbour_makes_theirs(world: World) -> None:
    async with ring_with(world, KeyPolicy(max_changes_per_hour=MOST)) as ring:
        for _ in range(MOST):
            await ask(ring, ADA)
        before = entries(world)
        for _ in range(20):
            with pytest.raises(TooManyChangesError, match="try again in 3600 seconds"):
                await ask(ring, ADA)
        assert entries(world) == before
        await ask(ring, BOB)
        world.clock.advance(hours=1)
        await ask(ring, ADA)


async def test_everything_that_can_be_repeated_without_end_is_counted(world: World, bcrypt_calls: list[str]) -> None:
    async with ring_with(world, KeyPolicy(max_changes_per_hour=MOST)) as ring:
        manager = ring.manager
        for _ in range(MOST - 1):
            await ask(ring, ADA)
        key, _ = await manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL)
        before, asked = entries(world), len(bcrypt_calls)
        for attempt in (
            lambda: manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL),
            lambda: manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL),
            lambda: manager.update_key(ADA, key_id=key.key_id, name="y"),
            lambda: manager.disable_key(ADA, key_id=key.key_id),
            lambda: manager.enable_key(ADA, key_id=key.key_id),
            lambda: manager.rotate_key(ADA, key_id=key.key_id),
            lambda: manager.offer_rotation(ADA, key_id=key.key_id),
        ):
            with pytest.raises(TooManyChangesError):
                await attempt()
        assert (entries(world), len(bcrypt_calls)) == (before, asked)


async def test_all_keys_of_a_user_are_counted_together(world: World) -> None:
    keys: list[Principal] = [await world.principal(requested=WRITER) for _ in range(MOST + 1)]
    async with ring_with(world, KeyPolicy(max_changes_per_hour=MOST)) as ring:
        for key in keys[:MOST]:
            await ask(ring, key)
        with pytest.raises(TooManyChangesError):
            await ask(ring, keys[MOST])


async def test_whoever_has_made_too_many_changes_still_ends_keys_and_claims_what_waits(world: World) -> None:
    thief = await world.principal(requested=WRITER)
    async with ring_with(world, KeyPolicy(max_changes_per_hour=MOST)) as ring:
        asked = [await ask(ring, thief) for _ in range(MOST)]
        with pytest.raises(TooManyChangesError):
            await ask(ring, ADA)
        await ring.manager.claim_key(ADA, key_id=asked[0], claimed_from=None)
        await ring.manager.revoke_key(ADA, key_id=asked[1], reason=None)
        _, ended = await ring.manager.revoke_with_descendants(ADA, key_id=thief.key_id, reason="stolen")
        assert {key.key_id for key in ended} == {asked[0], *asked[2:]}


async def test_the_operator_is_not_counted(world: World) -> None:
    async with ring_with(world, KeyPolicy(max_changes_per_hour=1)) as ring:
        for _ in range(3):
            record, _ = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
            await ring.administration.disable_key(record.key_id)
        await ask(ring, ADA)


async def test_of_the_attempts_that_are_refused_so_many_are_entries_within_an_hour(world: World) -> None:
    reader = await world.principal(requested=RequestedGrant(scopes=frozenset({"keys:read"})))
    manager = world.ring.manager

    async def is_refused(actor: Principal, key_id: str) -> None:
        with pytest.raises(NotPermittedError):
            await manager.revoke_key(actor, key_id=key_id, reason=None)

    other, _ = await world.key()
    for _ in range(MOST_REFUSALS + 20):
        await is_refused(reader, other.key_id)
    assert entries(world, EventKind.REFUSED) == MOST_REFUSALS
    neighbour = await world.principal("bob", RequestedGrant(scopes=frozenset({"keys:read"})))
    await is_refused(neighbour, other.key_id)
    assert entries(world, EventKind.REFUSED) == MOST_REFUSALS + 1
    world.clock.advance(hours=1)
    await is_refused(reader, other.key_id)
    assert entries(world, EventKind.REFUSED) == MOST_REFUSALS + 2
    await world.ring.administration.verify_events()


async def test_a_full_user_who_goes_on_asking_fills_nothing(world: World) -> None:
    async with ring_with(world, KeyPolicy(max_live_keys=1)) as ring:
        await ask(ring, ADA)
        for _ in range(MOST_REFUSALS + 20):
            with pytest.raises(TooManyKeysError):
                await ask(ring, ADA)
    assert entries(world, EventKind.REFUSED) == MOST_REFUSALS
