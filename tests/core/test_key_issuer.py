from collections.abc import Awaitable, Callable
from contextlib import closing

import aiosqlite
import pytest

from mcp_keys_server import Grant, KeyManager, KeyRecord, Principal, RequestedGrant, StoreUnavailableError
from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.errors import KeyNoLongerGoodError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.key_issuer import KeyIssuer
from mcp_keys_server.core.records import NewKey
from tests.world import World

pytestmark = pytest.mark.anyio
NO_GRANT = Grant(frozenset(), None, None)


class RepeatingMint(KeyMint):
    """Mints the same prefix a number of times before it goes on."""

    def __init__(self, checksum_secret: bytes, taken: ApiKey, times: int) -> None:
        super().__init__(checksum_secret)
        self._taken = taken
        self._times = times

    def mint(self) -> ApiKey:
        if self._times == 0:
            return super().mint()
        self._times -= 1
        body = self._taken.reveal()[:12] + super().mint().reveal()[12:47]
        return ApiKey(body + self._checksum(body), tag="mhu_")


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
    mint = RepeatingMint(world.ring.store.checksum_secret, taken, times)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        issuer = KeyIssuer(world.ring.store, mint, hasher, world.clock)
        return await issuer.issue(NewKey("ada", "x", NO_GRANT))


class EventfulHasher(KeyHasher):
    """Something happens while the new key is hashed."""

    def __init__(self, event: Callable[[], Awaitable[object]]) -> None:
        super().__init__(cost=CHEAPEST_COST)
        self._event = event

    async def hash(self, key: ApiKey) -> str:
        await self._event()
        return await super().hash(key)


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
        async with aiosqlite.connect(world.database) as connection:
            await connection.execute("UPDATE users SET disabled_at = created_at")
            await connection.commit()

    await make_nothing(world, maker, disabled)


async def make_nothing(world: World, maker: Principal, meanwhile: Callable[[], Awaitable[object]]) -> None:
    store = world.ring.store
    before = await store.list_all_keys(None, include_ended=True, now=world.clock())
    with closing(EventfulHasher(meanwhile)) as hasher:
        issuer = KeyIssuer(store, KeyMint(store.checksum_secret), hasher, world.clock)
        manager = KeyManager(store, issuer, clock=world.clock)
        with pytest.raises(KeyNoLongerGoodError):
            await manager.create_key(maker, name="x", requested=RequestedGrant())
    assert len(await store.list_all_keys(None, include_ended=True, now=world.clock())) == len(before)
