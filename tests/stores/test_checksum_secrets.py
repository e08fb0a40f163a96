"""A checksum secret replaced and forgotten, with the keys that were made with it."""

import asyncio
from datetime import timedelta

import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, KeyRing, RequestedGrant, StoreUnavailableError, open_key_ring
from mcp_keys_server.core.checksum_secrets import MOST_SECRETS, SECONDS_TO_BE_KNOWN, id_of
from mcp_keys_server.core.errors import Refusal, TooManySecretsError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.sql.checksum_secrets import with_digest
from tests.core.issuers import eventful_issuer
from tests.core.test_key_issuer import issue_with
from tests.imported_keys import hub_key, put_hub_key
from tests.mints import mint_of
from tests.replacing import announce, at_once, replace
from tests.world import World

pytestmark = pytest.mark.anyio


async def refusal(ring: KeyRing, key: ApiKey) -> Refusal:
    with pytest.raises(InvalidApiKeyError) as refused:
        await ring.verifier.verify(key.reveal())
    return refused.value.refusal


async def test_every_key_stays_good_and_new_ones_are_made_with_the_new_secret(world: World) -> None:
    (_, old), before = await world.key(), list(world.ring.checksum_secrets)
    await replace(world.ring)
    _, new = await world.key()
    making, *others = world.ring.checksum_secrets
    assert others == before
    assert (old.made_with, new.made_with) == (id_of(before[0]), id_of(making))
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as restarted:
        for ring in (world.ring, restarted):
            assert list(ring.checksum_secrets) == [making, *before]
            for key in (old, new):
                await ring.verifier.verify(key.reveal())


async def test_a_new_secret_makes_no_keys_before_every_process_has_had_the_time_to_look(
    world: World, other_ring: KeyRing
) -> None:
    (old,) = world.ring.checksum_secrets
    waited = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)
        assert (await world.key())[1].made_with == id_of(old)
        await world.ring.checksum_secrets.look()
        assert world.ring.checksum_secrets.making == old
        assert len(list(world.ring.checksum_secrets)) == 2
        async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as started:
            announced = mint_of(list(world.ring.checksum_secrets)[1]).mint()
            assert await refusal(started, announced) is Refusal.UNMATCHED  # and not MALFORMED
            assert (await started.administration.create_key("ada", name="x", requested=RequestedGrant()))[
                1
            ].made_with == id_of(old)

    await other_ring.administration.replace_checksum_secret(wait)
    assert waited == [SECONDS_TO_BE_KNOWN]
    await world.ring.checksum_secrets.look()
    assert (await world.key())[1].made_with == id_of(world.ring.checksum_secrets.making) != id_of(old)


async def test_another_process_recognises_a_key_under_a_secret_that_it_has_not_heard_of(
    world: World, other_ring: KeyRing
) -> None:
    await replace(world.ring)
    _, key = await world.key()
    assert len(list(other_ring.checksum_secrets)) == 1
    await other_ring.verifier.verify(key.reveal())
    assert len(list(other_ring.checksum_secrets)) == 2


async def test_a_process_hears_of_it_by_itself(world: World, other_ring: KeyRing) -> None:
    await replace(world.ring)
    while list(other_ring.checksum_secrets) != list(world.ring.checksum_secrets):
        await asyncio.sleep(0.01)


async def test_what_was_cut_short_is_done_by_the_next_with_the_same_secret(world: World) -> None:
    for _ in range(2):
        await announce(world.ring)
    old, announced = world.ring.checksum_secrets
    await replace(world.ring)
    assert list(world.ring.checksum_secrets) == [announced, old]


async def test_two_who_replace_it_at_once_make_one(world: World, other_ring: KeyRing) -> None:
    async def wait(_: float) -> None:
        await replace(other_ring)

    await world.ring.administration.replace_checksum_secret(wait)
    await world.ring.checksum_secrets.look()
    assert len(list(world.ring.checksum_secrets)) == 2


async def test_there_are_no_more_than_a_few(world: World) -> None:
    await world.key()
    for _ in range(MOST_SECRETS - 1):
        await replace(world.ring)
        await world.key()
    with pytest.raises(TooManySecretsError, match="^there are 4 checksum secrets already; rotate .* forget-checksum-"):
        await replace(world.ring)
    await world.ring.checksum_secrets.look()
    assert len(set(world.ring.checksum_secrets)) == MOST_SECRETS


