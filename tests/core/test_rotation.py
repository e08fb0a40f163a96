"""A key gets a new secret and stays the key that it is; the one before is good for as long as was said."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_keys_server import (
    ApiKey,
    InvalidApiKeyError,
    InvalidFieldError,
    KeyManager,
    KeyNotFoundError,
    KeyRecord,
    NotPermittedError,
    Refusal,
    RequestedGrant,
    open_key_ring,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, NotRotatableError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.records import Actor, Claim, KnownSecret, Person
from tests.core.issuers import eventful_issuer, repeating_issuer
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio
ADA = Person("ada")
MOMENT = timedelta(microseconds=1)
DAY = timedelta(days=1)
WRITER = RequestedGrant(frozenset({"keys:write", "keys:read", "orders:read"}), frozenset({"keys", "notes"}), 30)


async def refusal_of(world: World, key: ApiKey) -> Refusal | None:
    try:
        await world.ring.verifier.verify(key.reveal())
    except InvalidApiKeyError as error:
        return error.refusal
    return None


async def rotate(world: World, key: KeyRecord, hours: float = 24, actor: Actor = ADA) -> tuple[KeyRecord, ApiKey]:
    return await world.ring.manager.rotate_key(actor, key_id=key.key_id, overlap_hours=hours)


async def offer(world: World, key: KeyRecord, hours: float = 24, actor: Actor = ADA) -> KeyRecord:
    return await world.ring.manager.offer_rotation(actor, key_id=key.key_id, overlap_hours=hours)


async def claim(world: World, key: KeyRecord) -> tuple[KeyRecord, ApiKey]:
    return await world.ring.manager.claim_key(ADA, key_id=key.key_id, claimed_from=None)


async def now_of(world: World, key: KeyRecord) -> KeyRecord:
    return await world.ring.manager.find_key(Person(key.user_id), key_id=key.key_id)


async def test_a_rotated_key_is_the_same_key_with_another_secret(world: World) -> None:
    record, old = await world.key(requested=WRITER)
    before = await world.ring.verifier.verify(old.reveal())
    world.clock.advance(hours=1)
    rotated, new = await rotate(world, record)
    old_one = KnownSecret(old.prefix, record.created_at, world.clock.now + DAY)
    assert rotated == replace(record, secrets=(KnownSecret(new.prefix, world.clock.now), old_one))
    assert await now_of(world, record) == rotated
    assert rotated.prefix == new.prefix
    for key in (old, new):
        assert await world.ring.verifier.verify(key.reveal()) == before
    assert new.reveal().encode() not in world.stored_bytes()


async def test_the_secret_before_is_good_until_the_overlap_ends_and_not_at_its_end(world: World) -> None:
    record, old = await world.key()
    _, new = await rotate(world, record, 1.5)
    world.clock.now += timedelta(hours=1.5) - MOMENT
    assert await refusal_of(world, old) is None
    world.clock.now += MOMENT
    assert (await refusal_of(world, old), await refusal_of(world, new)) == (Refusal.REPLACED, None)
    world.clock.advance(days=365)
    assert (await refusal_of(world, old), await refusal_of(world, new)) == (Refusal.REPLACED, None)


async def test_the_operator_rotates_anybodys_key(world: World) -> None:
    record, old = await world.key("bob")
    rotated, new = await world.ring.administration.rotate_key(record.key_id, overlap_hours=0)
    assert rotated.key_id == record.key_id
    assert (await refusal_of(world, old) is None, await refusal_of(world, new)) == (False, None)
    with pytest.raises(KeyNotFoundError):
        await world.ring.administration.rotate_key("key_0123456789abcdef")


async def test_without_an_overlap_the_secret_before_ends_at_once(world: World) -> None:
    record, old = await world.key()
    await world.ring.verifier.verify(old.reveal())
    rotated, new = await rotate(world, record, 0)
    assert (await refusal_of(world, old) is None, await refusal_of(world, new)) == (False, None)
    assert [secret.prefix for secret in rotated.secrets] == [new.prefix]
    _, newer = await rotate(world, record, 0)
    assert (await refusal_of(world, new) is None, await refusal_of(world, newer)) == (False, None)


async def test_a_rotated_key_lives_no_longer_than_before(world: World) -> None:
    record, old = await world.key(requested=RequestedGrant(expires_in_days=1))
    rotated, new = await rotate(world, record, 24 * 30)
    assert rotated.grant.expires_at == record.grant.expires_at
    world.clock.advance(days=1)
    assert [await refusal_of(world, key) for key in (old, new)] == [Refusal.EXPIRED] * 2


async def test_a_key_that_is_being_rotated_is_not_rotated_again_before_the_overlap_ends(world: World) -> None:
    record, first = await world.key()
    _, second = await rotate(world, record)
    world.clock.now += DAY - MOMENT
    for hours in (24, 0):
        with pytest.raises(NotRotatableError, match="its older secret ends at 2026-11-22T12:00:00Z"):
            await rotate(world, record, hours)
    with pytest.raises(NotRotatableError):
        await offer(world, record)
    world.clock.now += MOMENT
    rotated, third = await rotate(world, record)
    assert [secret.prefix for secret in rotated.secrets] == [third.prefix, second.prefix]
    assert [await refusal_of(world, key) is None for key in (first, second, third)] == [False, True, True]


async def test_a_clock_that_was_set_back_brings_no_secret_back(world: World) -> None:
    record, first = await world.key()
    _, second = await rotate(world, record, 1)
    world.clock.advance(hours=1)
    await rotate(world, record, 1)
    world.clock.advance(hours=-2)
    assert [await refusal_of(world, key) is None for key in (first, second)] == [False, True]
    rotated = await now_of(world, record)
    assert len(rotated.live_secrets(world.clock())) == 2
    world.clock.advance(hours=3)
    await rotate(world, record, 1)
    world.clock.advance(hours=1)
    await rotate(world, record, 5)
    world.clock.advance(hours=-24)
    assert len((await now_of(world, record)).live_secrets(world.clock())) == 2


@pytest.mark.parametrize("overlap", [-1, 30 * 24 + 0.1, float("nan"), float("inf")])
async def test_an_overlap_is_as_long_as_its_rule_says(world: World, overlap: float) -> None:
    record, _ = await world.key()
    for attempt in (rotate, offer):
        with pytest.raises(InvalidFieldError, match="^overlap_hours: "):
            await attempt(world, record, overlap)
    with pytest.raises(InvalidFieldError, match="^overlap_hours: "):
        await world.ring.administration.rotate_key(record.key_id, overlap_hours=overlap)
    assert await now_of(world, record) == record


async def test_the_use_of_each_secret_is_noted(world: World) -> None:
    record, old = await world.key()
    _, new = await rotate(world, record)
    used = []
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        for key in (old, new, new):
            world.clock.advance(minutes=1)
            used.append(world.clock.now)
            await ring.verifier.verify(key.reveal(), client="192.0.2.7")
    rotated = await now_of(world, record)
    assert [(secret.prefix, secret.last_used_at) for secret in rotated.secrets] == [
        (new.prefix, used[2]),
        (old.prefix, used[0]),
    ]
    assert (rotated.use_count, rotated.last_used_at, rotated.last_used_from) == (3, used[2], "192.0.2.7")


async def test_an_offered_rotation_changes_nothing_until_it_is_claimed(world: World) -> None:
    record, old = await world.key(requested=WRITER)
    offered = await offer(world, record, 2)
    assert offered == replace(record, claim=Claim(world.clock.now + timedelta(minutes=15), overlap=timedelta(hours=2)))
    assert await now_of(world, record) == offered
    world.clock.advance(minutes=10)
    assert await refusal_of(world, old) is None
    claimed, new = await claim(world, record)
    assert claimed.secrets[1] == KnownSecret(old.prefix, record.created_at, world.clock.now + timedelta(hours=2))
    world.clock.advance(hours=2)
    assert (await refusal_of(world, old), await refusal_of(world, new)) == (Refusal.REPLACED, None)


async def test_an_offered_rotation_that_nobody_claims_in_time_is_over_and_the_key_stays_good(world: World) -> None:
    record, old = await world.key()
    await offer(world, record)
    world.clock.advance(minutes=15)
    with pytest.raises(ClaimNotOpenError):
        await claim(world, record)
    assert await refusal_of(world, old) is None
    assert [key.key_id for key in (await world.ring.manager.list_keys(ADA)).keys] == [record.key_id]
    await offer(world, record, 0)
    _, new = await claim(world, record)
    with pytest.raises(ClaimNotOpenError):
        await claim(world, record)
    assert (await refusal_of(world, old) is None, await refusal_of(world, new)) == (False, None)


@pytest.mark.parametrize("offered", [0, 1])
@pytest.mark.parametrize("between", [0, 1])
async def test_a_rotation_between_the_offer_and_the_claim_leaves_at_most_two_secrets(
    world: World, offered: float, between: float
) -> None:
    record, first = await world.key()
    await offer(world, record, offered)
    _, second = await rotate(world, record, between)
    if offered and between:  # a third would be good at the same time
        with pytest.raises(ClaimNotOpenError):
            await claim(world, record)
        third = second
    else:
        _, third = await claim(world, record)
    kept = await now_of(world, record)
    assert len(kept.live_secrets(world.clock())) <= 2
    assert await refusal_of(world, third) is None
    world.clock.advance(hours=1)
    assert [await refusal_of(world, key) is None for key in (first, second)] == [False, third is second]


async def test_a_weak_key_gets_no_secret_of_a_stronger_one(world: World) -> None:
    strong, key = await world.key(requested=WRITER)
    for weaker in (
        RequestedGrant(frozenset({"keys:write", "keys:read"}), WRITER.aliases, 30),
        RequestedGrant(WRITER.scopes, frozenset({"keys"}), 30),
        RequestedGrant(WRITER.scopes, WRITER.aliases, 29),
        RequestedGrant(frozenset({"keys:read", "orders:read"})),
    ):
        weak = await world.principal(requested=weaker)
        for attempt in (rotate, offer):
            with pytest.raises(NotPermittedError):
                await attempt(world, strong, actor=weak)
    assert await now_of(world, strong) == strong
    itself = await world.ring.verifier.verify(key.reveal())
    await rotate(world, strong, 0, actor=itself)


async def test_only_an_active_key_of_ones_own_is_rotated(world: World) -> None:
    asked = await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
    (disabled, _), (expired, _), (revoked, _), (bobs, _) = (
        await world.key(),
        await world.key(requested=RequestedGrant(expires_in_days=1 / 1440)),
        await world.key(),
        await world.key("bob"),
    )
    await world.ring.administration.disable_key(disabled.key_id)
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    world.clock.advance(minutes=1)
    before = world.sql("SELECT * FROM secrets")
    for key, error, words in (
        (asked, NotRotatableError, "is unclaimed"),
        (disabled, NotRotatableError, "is disabled"),
        (expired, NotRotatableError, "is expired"),
        (revoked, KeyNotFoundError, "no key with this id"),
        (bobs, KeyNotFoundError, "no key with this id"),
    ):
        for attempt in (rotate, offer):
            with pytest.raises(error, match=words):
                await attempt(world, key)
    assert world.sql("SELECT * FROM secrets") == before


async def test_a_key_that_is_disabled_while_its_rotation_waits_is_not_claimed(world: World) -> None:
    record, _ = await world.key()
    asked = await world.ring.manager.create_unclaimed_key(ADA, name="x", requested=NOTHING_SPECIAL)
    await offer(world, record)
    for key in (record, asked):
        await world.ring.administration.disable_key(key.key_id)
        with pytest.raises(ClaimNotOpenError):
            await claim(world, key)
        await world.ring.administration.enable_key(key.key_id)
        await claim(world, key)


async def test_a_key_outlives_its_maker_and_is_rotated_by_claim_all_the_same(world: World) -> None:
    maker = await world.principal()
    record, old = await world.ring.manager.create_key(maker, name="x", requested=NOTHING_SPECIAL)
    await world.ring.administration.revoke_key(maker.key_id, reason=None)
    await offer(world, record, 0)
    _, new = await claim(world, record)
    assert (await refusal_of(world, old) is None, await refusal_of(world, new)) == (False, None)


async def test_whoever_took_an_invitation_cannot_keep_the_invited_from_disowning_it(world: World) -> None:
    invited = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    record, stolen = await world.ring.invitations.accept(invited.code, claimed_from=None)
    thief = await world.ring.verifier.verify(stolen.reveal())
    with pytest.raises(NotRotatableError, match="disown"):
        await offer(world, record, actor=thief)
    _, rotated = await rotate(world, record, actor=thief)
    await world.ring.invitations.disown(invited.code)
    assert [await refusal_of(world, key) for key in (stolen, rotated)] == [Refusal.REVOKED] * 2


async def test_the_key_of_an_invitation_is_rotated_by_claim_when_it_cannot_be_disowned_any_more(world: World) -> None:
    invited = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    record, _ = await world.ring.invitations.accept(invited.code, claimed_from=None)
    world.clock.advance(days=7)
    await offer(world, record)
    await claim(world, record)


async def test_what_happens_while_bcrypt_runs_keeps_a_key_from_being_rotated(world: World) -> None:
    record, key = await world.key()
    actor = await world.ring.verifier.verify(key.reveal())

    async def rotated() -> None:
        await rotate(world, record)

    async def revoked() -> None:
        await world.ring.administration.revoke_key(record.key_id, reason=None)

    for event, error in ((rotated, NotRotatableError), (revoked, KeyNotFoundError)):
        with eventful_issuer(world, event) as issuer, pytest.raises(error):  # noqa: PT012
            manager = KeyManager(world.ring.store, issuer, world.ring.counters, clock=world.clock)
            await manager.rotate_key(actor, key_id=record.key_id)
        world.clock.advance(days=1)


async def test_a_taken_prefix_is_minted_again_and_ends_no_secret(world: World) -> None:
    record, old = await world.key()
    with repeating_issuer(world, old, times=3) as issuer:
        manager = KeyManager(world.ring.store, issuer, world.ring.counters, clock=world.clock)
        rotated, new = await manager.rotate_key(ADA, key_id=record.key_id)
    assert [secret.prefix for secret in rotated.secrets] == [new.prefix, old.prefix]
    for key in (old, new):
        assert await refusal_of(world, key) is None


@pytest.mark.parametrize("hours", [0, 24])
async def test_many_rotations_at_once_leave_at_most_two_secrets(world: World, hours: float) -> None:
    record, old = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
        rings = [world.ring, other] * 25
        results = await asyncio.gather(
            *(ring.manager.rotate_key(ADA, key_id=record.key_id, overlap_hours=hours) for ring in rings),
            return_exceptions=True,
        )
    made = [result[1] for result in results if not isinstance(result, BaseException)]
    assert {type(result) for result in results if isinstance(result, BaseException)} <= {NotRotatableError}
    good = [key for key in (old, *made) if await refusal_of(world, key) is None]
    assert len(made) == (1 if hours else 50)
    assert len(good) == (2 if hours else 1)
    assert len((await now_of(world, record)).secrets) == len(good)
