"""A key whose secret is made when its owner claims it: once, in time, and while everybody concerned is good."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_keys_server import (
    ApiKey,
    InvalidFieldError,
    KeyManager,
    KeyNotFoundError,
    KeyRecord,
    KeyStatus,
    NotPermittedError,
    Principal,
    RequestedGrant,
    StoreUnavailableError,
    open_key_ring,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, KeyNoLongerGoodError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.key_manager import CLAIM_LIFE
from mcp_keys_server.core.records import Actor, Claim, Person
from mcp_keys_server.stores.sqlite.connections import SqliteConnections
from tests.core.issuers import eventful_issuer, repeating_issuer
from tests.world import NOTHING_SPECIAL, World, open_world

pytestmark = pytest.mark.anyio
ADDRESS = "192.0.2.7"
READ_ONLY = RequestedGrant(frozenset({"keys:read"}))
MANAGING = frozenset({"keys:read", "keys:write"})
MOMENT = timedelta(microseconds=1)


async def ask(world: World, maker: Actor, requested: RequestedGrant = NOTHING_SPECIAL) -> KeyRecord:
    return await world.ring.manager.create_unclaimed_key(maker, name="Laptop", requested=requested)


async def claim(world: World, actor: Actor, key: KeyRecord) -> tuple[KeyRecord, ApiKey]:
    return await world.ring.manager.claim_key(actor, key_id=key.key_id, claimed_from=ADDRESS)


async def now_of(world: World, key: KeyRecord) -> KeyRecord:
    return await world.ring.manager.find_key(Person(key.user_id), key_id=key.key_id)


def secrets_of(world: World, key: KeyRecord) -> int:
    return len(world.sql(f"SELECT 1 FROM secrets WHERE key_id = '{key.key_id}'"))


async def test_an_unclaimed_key_has_no_secret_and_so_opens_nothing(world: World) -> None:
    ada = await world.principal()
    key = await ask(world, ada, READ_ONLY)
    assert key.prefix is None
    assert key.status(world.clock()) is KeyStatus.UNCLAIMED
    assert key.claim == Claim(world.clock.now + CLAIM_LIFE)
    assert (key.user_id, key.name, key.parent_key_id, key.grant.scopes) == (
        "ada",
        "Laptop",
        ada.key_id,
        READ_ONLY.scopes,
    )
    assert await now_of(world, key) == key
    assert secrets_of(world, key) == 0


async def test_a_claimed_key_is_good_and_says_when_and_from_where_it_was_claimed(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)
    world.clock.advance(minutes=1)
    record, key = await claim(world, ada, asked)
    principal = await world.ring.verifier.verify(key.reveal())
    assert (principal.user_id, principal.key_id, principal.grant) == ("ada", asked.key_id, asked.grant)
    assert (record.prefix, record.status(world.clock())) == (key.prefix, KeyStatus.ACTIVE)
    assert record.claim == Claim(asked.created_at + CLAIM_LIFE, claimed_at=world.clock.now, claimed_from=ADDRESS)
    assert await now_of(world, asked) == record
    assert key.reveal().encode() not in world.stored_bytes()


async def test_a_key_outlives_the_end_of_the_claim_that_made_it(world: World) -> None:
    ada = await world.principal()
    _, key = await claim(world, ada, await ask(world, ada))
    world.clock.advance(days=1)
    assert (await world.ring.manager.current_key(await world.ring.verifier.verify(key.reveal()))).prefix == key.prefix


async def test_no_more_can_be_asked_for_than_could_be_made(world: World) -> None:
    ada, reader = await world.principal(), await world.principal(requested=READ_ONLY)
    for maker, name, requested, error in (
        (reader, "x", NOTHING_SPECIAL, NotPermittedError),
        (ada, "x", RequestedGrant(frozenset({"orders:read"})), NotPermittedError),
        (ada, "a\nb", NOTHING_SPECIAL, InvalidFieldError),
    ):
        with pytest.raises(error):
            await world.ring.manager.create_unclaimed_key(maker, name=name, requested=requested)
    assert world.sql("SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM claims)") == [(2, 0)]


async def test_a_claim_is_open_until_its_end_and_not_at_it(world: World) -> None:
    ada = await world.principal()
    in_time, too_late = await ask(world, ada), await ask(world, ada)
    world.clock.now += CLAIM_LIFE - MOMENT
    assert (await now_of(world, in_time)).status(world.clock()) is KeyStatus.UNCLAIMED
    await claim(world, ada, in_time)
    world.clock.now += MOMENT
    assert (await now_of(world, too_late)).status(world.clock()) is KeyStatus.LAPSED
    await refuse(world, ada, too_late, ClaimNotOpenError)


async def test_how_long_a_claim_is_open_can_be_set(world: World) -> None:
    ada = await world.principal()
    async with open_key_ring(
        world.address, bcrypt_cost=CHEAPEST_COST, claim_life=timedelta(seconds=9), clock=world.clock
    ) as ring:
        key = await ring.manager.create_unclaimed_key(ada, name="x", requested=NOTHING_SPECIAL)
    assert key.claim == Claim(world.clock.now + timedelta(seconds=9))


async def test_keys_not_claimed_in_time_are_listed_only_when_asked_for(world: World) -> None:
    ada = await world.principal()
    lapsing, revoked = await ask(world, ada), await ask(world, ada)
    await world.ring.manager.revoke_key(ada, key_id=revoked.key_id, reason=None)
    world.clock.now += CLAIM_LIFE - MOMENT
    assert await listed(world, ada, include_ended=False) == {ada.key_id, lapsing.key_id}
    world.clock.now += MOMENT
    assert await listed(world, ada, include_ended=False) == {ada.key_id}
    assert await listed(world, ada, include_ended=True) == {ada.key_id, lapsing.key_id, revoked.key_id}


async def listed(world: World, actor: Actor, *, include_ended: bool) -> set[str]:
    """What the owner's list and the operator's have in common, which is all."""
    owners = (await world.ring.manager.list_keys(actor, include_ended=include_ended)).keys
    operators = await world.ring.administration.list_keys(actor.user_id, include_ended=include_ended)
    assert list(owners) == list(operators)
    return {key.key_id for key in owners}


async def test_of_many_claims_at_once_one_makes_a_key(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)
    results = await asyncio.gather(*(claim(world, ada, asked) for _ in range(50)), return_exceptions=True)
    await exactly_one(world, asked, results)


async def test_of_many_claims_through_many_processes_one_makes_a_key(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other_ring:
        rings = [world.ring, other_ring] * 10
        results = await asyncio.gather(
            *(ring.manager.claim_key(ada, key_id=asked.key_id, claimed_from=None) for ring in rings),
            return_exceptions=True,
        )
    await exactly_one(world, asked, results)


async def exactly_one(world: World, asked: KeyRecord, results: list[tuple[KeyRecord, ApiKey] | BaseException]) -> None:
    made = [result for result in results if isinstance(result, tuple)]
    assert len(made) == 1
    assert {type(result) for result in results if not isinstance(result, tuple)} == {ClaimNotOpenError}
    assert secrets_of(world, asked) == 1
    assert (await world.ring.verifier.verify(made[0][1].reveal())).key_id == asked.key_id


async def refuse(world: World, actor: Actor, key: KeyRecord, error: type[Exception]) -> str:
    """The claim is refused before any work is put into it, and leaves no secret that was not there before."""
    before = secrets_of(world, key)

    async def work() -> None:
        raise AssertionError("a key was hashed")

    with eventful_issuer(world, work) as issuer, pytest.raises(error) as refused:
        await manager_of(world, issuer).claim_key(actor, key_id=key.key_id, claimed_from=ADDRESS)
    assert secrets_of(world, key) == before
    return str(refused.value)


def manager_of(world: World, issuer: KeyIssuer) -> KeyManager:
    return KeyManager(world.ring.store, issuer, world.ring.counters, clock=world.clock)


async def test_a_claim_is_good_once(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)
    record, key = await claim(world, ada, asked)
    world.clock.advance(minutes=1)
    await refuse(world, ada, asked, ClaimNotOpenError)
    assert await now_of(world, asked) == record
    await world.ring.verifier.verify(key.reveal())


async def test_a_key_that_was_revoked_is_not_claimed(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)
    await world.ring.manager.revoke_key(ada, key_id=asked.key_id, reason="changed my mind")
    await refuse(world, ada, asked, ClaimNotOpenError)


async def test_a_key_whose_own_end_came_first_is_not_claimed(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada, RequestedGrant(expires_in_days=1 / 1440))
    world.clock.advance(minutes=1)
    assert (await now_of(world, asked)).status(world.clock()) is KeyStatus.EXPIRED
    await refuse(world, ada, asked, ClaimNotOpenError)


async def test_a_key_that_was_handed_over_as_it_was_made_is_not_claimed(world: World) -> None:
    ada = await world.principal()
    record, key = await world.key()
    await refuse(world, ada, record, ClaimNotOpenError)
    await world.ring.verifier.verify(key.reveal())


async def test_the_key_of_an_invitation_is_claimed_with_its_code_only(world: World) -> None:
    ada = await world.principal()
    invitation = await world.ring.invitations.invite("ada", name="x", requested=NOTHING_SPECIAL)
    for actor in (ada, Person("ada")):
        await refuse(world, actor, invitation.key, ClaimNotOpenError)
    await world.ring.invitations.accept(invitation.code, claimed_from=None)


async def test_anothers_key_to_claim_and_an_unknown_one_are_the_same_error(world: World) -> None:
    asked = await ask(world, await world.principal("ada"))
    unknown = replace(asked, key_id="key_0123456789abcdef")
    for actor in (await world.principal("bob"), Person("bob")):
        words = {await refuse(world, actor, key, KeyNotFoundError) for key in (asked, unknown)}
        assert len(words) == 1


async def test_a_key_without_keys_write_claims_nothing_even_what_does_no_more_than_itself(world: World) -> None:
    asked = await ask(world, await world.principal(), READ_ONLY)
    reader = await world.principal(requested=READ_ONLY)
    assert reader.grant.covers(asked.grant)
    assert "keys:write" in await refuse(world, reader, asked, NotPermittedError)


NARROWER = {
    "scopes": (RequestedGrant(MANAGING), RequestedGrant(frozenset({"orders:read"}))),
    "aliases": (RequestedGrant(None, frozenset({"keys"})), RequestedGrant(None, frozenset({"keys", "notes"}))),
    "every alias": (RequestedGrant(None, frozenset({"keys"})), NOTHING_SPECIAL),
    "a later end": (RequestedGrant(expires_in_days=1), RequestedGrant(expires_in_days=2)),
    "no end": (RequestedGrant(expires_in_days=1), NOTHING_SPECIAL),
}


@pytest.mark.parametrize(("claimants", "asked_for"), NARROWER.values(), ids=NARROWER)
async def test_a_key_claims_nothing_that_may_do_more_than_itself(
    world: World, claimants: RequestedGrant, asked_for: RequestedGrant
) -> None:
    maker = await world.principal(requested=RequestedGrant(MANAGING | {"orders:read"}))
    claimant = await world.principal(requested=claimants)
    asked = await ask(world, maker, asked_for)
    await refuse(world, claimant, asked, NotPermittedError)
    await claim(world, maker, asked)


async def test_another_key_of_the_owner_claims_what_does_no_more_than_itself(world: World) -> None:
    asked = await ask(world, await world.principal(), READ_ONLY)
    _, key = await claim(world, await world.principal(), asked)
    await world.ring.verifier.verify(key.reveal())


async def test_a_person_asks_within_bounds_and_claims_whatever_is_theirs(world: World) -> None:
    ada = Person("ada")
    own = await ask(world, ada)
    assert (own.parent_key_id, own.grant.scopes) == (None, frozenset({"keys:read"}))
    with pytest.raises(NotPermittedError, match="^scopes: "):
        await ask(world, ada, RequestedGrant(frozenset({"orders:read"})))
    maker = await world.principal(requested=RequestedGrant(MANAGING | {"orders:read"}))
    theirs = await ask(world, maker, RequestedGrant(frozenset({"orders:read"})))
    for asked in (own, theirs):
        _, key = await claim(world, ada, asked)
        assert (await world.ring.verifier.verify(key.reveal())).grant == asked.grant


async def test_what_a_key_asked_for_before_it_was_revoked_is_claimed_by_nobody(world: World) -> None:
    maker = await world.principal()
    asked = await ask(world, maker)
    await world.ring.administration.revoke_key(maker.key_id, reason="stolen")
    with pytest.raises(KeyNoLongerGoodError):
        await claim(world, maker, asked)
    for actor in (await world.principal(), Person("ada")):
        with pytest.raises(ClaimNotOpenError):
            await claim(world, actor, asked)
    assert secrets_of(world, asked) == 0


async def test_the_key_of_a_disabled_owner_is_claimed_by_nobody(world: World) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)
    world.disable("ada")
    for actor in (ada, Person("ada")):
        with pytest.raises(KeyNoLongerGoodError):
            await claim(world, actor, asked)
    assert secrets_of(world, asked) == 0


Happening = Callable[[World, KeyRecord, Principal], Awaitable[object]]


async def revoked(world: World, asked: KeyRecord, _: Principal) -> None:
    await world.ring.administration.revoke_key(asked.key_id, reason=None)


async def lapsed(world: World, *_: object) -> None:
    world.clock.now += CLAIM_LIFE


async def expired(world: World, *_: object) -> None:
    world.clock.advance(minutes=10)


async def owner_disabled(world: World, *_: object) -> None:
    world.disable("ada")


async def maker_revoked(world: World, asked: KeyRecord, _: Principal) -> None:
    assert asked.parent_key_id
    await world.ring.administration.revoke_key(asked.parent_key_id, reason=None)


async def claimant_revoked(world: World, _: KeyRecord, claimant: Principal) -> None:
    await world.ring.administration.revoke_key(claimant.key_id, reason="stolen")


async def claimant_expired(world: World, _: KeyRecord, claimant: Principal) -> None:
    world.sql(f"UPDATE keys SET expires_at = created_at WHERE key_id = '{claimant.key_id}'")


EVENTS: tuple[tuple[Happening, type[Exception]], ...] = (
    (revoked, ClaimNotOpenError),
    (lapsed, ClaimNotOpenError),
    (expired, ClaimNotOpenError),
    (owner_disabled, KeyNoLongerGoodError),
    (maker_revoked, ClaimNotOpenError),
    (claimant_revoked, KeyNoLongerGoodError),
    (claimant_expired, KeyNoLongerGoodError),
)


@pytest.mark.parametrize(("happening", "error"), EVENTS, ids=lambda value: value.__name__)
async def test_what_happens_while_bcrypt_runs_leaves_no_secret_behind(
    world: World, happening: Happening, error: type[Exception]
) -> None:
    asked = await ask(world, await world.principal(), RequestedGrant(expires_in_days=10 / 1440))
    claimant = await world.principal()

    async def meanwhile() -> None:
        await happening(world, asked, claimant)

    with eventful_issuer(world, meanwhile) as issuer, pytest.raises(error):
        await manager_of(world, issuer).claim_key(claimant, key_id=asked.key_id, claimed_from=ADDRESS)
    assert secrets_of(world, asked) == 0
    assert world.sql("SELECT claimed_at, claimed_from FROM claims") == [(None, None)]


async def test_a_key_that_is_revoked_while_it_claims_leaves_the_claim_to_the_others(world: World) -> None:
    asked = await ask(world, await world.principal())
    thief = await world.principal()

    async def meanwhile() -> None:
        await world.ring.administration.revoke_key(thief.key_id, reason="stolen")

    with eventful_issuer(world, meanwhile) as issuer, pytest.raises(KeyNoLongerGoodError):
        await manager_of(world, issuer).claim_key(thief, key_id=asked.key_id, claimed_from=ADDRESS)
    _, key = await claim(world, await world.principal(), asked)
    await world.ring.verifier.verify(key.reveal())


async def test_a_claimed_key_is_handed_over_though_nothing_can_be_read_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await world.principal()
    asked = await ask(world, ada)

    async def broken(*_: object) -> None:
        raise StoreUnavailableError("the disk is on fire")

    async def meanwhile() -> None:
        monkeypatch.setattr(SqliteConnections, "read", broken)

    with eventful_issuer(world, meanwhile) as issuer:
        record, key = await manager_of(world, issuer).claim_key(ada, key_id=asked.key_id, claimed_from=ADDRESS)
    assert record.prefix == key.prefix


async def test_a_taken_prefix_does_not_spend_the_claim_and_is_minted_again(world: World) -> None:
    _, taken = await world.key()
    ada = await world.principal()
    asked = await ask(world, ada)
    with repeating_issuer(world, taken, times=1_000) as issuer, pytest.raises(StoreUnavailableError):
        await manager_of(world, issuer).claim_key(ada, key_id=asked.key_id, claimed_from=ADDRESS)
    assert await now_of(world, asked) == asked
    with repeating_issuer(world, taken, times=3) as issuer:
        record, key = await manager_of(world, issuer).claim_key(ada, key_id=asked.key_id, claimed_from=ADDRESS)
    assert key.prefix != taken.prefix
    assert (await world.ring.verifier.verify(key.reveal())).key_id == record.key_id == asked.key_id
    assert secrets_of(world, asked) == 1


async def test_a_restart_between_asking_and_claiming_changes_nothing(world: World) -> None:
    async with open_world(world.database.another()) as before:
        ada = await before.principal()
        asked = await ask(before, ada)
    async with open_world(before.database) as after:
        assert await now_of(after, asked) == asked
        _, key = await claim(after, ada, asked)
        assert (await after.ring.verifier.verify(key.reveal())).key_id == asked.key_id
    async with open_world(before.database) as at_last:
        await refuse(at_last, ada, asked, ClaimNotOpenError)
        await at_last.ring.verifier.verify(key.reveal())


async def test_a_key_id_that_can_be_none_is_refused_as_such(world: World) -> None:
    ada = await world.principal()
    with pytest.raises(InvalidFieldError, match="^key_id: "):
        await world.ring.manager.claim_key(ada, key_id="Laptop", claimed_from=None)