async def test_one_that_no_key_needs_is_forgotten_and_what_was_made_with_it_is_made_up(
    world: World, other_ring: KeyRing
) -> None:
    record, old = await world.key()
    stolen = world.ring.checksum_secrets.making
    await replace(world.ring)
    assert await world.ring.administration.forget_checksum_secrets() == [record.key_id]
    await world.ring.verifier.verify(old.reveal())
    _, new = await world.ring.administration.rotate_key(record.key_id, overlap_hours=1)
    assert await world.ring.administration.forget_checksum_secrets() == [record.key_id]
    world.clock.advance(hours=1)
    assert await world.ring.administration.forget_checksum_secrets() == []
    for ring in (world.ring, other_ring):
        await ring.checksum_secrets.look()
        await ring.verifier.verify(new.reveal())
        assert stolen not in ring.checksum_secrets
        assert await refusal(ring, mint_of(stolen).mint()) is Refusal.MALFORMED
    assert await refusal(other_ring, old) is Refusal.MALFORMED


async def test_each_is_kept_as_long_as_a_key_needs_it(world: World) -> None:
    kept, (needing, key) = [world.ring.checksum_secrets.making], await world.key()
    for _ in range(2):
        await replace(world.ring)
    kept.insert(0, world.ring.checksum_secrets.making)
    await world.key()
    assert await world.ring.administration.forget_checksum_secrets() == [needing.key_id]
    await world.ring.checksum_secrets.look()
    assert list(world.ring.checksum_secrets) == kept
    await world.ring.verifier.verify(key.reveal())


async def test_only_a_key_that_may_be_used_again_needs_it(world: World) -> None:
    administration = world.ring.administration
    keys = {name: await world.key() for name in ("revoked", "disabled", "of a disabled user")}
    keys["expiring"] = await world.key("ada", RequestedGrant(expires_in_days=1))
    keys["of a disabled user"] = await world.key("bob")
    await put_hub_key(world.ring.store, "ada", hub_key())
    await replace(world.ring)
    ids = {name: record.key_id for name, (record, _) in keys.items()}
    await administration.revoke_key(ids["revoked"], reason=None)
    await administration.disable_key(ids["disabled"])
    await administration.disable_user("bob")
    needing = {ids["disabled"], ids["of a disabled user"], ids["expiring"]}
    assert {*await administration.forget_checksum_secrets()} >= needing
    world.clock.advance(days=2)
    left = await administration.forget_checksum_secrets()
    assert {*left} >= {ids["disabled"], ids["of a disabled user"]}
    assert not {*left} & {ids["revoked"], ids["expiring"]}
    assert left == sorted(left)


async def test_a_key_whose_secret_is_forgotten_while_it_is_hashed_is_made_with_another(world: World) -> None:
    old = world.ring.checksum_secrets.making

    async def meanwhile() -> None:
        if world.ring.checksum_secrets.making == old:
            await world.ring.administration.replace_checksum_secret(at_once)
            assert await world.ring.administration.forget_checksum_secrets() == []

    with eventful_issuer(world, meanwhile) as issuer:
        _, key = await issue_with(world, issuer)
    assert key.made_with == id_of(world.ring.checksum_secrets.making) != id_of(old)
    await world.ring.verifier.verify(key.reveal())
    assert len(await world.ring.administration.list_keys()) == 1


async def test_a_damaged_secret_is_no_secret_and_keys_under_those_that_are_known_stay_good(world: World) -> None:
    _, key = await world.key()
    value = "zeroblob(40)" if world.address.endswith(".db") else "'damaged'"
    world.sql(f"UPDATE meta SET value = {value} WHERE name = 'checksum_secret'")
    with pytest.raises(StoreUnavailableError, match="^the database has lost its checksum secret; restore a backup$"):
        await world.ring.verifier.verify(mint_of(with_digest(b"a" * 32)).mint().reveal())
    await world.ring.verifier.verify(key.reveal())
    with pytest.raises(StoreUnavailableError):
        await world.ring.administration.replace_checksum_secret(at_once)
    with pytest.raises(StoreUnavailableError):
        await world.ring.administration.forget_checksum_secrets()


async def test_whoever_replaces_it_changes_nothing_else(world: World) -> None:
    record, _ = await world.key()
    world.clock.advance(days=1)
    await replace(world.ring)
    await world.ring.administration.forget_checksum_secrets()
    assert [key.key_id for key in await world.ring.administration.list_keys()] == [record.key_id]
    assert (await world.ring.administration.list_keys())[0].created_at == world.clock() - timedelta(days=1)
