"""What the operator allows of every key: until when, and how many of a user."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mcp_keys_server import KeyRing, NotPermittedError, RequestedGrant, open_key_ring
from mcp_keys_server.core import issuance
from mcp_keys_server.core.errors import TooManyKeysError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.policy import KeyPolicy
from mcp_keys_server.core.records import Person
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
ADA = Person("ada")

ENDS = [
    # default and longest; asked for; the maker's end; given
    ((None, None), None, None, None),
    ((None, None), 400, None, 400),
    ((90, None), None, None, 90),
    ((90, None), 400, None, 400),
    ((None, 30), None, None, 30),
    ((None, 30), 30, None, 30),
    ((None, 30), 31, None, NotPermittedError),
    ((90, 365), None, None, 90),
    ((90, 365), 365, None, 365),
    ((90, 30), None, None, 30),
    ((90, 365), None, 10, 10),
    ((90, 365), 5, 10, 5),
    ((90, 365), 10, 10, 10),
    ((90, 365), 11, 10, NotPermittedError),
    ((90, None), None, 300, 90),
    ((None, 30), None, 300, 30),
    ((None, None), None, 300, 300),
]


@asynccontextmanager
async def ring_with(world: World, policy: KeyPolicy) -> AsyncIterator[KeyRing]:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, policy=policy, clock=world.clock) as ring:
        yield ring


@pytest.mark.parametrize(("policy", "asked", "makers", "given"), ENDS)
async def test_a_key_ends_by_what_was_asked_the_policy_and_its_maker(
    world: World,
    policy: tuple[float | None, float | None],
    asked: float | None,
    makers: float | None,
    given: float | type[Exception] | None,
) -> None:
    maker = await world.principal(requested=RequestedGrant(expires_in_days=makers))
    requested = RequestedGrant(expires_in_days=asked)
    async with ring_with(world, KeyPolicy(*policy)) as ring:
        by_key = (
            lambda: ring.manager.create_key(maker, name="x", requested=requested),
            lambda: ring.manager.create_unclaimed_key(maker, name="x", requested=requested),
        )
        by_nobody = (
            lambda: ring.manager.create_key(ADA, name="x", requested=requested),
            lambda: ring.administration.create_key("ada", name="x", requested=requested),
            lambda: ring.invitations.invite("ada", name="x", requested=requested),
        )
        for make in (*by_key, *(by_nobody if makers is None else ())):
            if isinstance(given, type):
                before = world.sql("SELECT count(*) FROM keys")
                with pytest.raises(given, match="^expires_in_days: "):
                    await make()
                assert world.sql("SELECT count(*) FROM keys") == before
                continue
            await make()
            end = None if given is None else world.clock.now + timedelta(days=given)
            newest = await world.ring.administration.list_keys("ada")
            (key,) = (key for key in newest if key.created_at == world.clock.now and key.key_id != maker.key_id)
            assert key.grant.expires_at == end
            await world.ring.administration.revoke_key(key.key_id, reason=None)


async def test_a_user_has_as_many_live_keys_as_allowed_and_no_more(world: World) -> None:
    async with ring_with(world, KeyPolicy(max_live_keys=3)) as ring:
        maker_record, _ = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
        disabled, _ = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
        await ring.administration.disable_key(disabled.key_id)
        asked = await ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
        for make in (
            lambda: ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL),
            lambda: ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL),
            lambda: ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL),
            lambda: ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL),
        ):
            with pytest.raises(TooManyKeysError, match="3 keys already"):
                await make()
        await ring.administration.create_key("bob", name="x", requested=NOTHING_SPECIAL)
        await ring.manager.claim_key(ADA, key_id=asked.key_id, claimed_from=None)
        await ring.manager.rotate_key(ADA, key_id=asked.key_id)
        await ring.manager.enable_key(ADA, key_id=disabled.key_id)
        await ring.manager.revoke_key(ADA, key_id=maker_record.key_id, reason=None)
        await ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL)


async def test_what_expired_or_lapsed_takes_no_place(world: World) -> None:
    async with ring_with(world, KeyPolicy(max_live_keys=1)) as ring:
        await ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
        world.clock.advance(minutes=15)
        await ring.manager.create_key(ADA, name="x", requested=RequestedGrant(expires_in_days=1))
        world.clock.advance(days=1)
        await ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL)
        with pytest.raises(TooManyKeysError):
            await ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL)


async def test_an_invitation_takes_the_place_of_the_unused_one_before(world: World) -> None:
    async with ring_with(world, KeyPolicy(max_live_keys=1)) as ring:
        await ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
        again = await ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
        await ring.invitations.accept(again.code, claimed_from=None)
        with pytest.raises(TooManyKeysError):
            await ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)


async def test_of_many_keys_asked_for_at_once_exactly_as_many_as_allowed_are_made(world: World) -> None:
    policy = KeyPolicy(max_live_keys=7)
    async with ring_with(world, policy) as one, ring_with(world, policy) as other:
        results = await asyncio.gather(
            *(
                (
                    ring.manager.create_key(ADA, name="x", requested=NOTHING_SPECIAL)
                    if number % 4 < 2
                    else ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
                )
                for number, ring in enumerate([one, other] * 50)
            ),
            return_exceptions=True,
        )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert {type(result) for result in refused} == {TooManyKeysError}
    assert len(refused) == 93
    assert len(await world.ring.administration.list_keys("ada")) == 7


async def test_keys_that_lapsed_or_expired_are_not_made_without_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuance, "MOST_HELD_KEYS", 2)
    for _ in range(2):
        await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
    world.clock.advance(days=1)
    with pytest.raises(TooManyKeysError, match="2 keys already"):
        await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
