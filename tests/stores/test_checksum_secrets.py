"""A checksum secret replaced and forgotten, with the keys that were made with it."""

import asyncio
from datetime import timedelta

import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, KeyRing, RequestedGrant, StoreUnavailableError, open_key_ring
from mcp_keys_server.core.checksum_secret_store import MOST_SECRETS, NeedOfSecret
from mcp_keys_server.core.checksum_secrets import SECONDS_TO_BE_KNOWN, id_of
from mcp_keys_server.core.errors import AnotherSecretAnnouncedError, Refusal, TooManySecretsError
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.stores.sql.checksum_secrets import with_digest
from tests.core.issuers import eventful_issuer
from tests.core.test_key_issuer import issue_with
from tests.imported_keys import fleetmind_key, hub_key, put_fleetmind_key, put_hub_key
from tests.mints import mint_of
from tests.replacing import announce, at_once, be_late, replace
from tests.world import World

pytestmark = pytest.mark.anyio


async def needing_now(world: World) -> list[str]:
    return [need.key_id for need in await world.ring.administration.forget_checksum_secrets()]


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
    old = world.ring.checksum_secrets.making
    await replace(world.ring)
    _, key = await world.key()
    be_late(other_ring, old)
    await other_ring.verifier.verify(key.reveal())
    assert len(list(other_ring.checksum_secrets)) == 2


async def test_a_process_hears_of_it_by_itself(world: World, other_ring: KeyRing) -> None:
    await replace(world.ring)
    while list(other_ring.checksum_secrets) != list(world.ring.checksum_secrets):
        await asyncio.sleep(0.01)


async def test_what_was_cut_short_is_done_anew_with_another_secret(world: World) -> None:
    """Because whoever got hold of the database meanwhile has the one that was announced."""
    (old,) = world.ring.checksum_secrets
    seen = set()
    for _ in range(2):
        await announce(world.ring)
        making, announced = world.ring.checksum_secrets
        assert making == old
        seen.add(announced)
    assert len(seen) == 2
    await replace(world.ring)
    making, other = world.ring.checksum_secrets
    assert other == old
    assert making not in seen


async def test_of_two_who_replace_it_at_once_only_the_later_one_does(world: World, other_ring: KeyRing) -> None:
    """Or the secret of the later one would make keys before its time was over."""
    kept: list[bytes] = []

    async def wait(_: float) -> None:
        await replace(other_ring)
        await announce(other_ring)
        kept.extend(other_ring.checksum_secrets)

    with pytest.raises(AnotherSecretAnnouncedError, match="another replacement was begun meanwhile"):
        await world.ring.administration.replace_checksum_secret(wait)
    await world.ring.checksum_secrets.look()
    assert list(world.ring.checksum_secrets) == kept
    assert len(kept) == 3


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
    assert await world.ring.administration.forget_checksum_secrets() == [NeedOfSecret(record.key_id, None)]
    await world.ring.verifier.verify(old.reveal())
    _, new = await world.ring.administration.rotate_key(record.key_id, overlap_hours=1)
    until = world.clock() + timedelta(hours=1)
    assert await world.ring.administration.forget_checksum_secrets() == [NeedOfSecret(record.key_id, until)]
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
    assert await needing_now(world) == [needing.key_id]
    await world.ring.checksum_secrets.look()
    assert list(world.ring.checksum_secrets) == kept
    await world.ring.verifier.verify(key.reveal())


async def test_only_a_key_that_may_be_used_again_needs_it(world: World) -> None:
    administration = world.ring.administration
    keys = {name: (await world.key())[0].key_id for name in ("revoked", "disabled")}
    keys["of a disabled user"] = (await world.key("bob"))[0].key_id
    keys["expiring"] = (await world.key("ada", RequestedGrant(expires_in_days=1)))[0].key_id
    await put_hub_key(world.ring.store, "ada", hub_key())
    await put_fleetmind_key(world.ring.store, "ada", fleetmind_key())
    await replace(world.ring)
    assert await needing_now(world) == sorted(keys.values())
    await administration.revoke_key(keys["revoked"], reason=None)
    await administration.disable_key(keys["disabled"])
    await administration.disable_user("bob")
    assert await needing_now(world) == sorted({*keys.values()} - {keys["revoked"]})
    world.clock.advance(days=1)
    assert await needing_now(world) == sorted([keys["disabled"], keys["of a disabled user"]])


