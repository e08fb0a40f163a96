"""Proofs that keys fit their hashes, and what they are worth to whom."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing

import anyio
import pytest

from mcp_keys_server import (
    ApiKey,
    InvalidApiKeyError,
    KeyRing,
    KeyVerifier,
    Refusal,
    RequestedGrant,
    StoreUnavailableError,
    open_key_ring,
)
from mcp_keys_server.core import proofs as proofs_of_keys
from mcp_keys_server.core import write_behind
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.records import ProvenHash, SecretRecord
from mcp_keys_server.core.usage import UsageLog
from tests.imported_keys import hub_key, put_hub_key
from tests.mints import mint_of, with_checksum
from tests.world import NOTHING_SPECIAL, World

pytestmark = pytest.mark.anyio

SECRET = b"s" * 32
OTHER_SECRET = b"o" * 32


def process(world: World, *, secret: bytes = SECRET, cost: int = CHEAPEST_COST) -> AbstractAsyncContextManager[KeyRing]:
    """One that knows nothing but what is in the database, and the proof secret."""
    return open_key_ring(world.address, bcrypt_cost=cost, clock=world.clock, proof_secret=secret)


async def made_in(ring: KeyRing) -> ApiKey:
    _, key = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
    return key


async def made(world: World) -> ApiKey:
    """A key with its proof."""
    async with process(world) as ring:
        return await made_in(ring)


async def stored(world: World, key: ApiKey) -> SecretRecord:
    record = await world.ring.store.read_secret(key.prefix)
    assert record is not None
    return record


async def put_proof(world: World, key: ApiKey, proof: bytes | None, *, key_hash: str | None = None) -> None:
    """What another program with the database in its hands may do."""
    before = (await stored(world, key)).key_hash
    await world.ring.store.replace_key_hash(key.prefix, old=before, new=key_hash or before, proof=proof)


async def refusal(ring: KeyRing, presented: str) -> Refusal:
    with pytest.raises(InvalidApiKeyError) as refused:
        await ring.verifier.verify(presented)
    return refused.value.refusal


async def test_bcrypt_runs_once_in_the_life_of_a_key_which_is_when_its_hash_is_made(
    world: World, bcrypt_calls: list[str]
) -> None:
    key = await made(world)
    assert bcrypt_calls == ["hashpw"]
    for _ in range(2):
        async with process(world) as restarted:
            for _ in range(2):
                assert (await restarted.verifier.verify(key.reveal())).user_id == "ada"
    assert bcrypt_calls == ["hashpw"]


async def rotated(ring: KeyRing) -> ApiKey:
    record, _ = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
    _, new = await ring.administration.rotate_key(record.key_id)
    return new


async def claimed(ring: KeyRing) -> ApiKey:
    principal = await ring.verifier.verify((await made_in(ring)).reveal())
    asked = await ring.manager.create_unclaimed_key(principal, name="x", requested=NOTHING_SPECIAL)
    _, key = await ring.manager.claim_key(principal, key_id=asked.key_id, claimed_from=None)
    return key


@pytest.mark.parametrize("make", [made_in, rotated, claimed])
async def test_every_secret_that_is_made_here_has_its_proof_from_the_first_moment(
    world: World, make: Callable[[KeyRing], Awaitable[ApiKey]]
) -> None:
    async with process(world) as ring:
        key = await make(ring)
        record = await stored(world, key)
        assert record.proof == Proofs(SECRET, world.ring.store.record_proofs).make(key, record.key_hash)


async def test_the_first_use_after_a_restart_waits_for_no_bcrypt(world: World) -> None:
    """The stored hash is of the highest cost there is, at which bcrypt would take some days."""
    key = await made(world)
    key_hash = "$2b$31$" + (await stored(world, key)).key_hash[7:]
    await put_proof(world, key, Proofs(SECRET, world.ring.store.record_proofs).make(key, key_hash), key_hash=key_hash)
    async with process(world) as restarted:
        assert (await restarted.verifier.verify(key.reveal())).user_id == "ada"


async def test_what_one_replica_has_proven_takes_no_bcrypt_in_another(world: World, bcrypt_calls: list[str]) -> None:
    key = hub_key()
    key_id = await put_hub_key(world.ring.store, "ada", key)
    async with process(world) as other:
        async with process(world) as one:
            bcrypt_calls.clear()
            await one.verifier.verify(key)
            assert world.sql("SELECT proof FROM secrets") == [(None,)]  # not on the way of the request
        assert (await other.verifier.verify(key)).key_id == key_id
    assert bcrypt_calls == ["checkpw"]


async def test_proofs_are_written_while_the_database_is_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "SECONDS_BETWEEN_WRITES", 0)
    key = hub_key()
    await put_hub_key(world.ring.store, "ada", key)
    async with process(world) as ring:
        await ring.verifier.verify(key)
        with anyio.fail_after(10):
            while world.sql("SELECT proof FROM secrets") == [(None,)]:
                await asyncio.sleep(0)


async def test_a_changed_secret_forgets_the_proofs_and_writes_new_ones(world: World, bcrypt_calls: list[str]) -> None:
    key = await made(world)
    bcrypt_calls.clear()
    for _ in range(2):
        async with process(world, secret=OTHER_SECRET) as ring:
            await ring.verifier.verify(key.reveal())
        assert bcrypt_calls == ["checkpw"]


@asynccontextmanager
async def without_secret(world: World) -> AsyncIterator[tuple[KeyVerifier, Proofs]]:
    store = world.ring.store
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        proofs = Proofs(None, store.record_proofs)
        mint, usage = KeyMint(world.ring.checksum_secrets), UsageLog(store.record_use)
        yield KeyVerifier(store, mint, hasher, usage, proofs, clock=world.clock), proofs


async def test_whoever_has_lost_the_secret_takes_bcrypt_and_writes_nothing(
    world: World, bcrypt_calls: list[str]
) -> None:
    key = await made(world)
    before = await stored(world, key)
    bcrypt_calls.clear()
    async with without_secret(world) as (verifier, proofs):
        for _ in range(2):
            await verifier.verify(key.reveal())
        await proofs.write()
    assert bcrypt_calls == ["checkpw"]
    assert await stored(world, key) == before


@pytest.mark.parametrize(
    "change",
    [lambda _: b"", lambda it: it[:-1], lambda it: it + b"\0", lambda it: it[::-1]],
    ids=["empty", "too short", "too long", "another"],
)
async def test_a_damaged_proof_costs_one_bcrypt_and_is_mended(
    world: World, bcrypt_calls: list[str], change: Callable[[bytes], bytes]
) -> None:
    key = await made(world)
    right = (await stored(world, key)).proof
    assert right is not None
    await put_proof(world, key, change(right))
    bcrypt_calls.clear()
    async with process(world) as ring:
        await ring.verifier.verify(key.reveal())
    assert bcrypt_calls == ["checkpw"]
    assert (await stored(world, key)).proof == right


def forged(world: World, key: ApiKey) -> str:
    """Another key with the same prefix, as whoever has stolen the database makes it."""
    body = key.reveal()[:12] + "A" * 35
    return with_checksum(world, body)


async def test_a_proof_lets_no_other_key_in(world: World) -> None:
    key = await made(world)
    async with process(world) as ring:
        await ring.verifier.verify(key.reveal())
        assert await refusal(ring, forged(world, key)) is Refusal.UNMATCHED


async def test_a_proof_that_is_moved_to_another_key_lets_nobody_in(world: World) -> None:
    mine, theirs = await made(world), await made(world)
    record = await stored(world, mine)
    await put_proof(world, theirs, record.proof)
    async with process(world) as ring:
        assert await refusal(ring, forged(world, theirs)) is Refusal.UNMATCHED
        await ring.verifier.verify(theirs.reveal())  # by bcrypt
    await put_proof(world, theirs, record.proof, key_hash=record.key_hash)
    async with process(world) as ring:
        for presented in (theirs.reveal(), forged(world, theirs)):
            assert await refusal(ring, presented) is Refusal.UNMATCHED


async def test_a_proof_is_of_its_hash_and_worth_nothing_beside_another(world: World) -> None:
    key, other = await made(world), await made(world)
    await put_proof(world, key, (await stored(world, key)).proof, key_hash=(await stored(world, other)).key_hash)
    async with process(world) as ring:
        assert await refusal(ring, key.reveal()) is Refusal.UNMATCHED


async def test_a_key_with_a_proof_is_refused_like_any_other(world: World, bcrypt_calls: list[str]) -> None:
    async with process(world) as ring:
        revoked, revoked_key = await ring.administration.create_key("ada", name="x", requested=NOTHING_SPECIAL)
        _, expired = await ring.administration.create_key("ada", name="x", requested=RequestedGrant(expires_in_days=1))
        _, owned = await ring.administration.create_key("bob", name="x", requested=NOTHING_SPECIAL)
    await world.ring.administration.revoke_key(revoked.key_id, reason=None)
    world.clock.advance(days=1)
    world.disable("bob")
    bcrypt_calls.clear()
    async with process(world) as ring:
        assert await refusal(ring, revoked_key.reveal()) is Refusal.REVOKED
        assert await refusal(ring, expired.reveal()) is Refusal.EXPIRED
        assert await refusal(ring, owned.reveal()) is Refusal.OWNER_DISABLED
    assert bcrypt_calls == []


async def test_a_raised_cost_hashes_a_proven_key_anew_and_writes_its_new_proof(
    world: World, bcrypt_calls: list[str]
) -> None:
    key = await made(world)
    bcrypt_calls.clear()
    for _ in range(2):
        async with process(world, cost=5) as dearer:
            await dearer.verifier.verify(key.reveal())
        assert bcrypt_calls == ["hashpw"]
    assert (await stored(world, key)).key_hash.startswith("$2b$05$")


async def test_a_stolen_database_alone_gives_nothing_that_is_faster_to_try_than_bcrypt(world: World) -> None:
    key = await made(world)
    record = await stored(world, key)
    assert record.proof is not None
    known = [
        world.ring.checksum_secrets.making,
        b"",
        proofs_of_keys._PURPOSE,
    ]  # to whoever has the database and this code
    texts = [f"{key.reveal()}\0{record.key_hash}", key.reveal() + record.key_hash, key.reveal()]
    plain = [hashlib.new(name, text.encode()).digest() for name in ("sha256", "blake2b") for text in texts]
    keyed = [hmac.digest(secret, text.encode(), "sha256") for secret in known for text in texts]
    derived = [Proofs(secret, world.ring.store.record_proofs).make(key, record.key_hash) for secret in known]
    assert record.proof not in {digest[:16] for digest in plain + keyed} | {*derived}
    kept = hmac.digest(SECRET, proofs_of_keys._PURPOSE, "sha256")
    for secret in (SECRET, kept, SECRET.hex().encode(), kept.hex().encode()):
        assert secret not in world.stored_bytes()
    assert not Proofs(OTHER_SECRET, world.ring.store.record_proofs).hold(record.proof, key, record.key_hash)
    assert Proofs(SECRET, world.ring.store.record_proofs).hold(record.proof, key, record.key_hash)
    assert record.proof.hex() not in repr(record).lower()


async def test_a_proof_is_made_in_one_way_or_else_an_update_forgets_them_all() -> None:
    """HMAC-SHA-256 under a key derived for this purpose, so that the secret itself is the key of no text."""
    key = ApiKey("mhu_" + "k" * 51, tag="mhu_")
    derived = hmac.digest(SECRET, b"mcp-keys-server: that a key fits its hash", "sha256")
    expected = hmac.digest(derived, b"mhu_" + b"k" * 51 + b"\0$2b$12$hash", "sha256")[:16]
    assert Proofs(SECRET, Tape().record_proofs).make(key, "$2b$12$hash") == expected


async def test_a_key_that_is_revoked_while_its_proof_waits_stays_revoked(world: World) -> None:
    key = hub_key()
    key_id = await put_hub_key(world.ring.store, "ada", key)
    async with process(world) as ring:
        await ring.verifier.verify(key)
        await world.ring.administration.revoke_key(key_id, reason="stolen")
    async with process(world) as ring:
        assert await refusal(ring, key) is Refusal.REVOKED


MINT = mint_of(b"secret")


class Tape:
    """A store that takes proofs, or does not."""

    def __init__(self) -> None:
        self.written: list[Mapping[str, ProvenHash]] = []
        self.break_after: Callable[[], None] | None = None

    async def record_proofs(self, proven: Mapping[str, ProvenHash]) -> None:
        if self.break_after is not None:
            self.break_after()
            raise StoreUnavailableError("full")
        self.written.append(proven)


def proven(proofs: Proofs, key: ApiKey, key_hash: str) -> ProvenHash:
    proof = proofs.make(key, key_hash)
    assert proof is not None
    return ProvenHash(key_hash, proof)


async def test_what_could_not_be_written_is_written_later_and_what_came_since_wins() -> None:
    tape, one, other = Tape(), MINT.mint(), MINT.mint()
    proofs = Proofs(SECRET, tape.record_proofs)
    proofs.note(one, "hash")
    proofs.note(other, "hash")
    tape.break_after = lambda: proofs.note(one, "newer hash")
    with pytest.raises(StoreUnavailableError):
        await proofs.write()
    tape.break_after = None
    for _ in range(2):
        await proofs.write()
    expected = {one.prefix: proven(proofs, one, "newer hash"), other.prefix: proven(proofs, other, "hash")}
    assert tape.written == [expected]


async def test_only_so_many_proofs_wait_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs_of_keys, "MOST_WAITING", 2)
    tape = Tape()
    proofs = Proofs(secrets.token_bytes(32), tape.record_proofs)
    for _ in range(3):
        proofs.note(MINT.mint(), "hash")
    await proofs.write()
    assert [len(written) for written in tape.written] == [2]


async def test_those_that_came_while_others_could_not_be_written_leave_no_room_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proofs_of_keys, "MOST_WAITING", 3)
    tape, older, newer = Tape(), [MINT.mint() for _ in range(3)], [MINT.mint() for _ in range(2)]
    proofs = Proofs(SECRET, tape.record_proofs)
    for key in older:
        proofs.note(key, "hash")

    def come() -> None:
        for key in newer:
            proofs.note(key, "hash")

    tape.break_after = come
    with pytest.raises(StoreUnavailableError):
        await proofs.write()
    tape.break_after = None
    await proofs.write()
    assert [set(written) for written in tape.written] == [{older[0].prefix, *(key.prefix for key in newer)}]
