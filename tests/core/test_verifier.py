import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta

import bcrypt
import pytest

from mcp_keys_server import (
    InvalidApiKeyError,
    KeyVerifier,
    Refusal,
    RequestedGrant,
    StoreUnavailableError,
    open_key_ring,
)
from mcp_keys_server.core.api_key import ApiKey, KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.records import SecretRecord
from mcp_keys_server.core.usage import UsageLog
from tests.floods.forgeries import malformed
from tests.mints import with_checksum
from tests.world import World

pytestmark = pytest.mark.anyio


async def test_a_good_key_says_whose_it_is_and_what_it_may(world: World) -> None:
    requested = RequestedGrant(frozenset({"orders:read"}), frozenset({"notes"}), 1)
    record, key = await world.key("bob", requested)
    principal = await world.ring.verifier.verify(key.reveal())
    assert (principal.user_id, principal.key_id, principal.grant) == ("bob", record.key_id, record.grant)
    assert principal.grant.expires_at == world.clock.now + timedelta(days=1)


async def test_a_revoked_key_is_refused_at_once_even_after_use(world: World) -> None:
    record, key = await world.key()
    await world.ring.verifier.verify(key.reveal())
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    refused = await refusal(world, key.reveal())
    assert (refused.refusal, refused.key_id, refused.user_id) == (Refusal.REVOKED, record.key_id, "ada")


async def test_a_key_is_good_until_its_end_and_not_at_it(world: World) -> None:
    _, key = await world.key(requested=RequestedGrant(expires_in_days=1))
    world.clock.advance(days=1, microseconds=-1)
    await world.ring.verifier.verify(key.reveal())
    world.clock.advance(microseconds=1)
    assert (await refusal(world, key.reveal())).refusal is Refusal.EXPIRED


async def test_the_key_of_a_disabled_owner_is_refused(world: World) -> None:
    _, key = await world.key()
    await world.ring.verifier.verify(key.reveal())
    await in_the_database(world, "UPDATE users SET disabled_at = '2026-01-01T00:00:00.000000+00:00'")
    assert (await refusal(world, key.reveal())).refusal is Refusal.OWNER_DISABLED


async def test_a_key_of_this_mint_that_nobody_has_is_refused(world: World) -> None:
    unknown = KeyMint(world.ring.checksum_secrets).mint()
    refused = await refusal(world, unknown.reveal())
    assert (refused.refusal, refused.key_id) == (Refusal.UNMATCHED, None)


async def test_a_forgery_under_a_leaked_checksum_secret_does_not_open_the_key_of_that_prefix(world: World) -> None:
    _, key = await world.key()
    body = key.reveal()[:12] + "A" * 35
    forgery = with_checksum(world, body)
    for _ in range(2):
        assert (await refusal(world, forgery)).refusal is Refusal.UNMATCHED
    await world.ring.verifier.verify(key.reveal())


async def test_a_revoked_key_costs_no_bcrypt(world: World, bcrypt_calls: list[str]) -> None:
    record, key = await world.key()
    await world.ring.administration.revoke_key(record.key_id, reason=None)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST) as restarted:
        bcrypt_calls.clear()
        with pytest.raises(InvalidApiKeyError):
            await restarted.verifier.verify(key.reveal())
    assert bcrypt_calls == []


async def test_bcrypt_runs_once_in_the_life_of_a_process_that_knows_no_proofs(
    world: World, bcrypt_calls: list[str]
) -> None:
    _, key = await world.key()
    other = secrets.token_bytes(32)
    async with open_key_ring(
        world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock, proof_secret=other
    ) as restarted:
        bcrypt_calls.clear()
        for _ in range(3):
            await restarted.verifier.verify(key.reveal())
        assert bcrypt_calls == ["checkpw"]


async def test_what_is_revoked_while_bcrypt_runs_is_refused(world: World) -> None:
    record, key = await world.key()

    async def revoke() -> None:
        await world.ring.administration.revoke_key(record.key_id, reason=None)

    with pytest.raises(InvalidApiKeyError) as refused:
        await verify_with_something_between(world, key.reveal(), revoke)
    assert refused.value.refusal is Refusal.REVOKED


async def test_a_hash_that_is_exchanged_while_bcrypt_runs_is_checked_itself(world: World) -> None:
    _, key = await world.key()
    other = bcrypt.hashpw(b"another", bcrypt.gensalt(4)).decode()

    async def exchange() -> None:
        await in_the_database(world, f"UPDATE secrets SET key_hash = '{other}' WHERE prefix = '{key.prefix}'")

    with pytest.raises(InvalidApiKeyError) as refused:
        await verify_with_something_between(world, key.reveal(), exchange)
    assert refused.value.refusal is Refusal.UNMATCHED


async def test_a_raised_cost_rehashes_a_key_on_its_next_first_use(world: World, bcrypt_calls: list[str]) -> None:
    _, key = await world.key()
    other = secrets.token_bytes(32)
    async with open_key_ring(world.address, bcrypt_cost=5, clock=world.clock, proof_secret=other) as dearer:
        bcrypt_calls.clear()
        await dearer.verifier.verify(key.reveal())
        stored = await dearer.store.read_secret(key.prefix)
        assert stored is not None
        assert stored.key_hash.startswith("$2b$05$")
        assert bcrypt.checkpw(key.reveal().encode(), stored.key_hash.encode())
        await dearer.verifier.verify(key.reveal())
    assert bcrypt_calls == ["checkpw", "hashpw", "checkpw"]  # the second check is the test's own


