"""A clock that is put forward and back lets nobody in whose time is over by it, and makes nothing last for longer.

Ends are kept by the clock of the machine, or on PostgreSQL by one that is near enough to the database's, without which
a server is not ready (``tests/stores/postgres/test_store.py``). What a process remembers for a while, and how long it
waits, goes by the clock that cannot be set.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import accumulate, permutations
from typing import Final

import anyio
import bcrypt
import pytest

from mcp_keys_server import InvalidApiKeyError, Principal, RequestedGrant, open_key_ring
from mcp_keys_server.auth.open_responses import OpenResponse, OpenResponses
from mcp_keys_server.core.counters import SharedCounters
from mcp_keys_server.core.errors import ClaimNotOpenError, KeyNoLongerGoodError, SessionEndedError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_manager import CLAIM_LIFE
from mcp_keys_server.core.records import Person
from mcp_keys_server.core.sessions import LONGEST_IDLE, MOST_AHEAD
from mcp_keys_server.stores.opening import open_database
from tests.faults.acts import ACTS
from tests.faults.agreement import disagreements
from tests.world import NOTHING_SPECIAL, World, prefix_of

pytestmark = pytest.mark.anyio

HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
MOMENT: Final = timedelta(microseconds=1)
STEPS: Final = (-HOUR, 10 * YEAR, -YEAR, -9 * YEAR)
TRAVELS: Final = [tuple(accumulate(order, initial=timedelta())) for order in permutations(STEPS)]
"""Where the clock is after each step, counted from noon."""


async def opens(use: Callable[[], Awaitable[Principal]]) -> bool:
    try:
        await use()
    except InvalidApiKeyError:
        return False
    return True


async def test_a_key_opens_before_its_end_and_not_after_it_however_the_clock_goes(world: World) -> None:
    noon = world.clock.now
    record, key = await world.key(requested=RequestedGrant(expires_in_days=1))
    rotated, _ = await world.ring.administration.rotate_key(record.key_id, overlap_hours=2)
    verifier, end = world.ring.verifier, min(noon + DAY, noon + 2 * HOUR)
    for travel in TRAVELS:
        for offset in travel:
            for near in (timedelta(), end - MOMENT - noon, end - noon):
                world.clock.now = noon + offset + near
                is_good = world.clock.now < end
                assert await opens(lambda: verifier.verify(key.reveal())) == is_good
                assert await opens(lambda: verifier.verify(key.reveal(), over_socket=True)) == is_good
                assert await opens(lambda: verifier.look_again(key.prefix)) == is_good
    kept = await world.ring.store.find_key("ada", record.key_id)
    assert kept is not None
    assert kept.grant == rotated.grant
    assert [secret.ends_at for secret in kept.secrets] == [secret.ends_at for secret in rotated.secrets]


async def test_a_key_whose_time_ends_while_bcrypt_runs_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await world.key(requested=RequestedGrant(expires_in_days=1))
    check = bcrypt.checkpw

    def step_and_check(*arguments: bytes) -> bool:
        world.clock.advance(days=3_650)
        return check(*arguments)

    monkeypatch.setattr(bcrypt, "checkpw", step_and_check)
    async with open_key_ring(
        world.address, bcrypt_cost=CHEAPEST_COST, proof_secret=b"p" * 32, clock=world.clock
    ) as cold:
        assert not await opens(lambda: cold.verifier.verify(key.reveal()))


@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_a_key_that_is_made_amid_a_step_outlives_no_maker(
    world: World, step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = await world.principal(requested=RequestedGrant(expires_in_days=1))
    make = bcrypt.hashpw

    def step_and_hash(*arguments: bytes) -> bytes:
        world.clock.now += step
        return make(*arguments)

    monkeypatch.setattr(bcrypt, "hashpw", step_and_hash)
    if step > DAY:
        with pytest.raises(KeyNoLongerGoodError):
            await world.ring.manager.create_key(maker, name="x", requested=NOTHING_SPECIAL)
    for requested in (NOTHING_SPECIAL, RequestedGrant(expires_in_days=0.5)) if step < DAY else ():
        made, _ = await world.ring.manager.create_key(maker, name="x", requested=requested)
        assert made.grant.expires_at is not None
        assert maker.grant.expires_at is not None
        assert made.grant.expires_at <= maker.grant.expires_at


async def session_is_open(world: World, token: str) -> bool:
    try:
        await world.ring.sessions.principal(token)
    except SessionEndedError:
        return False
    return True


async def test_a_session_that_was_begun_by_a_clock_far_ahead_is_over_when_that_is_put_right(world: World) -> None:
    principal = await world.principal()
    for ahead in (10 * YEAR, HOUR, MOST_AHEAD + MOMENT):
        world.clock.now += ahead
        token = await world.ring.sessions.begin(principal)
        assert await session_is_open(world, token)
        world.clock.now -= ahead
        assert not await session_is_open(world, token)


async def test_a_visit_by_a_clock_that_is_ahead_lets_nobody_be_idle_for_longer(world: World) -> None:
    token = await world.ring.sessions.begin(await world.principal())
    ahead = LONGEST_IDLE - MOMENT
    world.clock.now += ahead
    assert await session_is_open(world, token)
    world.clock.now -= ahead
    assert not await session_is_open(world, token)


async def test_clocks_of_several_machines_may_be_a_little_apart(world: World) -> None:
    world.clock.now += MOST_AHEAD
    token = await world.ring.sessions.begin(await world.principal())
    world.clock.now -= MOST_AHEAD
    assert await session_is_open(world, token)


async def test_a_claim_is_open_before_its_end_and_not_after_it_however_the_clock_goes(world: World) -> None:
    noon, ada, manager = world.clock.now, Person("ada"), world.ring.manager
    asked = await manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    for offset in (CLAIM_LIFE, 10 * YEAR, YEAR, HOUR):
        world.clock.now = noon + offset
        with pytest.raises(ClaimNotOpenError):
            await manager.claim_key(ada, key_id=asked.key_id, claimed_from=None)
    world.clock.now = noon
    await manager.claim_key(ada, key_id=asked.key_id, claimed_from=None)
    for offset in (-YEAR, -HOUR):
        world.clock.now = noon + offset
        with pytest.raises(ClaimNotOpenError):
            await manager.claim_key(ada, key_id=asked.key_id, claimed_from=None)


async def test_whatever_the_clock_says_everything_can_be_done_and_is_written_down(world: World) -> None:
    noon = world.clock.now
    for offset in (timedelta(), *STEPS):
        world.clock.now = noon + offset
        for prepare in ACTS.values():
            attempt = await prepare(world)
            await attempt.act()
            assert await attempt.is_done()
            assert await disagreements(world.ring, attempt.users) == []
    await world.ring.administration.verify_events()


async def test_a_throttle_lets_through_what_is_allowed_after_each_step_and_closes_for_no_longer_than_its_window(
    world: World,
) -> None:
    noon, most, seconds = world.clock.now, 10, 60
    async with open_database(str(world.database)) as one, open_database(str(world.database)) as other:
        processes = [SharedCounters(opened.counters, clock=world.clock) for opened in (one, other)]
        for travel in TRAVELS[:4]:
            for offset in travel:
                world.clock.now = noon + offset
                waits = []
                for _ in range(most + 1):
                    for process in processes:
                        waits.append(await process.take("ada", most, seconds))
                        await process.share()
                assert waits.count(0) <= most + 1  # what one of them let through before it knew of the other's
                assert 0 < max(waits) <= seconds
                world.clock.now += timedelta(seconds=seconds)
                assert [await process.take("ada", most, seconds) for process in processes] == [0, 0]


async def test_what_is_open_goes_on_whatever_the_clock_says_and_ends_with_its_key(world: World) -> None:
    record, key = await world.key()
    principal: Principal = await world.ring.verifier.verify(key.reveal())
    responses: OpenResponses = world.ring.open_responses
    response = OpenResponse(prefix_of(record), principal)
    responses.add(response)
    noon = world.clock.now
    for offset in STEPS:
        world.clock.now = noon + offset
        await responses._look()
        assert response.ending is None
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    with anyio.fail_after(30):
        while response.ending is None:
            await responses._look()
    responses.remove(response)
