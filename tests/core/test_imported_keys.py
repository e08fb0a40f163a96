"""Keys that came from elsewhere, at the verifier."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing

import bcrypt
import pytest

from mcp_keys_server import (
    InvalidApiKeyError,
    KeyVerifier,
    Principal,
    Refusal,
    StoreUnavailableError,
    TooBusyError,
    open_key_ring,
)
from mcp_keys_server.core import key_hasher
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.key_hash import cost_of_bcrypt
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from mcp_keys_server.core.key_store import KeyStore
from mcp_keys_server.core.lane import MOST_WAITING, MOST_WAITING_FOR_ONE
from mcp_keys_server.core.proofs import Proofs
from mcp_keys_server.core.usage import UsageLog
from tests.imported_keys import (
    SlowBcrypt,
    bcrypt_of,
    fleetmind_key,
    hub_key,
    put_fleetmind_key,
    put_hub_key,
    settled,
    sha256_of,
)
from tests.mints import with_checksum
from tests.world import World

pytestmark = pytest.mark.anyio


async def refusal(verifier: KeyVerifier, presented: str) -> Refusal:
    with pytest.raises(InvalidApiKeyError) as refused:
        await verifier.verify(presented)
    return refused.value.refusal


def hash_of(world: World, prefix: str) -> str:
    ((key_hash,),) = world.sql(f"SELECT key_hash FROM secrets WHERE prefix = '{prefix}'")
    assert isinstance(key_hash, str)
    return key_hash


def forged(key: str) -> str:
    """Another key with the same prefix."""
    return key[:-20] + "A" * 20


async def test_a_key_of_the_hub_is_good_by_its_bcrypt(world: World) -> None:
    key = hub_key()
    key_id = await put_hub_key(world.ring.store, "ada", key)
    for _ in range(2):
        principal = await world.ring.verifier.verify(key)
        assert (principal.user_id, principal.key_id) == ("ada", key_id)
    assert await refusal(world.ring.verifier, forged(key)) is Refusal.UNMATCHED


async def test_a_key_of_fleetmind_is_hashed_anew_at_its_first_use(world: World) -> None:
    key = fleetmind_key()
    key_id = await put_fleetmind_key(world.ring.store, "ada", key)
    assert hash_of(world, key[3:11]) == f"sha256:{sha256_of(key)}"
    assert (await world.ring.verifier.verify(key)).key_id == key_id
    stored = hash_of(world, key[3:11])
    assert cost_of_bcrypt(stored.removeprefix("imported:")) == CHEAPEST_COST
    assert bcrypt.checkpw(key.encode(), stored.removeprefix("imported:").encode())
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as restarted:
        assert (await restarted.verifier.verify(key)).key_id == key_id
        assert await refusal(restarted.verifier, forged(key)) is Refusal.UNMATCHED
    assert hash_of(world, key[3:11]) == stored


async def test_a_wrong_key_costs_no_bcrypt_where_a_sha256_is_stored(world: World, bcrypt_calls: list[str]) -> None:
    key = fleetmind_key()
    await put_fleetmind_key(world.ring.store, "ada", key)
    for _ in range(100):
        assert await refusal(world.ring.verifier, forged(key)) is Refusal.UNMATCHED
    assert bcrypt_calls == []
    assert hash_of(world, key[3:11]) == f"sha256:{sha256_of(key)}"


async def test_nobody_gets_in_with_what_is_stored(world: World) -> None:
    key = fleetmind_key()
    await put_fleetmind_key(world.ring.store, "ada", key)
    digits = sha256_of(key)
    for presented in (digits, f"sha256:{digits}", f"fm_{digits}", f"fm_{digits[:43]}", key[:11] + digits[:35]):
        with pytest.raises(InvalidApiKeyError):
            await world.ring.verifier.verify(presented)
    assert hash_of(world, key[3:11]) == f"sha256:{digits}"


async def test_made_up_keys_of_an_imported_shape_cost_one_read_each_and_no_bcrypt(
    world: World, bcrypt_calls: list[str]
) -> None:
    _, native = await world.key()
    bcrypt_calls.clear()
    for tag in ("mhu_", "fm_"):
        assert await refusal(world.ring.verifier, tag + "A" * 43) is Refusal.UNMATCHED
        # That it has the prefix of a key of ours is known to anybody who was shown a list.
        assert await refusal(world.ring.verifier, tag + native.prefix + "A" * 35) is Refusal.UNMATCHED
    assert bcrypt_calls == []


async def test_a_key_of_ours_is_never_tried_on_an_imported_hash(world: World, bcrypt_calls: list[str]) -> None:
    key = hub_key()
    await put_hub_key(world.ring.store, "ada", key)
    bcrypt_calls.clear()
    body = key[:12] + "A" * 35
    assert await refusal(world.ring.verifier, with_checksum(world, body)) is Refusal.UNMATCHED
    assert bcrypt_calls == []


async def test_a_cheap_hash_of_an_imported_key_is_made_dearer(world: World) -> None:
    key = hub_key()
    await put_hub_key(world.ring.store, "ada", key)
    async with open_key_ring(world.address, bcrypt_cost=5, clock=world.clock) as dearer:
        await dearer.verifier.verify(key)
    assert hash_of(world, key[4:12]).startswith("imported:$2b$05$")


async def test_a_damaged_hash_lets_nobody_in(world: World) -> None:
    key = hub_key()
    await put_hub_key(world.ring.store, "ada", key)
    world.sql("UPDATE secrets SET key_hash = 'imported:$2b$04$ü'")
    with pytest.raises(StoreUnavailableError, match="not a bcrypt string"):
        await world.ring.verifier.verify(key)
    world.sql("UPDATE secrets SET key_hash = 'sha256:ü'")
    assert await refusal(world.ring.verifier, key) is Refusal.UNMATCHED


class Between:
    """A store that does something else first when a key hash is to be replaced."""

    def __init__(self, store: KeyStore, first: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._first = first

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def replace_key_hash(self, prefix: str, *, old: str, new: str, proof: bytes | None) -> None:
        await self._first()
        await self._store.replace_key_hash(prefix, old=old, new=new, proof=proof)


async def verify_with(world: World, presented: str, first: Callable[[], Awaitable[object]]) -> Principal:
    store = Between(world.ring.store, first)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        mint, usage = KeyMint(world.ring.checksum_secrets), UsageLog(world.ring.store.record_use)
        proofs = Proofs(None, world.ring.store.record_proofs)
        verifier = KeyVerifier(store, mint, hasher, usage, proofs, clock=world.clock)  # type: ignore[arg-type]
        return await verifier.verify(presented)


async def test_a_key_that_is_revoked_while_it_is_hashed_anew_stays_revoked(world: World) -> None:
    key = fleetmind_key()
    key_id = await put_fleetmind_key(world.ring.store, "ada", key)

    async def revoke() -> None:
        await world.ring.administration.revoke_key(key_id, reason="stolen")

    with pytest.raises(InvalidApiKeyError) as refused:
        await verify_with(world, key, revoke)
    assert refused.value.refusal is Refusal.REVOKED
    assert await refusal(world.ring.verifier, key) is Refusal.REVOKED
    (listed,) = await world.ring.administration.list_keys(include_ended=True)
    assert (listed.key_id, listed.revoked_reason) == (key_id, "stolen")


async def test_a_secret_that_is_removed_while_it_is_hashed_anew_stays_away(world: World) -> None:
    key = fleetmind_key()
    key_id = await put_fleetmind_key(world.ring.store, "ada", key)
    new: list[str] = []

    async def rotate() -> None:
        _, secret = await world.ring.administration.rotate_key(key_id, overlap_hours=0)
        new.append(secret.reveal())

    with pytest.raises(InvalidApiKeyError):
        await verify_with(world, key, rotate)
    assert await refusal(world.ring.verifier, key) is Refusal.UNMATCHED
    assert (await world.ring.verifier.verify(new[0])).key_id == key_id


async def test_of_two_processes_that_hash_a_key_anew_one_hash_stays_and_both_let_it_in(world: World) -> None:
    key = fleetmind_key()
    key_id = await put_fleetmind_key(world.ring.store, "ada", key)

    async def the_other_process() -> None:
        async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as other:
            await other.verifier.verify(key)

    assert (await verify_with(world, key, the_other_process)).key_id == key_id
    assert (await world.ring.verifier.verify(key)).key_id == key_id


async def test_a_stronger_hash_that_cannot_be_kept_does_not_keep_the_key_out(world: World) -> None:
    key = fleetmind_key()
    await put_fleetmind_key(world.ring.store, "ada", key)
    world.database.refuse("UPDATE", "secrets", saying="full")
    for _ in range(2):
        await world.ring.verifier.verify(key)


@pytest.fixture
def slow_bcrypt(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowBcrypt]:
    slow = SlowBcrypt()
    monkeypatch.setattr(bcrypt, "checkpw", slow.instead_of(bcrypt.checkpw))
    yield slow
    slow.go.set()


async def test_at_most_one_imported_key_is_checked_at_a_time(world: World, slow_bcrypt: SlowBcrypt) -> None:
    keys = [hub_key() for _ in range(6)]
    for key in keys:
        await put_hub_key(world.ring.store, "ada", key)
    checks = [asyncio.ensure_future(world.ring.verifier.verify(key)) for key in keys]
    await settled(world)
    slow_bcrypt.go.set()
    assert len({principal.key_id for principal in await asyncio.gather(*checks)}) == 6
    assert (slow_bcrypt.calls, slow_bcrypt.most) == (6, 1)


async def test_who_makes_keys_up_for_one_prefix_is_told_to_wait_and_another_key_is_let_in(
    world: World, slow_bcrypt: SlowBcrypt
) -> None:
    target, other = hub_key(), hub_key()
    for key in (target, other):
        await put_hub_key(world.ring.store, "ada", key)
    forgeries = [target[:12] + f"{number:035}" for number in range(20)]
    attempts = [asyncio.ensure_future(world.ring.verifier.verify(forgery)) for forgery in forgeries]
    await settled(world)
    good = asyncio.ensure_future(world.ring.verifier.verify(other))
    await settled(world)
    slow_bcrypt.go.set()
    refused = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(error, InvalidApiKeyError) for error in refused) == 1 + MOST_WAITING_FOR_ONE
    assert sum(isinstance(error, TooBusyError) for error in refused) == 20 - 1 - MOST_WAITING_FOR_ONE
    assert (await good).user_id == "ada"


async def test_few_wait_in_all_whatever_prefixes_are_known(world: World, slow_bcrypt: SlowBcrypt) -> None:
    keys = [hub_key() for _ in range(MOST_WAITING + 5)]
    for key in keys:
        await put_hub_key(world.ring.store, "ada", key)
    attempts = [asyncio.ensure_future(world.ring.verifier.verify(forged(key))) for key in keys]
    await settled(world)
    slow_bcrypt.go.set()
    refused = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(error, TooBusyError) for error in refused) == 4
    assert slow_bcrypt.calls == 1 + MOST_WAITING


async def test_neither_native_keys_nor_proven_ones_wait_in_the_lane(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_hasher, "_thread_count", lambda: 1)  # a machine with one core
    proven, target = hub_key(), hub_key()
    for key in (proven, target):
        await put_hub_key(world.ring.store, "ada", key)
    _, native = await world.key()
    async with open_key_ring(world.address, bcrypt_cost=CHEAPEST_COST, clock=world.clock) as ring:
        await ring.verifier.verify(proven)
        slow, real = SlowBcrypt(), bcrypt.checkpw
        slowly = slow.instead_of(real)

        def check(key: bytes, key_hash: bytes) -> object:
            return real(key, key_hash) if key == native.reveal().encode() else slowly(key, key_hash)

        monkeypatch.setattr(bcrypt, "checkpw", check)
        # As many as there are threads for native keys, and more.
        flood = [asyncio.ensure_future(ring.verifier.verify(target[:12] + f"{number:035}")) for number in range(10)]
        await asyncio.to_thread(slow.began.wait, 20)
        assert (await ring.verifier.verify(native.reveal())).user_id == "ada"
        assert (await ring.verifier.verify(proven)).user_id == "ada"
        assert (slow.calls, slow.running) == (1, 1)  # the first of the flood, which nobody has waited for
        slow.go.set()
        await asyncio.gather(*flood, return_exceptions=True)


async def test_many_first_uses_of_one_imported_key_share_its_place(world: World, slow_bcrypt: SlowBcrypt) -> None:
    keys = [hub_key() for _ in range(3)]
    for key in keys:
        await put_hub_key(world.ring.store, "ada", key)
    uses = [asyncio.ensure_future(world.ring.verifier.verify(key)) for key in keys for _ in range(50)]
    await settled(world)
    slow_bcrypt.go.set()
    assert len(await asyncio.gather(*uses)) == 150
    assert slow_bcrypt.calls == 3


async def test_a_right_key_of_fleetmind_is_let_in_while_the_lane_is_full_and_hashed_anew_later(
    world: World, slow_bcrypt: SlowBcrypt
) -> None:
    keys = [hub_key() for _ in range(MOST_WAITING + 1)]
    for key in keys:
        await put_hub_key(world.ring.store, "ada", key)
    key = fleetmind_key()
    await put_fleetmind_key(world.ring.store, "bob", key)
    crowd = [asyncio.ensure_future(world.ring.verifier.verify(forged(other))) for other in keys]
    await settled(world)
    assert (await world.ring.verifier.verify(key)).user_id == "bob"
    assert hash_of(world, key[3:11]).startswith("sha256:")
    slow_bcrypt.go.set()
    await asyncio.gather(*crowd, return_exceptions=True)
    await world.ring.verifier.verify(key)
    assert hash_of(world, key[3:11]).startswith("imported:$2b$")


async def test_an_imported_key_is_listed_rotated_and_revoked_like_any_other(world: World) -> None:
    key = hub_key()
    key_id = await put_hub_key(world.ring.store, "ada", key)
    owner = await world.ring.verifier.verify(key)
    listed = await world.ring.manager.list_keys(owner)
    assert [(record.key_id, record.prefix) for record in listed.keys] == [(key_id, key[4:12])]
    _, secret = await world.ring.administration.rotate_key(key_id, overlap_hours=1)
    assert not secret.imported
    for presented in (key, secret.reveal()):
        assert (await world.ring.verifier.verify(presented)).key_id == key_id
    world.clock.advance(hours=1)
    assert await refusal(world.ring.verifier, key) is Refusal.REPLACED
    await world.ring.administration.revoke_key(key_id, reason=None)
    assert await refusal(world.ring.verifier, secret.reveal()) is Refusal.REVOKED


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("x" * 53, None),
        ("$2b$04$" + "x" * 53, None),
        ("$2b$04$" + "x" * 21 + "u" + "x" * 31, 4),
        ("$2a$31$" + "x" * 21 + "." + "x" * 31, 31),
        ("$2y$12$" + "x" * 21 + "e" + "x" * 31, 12),
        ("$2b$03$" + "x" * 21 + "O" + "x" * 31, None),
        ("$2b$32$" + "x" * 21 + "O" + "x" * 31, None),
        ("$2x$12$" + "x" * 21 + "O" + "x" * 31, None),
        ("$2b$12$" + "x" * 21 + "O" + "x" * 31 + "\n", None),
        ("$2b$12$" + "x" * 21 + "O" + "x" * 32, None),
        ("$2b$12$" + "x" * 21 + "O" + "x" * 30, None),
    ],
)
def test_bcrypt_strings_are_told_by_their_form(text: str, cost: int | None) -> None:
    assert cost_of_bcrypt(text) == cost
    if cost == 4:
        assert bcrypt.checkpw(b"a", text.encode()) is False
    assert cost_of_bcrypt(bcrypt_of("x")) == 4