async def test_a_raised_cost_takes_one_check_and_one_new_hash_where_no_proof_is_kept(
    world: World, bcrypt_calls: list[str]
) -> None:
    _, key = await world.key()
    store = world.ring.store
    with closing(KeyHasher(cost=5)) as hasher:
        mint, usage, proofs = (
            KeyMint(world.ring.checksum_secrets),
            UsageLog(store.record_use),
            Proofs(None, store.record_proofs),
        )
        dearer = KeyVerifier(store, mint, hasher, usage, proofs, clock=world.clock)
        bcrypt_calls.clear()
        for _ in range(2):
            await dearer.verify(key.reveal())
    assert bcrypt_calls == ["checkpw", "hashpw"]


async def test_a_key_is_found_in_a_text_and_nothing_else_is(world: World) -> None:
    _, key = await world.key()
    verifier = world.ring.verifier
    assert verifier.finds_key_in(f"curl -H 'X-API-Key: {key.reveal()}'")
    assert verifier.finds_key_in(f"curl -H 'X-API-Key: {key.reveal()[:-1]}'") is False


async def test_a_lowered_cost_leaves_hashes_alone(world: World) -> None:
    async with open_key_ring(world.address, bcrypt_cost=5, clock=world.clock) as dearer:
        _, key = await dearer.administration.create_key("ada", name="x", requested=RequestedGrant())
    await world.ring.verifier.verify(key.reveal())
    stored = await world.ring.store.read_secret(key.prefix)
    assert stored is not None
    assert stored.key_hash.startswith("$2b$05$")


async def test_a_stronger_hash_that_cannot_be_kept_neither_keeps_the_key_out_nor_is_made_at_each_use(
    world: World, bcrypt_calls: list[str]
) -> None:
    _, key = await world.key()
    world.database.refuse("UPDATE", "secrets", saying="full")
    other = secrets.token_bytes(32)
    async with open_key_ring(world.address, bcrypt_cost=5, clock=world.clock, proof_secret=other) as dearer:
        bcrypt_calls.clear()
        for _ in range(3):
            await dearer.verifier.verify(key.reveal())
    assert bcrypt_calls == ["checkpw", "hashpw"]


async def test_a_store_that_does_not_answer_lets_nobody_in(world: World) -> None:
    _, key = await world.key()
    await world.ring.verifier.verify(key.reveal())
    await in_the_database(world, "ALTER TABLE secrets RENAME TO gone")
    with pytest.raises(StoreUnavailableError):
        await world.ring.verifier.verify(key.reveal())


async def test_one_hundred_thousand_malformed_keys_reach_neither_store_nor_bcrypt(
    world: World, bcrypt_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = await world.key()
    reads = count_reads(world, monkeypatch)
    bcrypt_calls.clear()
    for presented in malformed(key.reveal(), 100_000):
        with pytest.raises(InvalidApiKeyError):
            await world.ring.verifier.verify(presented)
    assert (reads, bcrypt_calls) == ([], [])
    await world.ring.verifier.verify(key.reveal())
    assert len(reads) == 1


def count_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    real = world.ring.store.read_secret

    async def counted(prefix: str) -> SecretRecord | None:
        reads.append(prefix)
        return await real(prefix)

    monkeypatch.setattr(world.ring.store, "read_secret", counted)
    return reads


async def verify_with_something_between(world: World, presented: str, between: Callable[[], Awaitable[None]]) -> None:
    """Verify for the first time in a process, with something happening after the first read and before bcrypt."""

    class SlowHasher(KeyHasher):
        async def prove(self, key: ApiKey, key_hash: str, *, crowd: str = "") -> bool:
            await between()
            return await super().prove(key, key_hash, crowd=crowd)

    store = world.ring.store
    with closing(SlowHasher(cost=CHEAPEST_COST)) as hasher:
        verifier = KeyVerifier(
            store,
            KeyMint(world.ring.checksum_secrets),
            hasher,
            UsageLog(store.record_use),
            Proofs(None, store.record_proofs),
            clock=world.clock,
        )
        await verifier.verify(presented)


async def refusal(world: World, presented: str) -> InvalidApiKeyError:
    with pytest.raises(InvalidApiKeyError) as refused:
        await world.ring.verifier.verify(presented)
    return refused.value


async def in_the_database(world: World, statement: str) -> None:
    """Change the database from outside."""
    world.sql(statement)


async def test_first_uses_of_many_keys_at_once_are_all_answered(world: World) -> None:
    keys = [(await world.key())[1] for _ in range(20)]
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as restarted:
        principals = await asyncio.gather(*(restarted.verifier.verify(key.reveal()) for key in keys for _ in range(5)))
    assert len({principal.key_id for principal in principals}) == 20


async def test_the_address_of_the_client_is_noted_with_the_use(world: World) -> None:
    _, key = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        await ring.verifier.verify(key.reveal(), client="192.0.2.1")
        await ring.verifier.verify(key.reveal(), client="2001:db8::7")
    (used,) = await world.ring.administration.list_keys()
    assert (used.use_count, used.last_used_at, used.last_used_from) == (2, world.clock.now, "2001:db8::7")
    world.clock.advance(seconds=1)
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        await ring.verifier.verify(key.reveal())
    (used,) = await world.ring.administration.list_keys()
    assert (used.use_count, used.last_used_at, used.last_used_from) == (3, world.clock.now, None)


async def test_the_address_of_whoever_is_refused_is_noted_nowhere(world: World) -> None:
    record, key = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        await ring.administration.revoke_key(record.key_id, reason=None)
        with pytest.raises(InvalidApiKeyError):
            await ring.verifier.verify(key.reveal(), client="192.0.2.1")
    assert world.sql("SELECT last_used_at, last_used_from FROM keys") == [(None, None)]