async def test_those_that_need_it_until_they_are_rotated_come_first_and_not_all_of_very_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = sorted([(await world.key())[0].key_id for _ in range(4)])
    await replace(world.ring)
    for key_id in ids[:2]:
        await world.ring.administration.rotate_key(key_id, overlap_hours=1)
    assert await needing_now(world) == [*ids[2:], *ids[:2]]
    monkeypatch.setattr("mcp_keys_server.stores.sql.checksum_secrets.MOST_NEEDS", 3)
    assert await needing_now(world) == [*ids[2:], ids[0]]


async def test_a_key_of_a_server_that_writes_no_ids_keeps_the_oldest(world: World) -> None:
    """One of the version before, which goes on beside the new ones and knows the secret that was the first."""
    (record, key), oldest = await world.key(), world.ring.checksum_secrets.making
    await put_hub_key(world.ring.store, "ada", hub_key())
    for _ in range(2):
        await replace(world.ring)
    world.sql("UPDATE secrets SET made_with = NULL")
    assert await needing_now(world) == [record.key_id]
    await world.ring.checksum_secrets.look()
    assert list(world.ring.checksum_secrets)[1:] == [oldest]
    await world.ring.verifier.verify(key.reveal())
    await world.ring.administration.rotate_key(record.key_id, overlap_hours=0)
    assert await needing_now(world) == []


async def test_what_was_done_is_in_the_ledger(world: World) -> None:
    await world.key()

    async def told() -> list[tuple[str, str, str]]:
        entries = await world.ring.administration.list_events()
        return [(str(it.event.kind), it.event.user_id, str(it.event.by.means)) for it in reversed(entries)][3:]

    await announce(world.ring)
    assert await told() == []
    await replace(world.ring)
    assert await told() == [("checksum_secret_replaced", "", "operator")]
    await needing_now(world)
    assert len(await told()) == 1
    world.clock.advance(days=1)
    for key in await world.ring.administration.list_keys():
        await world.ring.administration.revoke_key(key.key_id, reason=None)
    for _ in range(2):
        assert await needing_now(world) == []
    assert [kind for kind, *_ in await told()][2:] == ["checksum_secrets_forgotten"]
    await world.ring.administration.verify_events()


async def test_a_key_that_is_made_right_after_has_the_new_secret(world: World, other_ring: KeyRing) -> None:
    old = world.ring.checksum_secrets.making
    await other_ring.administration.replace_checksum_secret(at_once)
    _, key = await world.key()
    assert key.made_with != id_of(old)
    assert await needing_now(world) == []


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
    be_late(world.ring, *world.ring.checksum_secrets)
    with pytest.raises(StoreUnavailableError, match="^the database has lost its checksum secret; restore a backup$"):
        await world.ring.verifier.verify(mint_of(with_digest(b"a" * 32)).mint().reveal())
    await world.ring.verifier.verify(key.reveal())
    with pytest.raises(StoreUnavailableError):
        await world.ring.administration.replace_checksum_secret(at_once)
    with pytest.raises(StoreUnavailableError):
        await world.ring.administration.forget_checksum_secrets()


async def test_a_damaged_secret_that_was_only_announced_is_none(world: World) -> None:
    await announce(world.ring)
    value = "zeroblob(40)" if world.address.endswith(".db") else "'damaged'"
    world.sql(f"UPDATE meta SET value = {value} WHERE name = 'announced_checksum_secret'")
    await world.ring.checksum_secrets.look()
    assert len(list(world.ring.checksum_secrets)) == 1
    _, key = await world.key()
    await replace(world.ring)
    await world.ring.verifier.verify(key.reveal())
    assert len(list(world.ring.checksum_secrets)) == 2


async def test_a_ring_that_is_closed_looks_no_more(world: World) -> None:
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        await ring.checksum_secrets.look()
    with pytest.raises(StoreUnavailableError, match="^the database is being closed$"):
        await ring.checksum_secrets.look()
