import pytest

from mcp_keys_server import KeyManager, KeyRecord, Principal, RequestedGrant, StoreUnavailableError
from mcp_keys_server.core.api_key import ApiKey
from mcp_keys_server.core.changes import Decision, Holdings
from mcp_keys_server.core.deed import Deed
from mcp_keys_server.core.errors import KeyNoLongerGoodError
from mcp_keys_server.core.issuance import NewKey, NewSecret, create, with_secret
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.ledger import OPERATOR
from mcp_keys_server.core.policy import NO_LIMITS
from tests.core.issuers import Event, eventful_issuer, repeating_issuer
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_a_taken_prefix_is_minted_again(world: World) -> None:
    _, taken = await world.key()
    record, key = await issue(world, taken, times=3)
    assert key.prefix != taken.prefix
    assert (await world.ring.verifier.verify(key.reveal())).key_id == record.key_id
    assert len(await world.ring.administration.list_keys()) == 2


async def test_a_mint_that_does_nothing_but_repeat_itself_is_given_up_on(world: World) -> None:
    _, taken = await world.key()
    with pytest.raises(StoreUnavailableError):
        await issue(world, taken, times=1_000)
    assert len(await world.ring.administration.list_keys()) == 1
    await world.ring.verifier.verify(taken.reveal())


async def issue(world: World, taken: ApiKey, *, times: int) -> tuple[KeyRecord, ApiKey]:
    with repeating_issuer(world, taken, times=times) as issuer:
        return await issue_with(world, issuer)


async def issue_with(world: World, issuer: KeyIssuer) -> tuple[KeyRecord, ApiKey]:
    """A key that the operator makes."""
    deed, new = Deed(OPERATOR, world.clock()), NewKey("x", RequestedGrant(frozenset()))

    def decide(holdings: Holdings, secret: NewSecret) -> Decision[KeyRecord]:
        return with_secret(create(holdings, deed, new, NO_LIMITS), deed, secret)

    return await issuer.issue("ada", decide)


async def test_a_key_that_is_revoked_while_it_makes_another_makes_none(world: World) -> None:
    thief = await world.principal()

    async def revoked() -> None:
        await world.ring.administration.revoke_key(thief.key_id, reason="stolen")

    await make_nothing(world, thief, revoked)


async def test_a_key_that_expires_while_it_makes_another_makes_none(world: World) -> None:
    maker = await world.principal(requested=RequestedGrant(expires_in_days=1))

    async def expired() -> None:
        world.clock.advance(days=1)

    await make_nothing(world, maker, expired)


async def test_a_key_whose_owner_is_disabled_while_it_makes_another_makes_none(world: World) -> None:
    maker = await world.principal()

    async def disabled() -> None:
        world.disable("ada")

    await make_nothing(world, maker, disabled)


async def make_nothing(world: World, maker: Principal, meanwhile: Event) -> None:
    store = world.ring.store
    before = await store.list_all_keys(None, include_ended=True, now=world.clock())
    with eventful_issuer(world, meanwhile) as issuer:
        manager = KeyManager(store, issuer, world.ring.counters, clock=world.clock)
        with pytest.raises(KeyNoLongerGoodError):
            await manager.create_key(maker, name="x", requested=RequestedGrant())
    assert len(await store.list_all_keys(None, include_ended=True, now=world.clock())) == len(before)


async def test_a_key_that_is_not_good_any_more_asks_for_no_key_either(world: World) -> None:
    revoked, expired, disabled = (
        await world.principal(),
        await world.principal(requested=RequestedGrant(expires_in_days=1)),
        await world.principal("bob"),
    )
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    world.clock.advance(days=1)
    world.disable("bob")
    for maker in (revoked, expired, disabled):
        with pytest.raises(KeyNoLongerGoodError):
            await world.ring.manager.create_unclaimed_key(maker, name="x", requested=RequestedGrant())
    assert world.sql("SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM claims)") == [(3, 0)]
