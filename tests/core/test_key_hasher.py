import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import bcrypt
import pytest

from mcp_keys_server import InvalidFieldError, StoreUnavailableError
from mcp_keys_server.core import key_hasher
from mcp_keys_server.core.api_key import KeyMint
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher

pytestmark = pytest.mark.anyio
MINT = KeyMint(b"secret")


@pytest.fixture
def hasher() -> Iterator[KeyHasher]:
    with closing(KeyHasher(cost=CHEAPEST_COST)) as opened:
        yield opened


async def test_a_key_fits_its_hash_and_no_other(hasher: KeyHasher) -> None:
    key, other = MINT.mint(), MINT.mint()
    key_hash = await hasher.hash(key)
    assert bcrypt.checkpw(key.reveal().encode(), key_hash.encode())
    assert await hasher.prove(key, key_hash)
    assert not await hasher.prove(other, key_hash)
    assert hasher.known_hash(other.reveal()) is None


async def test_the_last_characters_of_the_key_are_hashed_too(hasher: KeyHasher) -> None:
    long = KeyMint(b"secret", tag="a2345678901234_").mint()
    key_hash = await hasher.hash(long)
    assert not bcrypt.checkpw(long.reveal()[:-1].encode(), key_hash.encode())


async def test_what_was_proven_or_hashed_is_known_from_then_on(hasher: KeyHasher) -> None:
    key = MINT.mint()
    key_hash = bcrypt.hashpw(key.reveal().encode(), bcrypt.gensalt(4)).decode()
    assert hasher.known_hash(key.reveal()) is None
    await hasher.prove(key, key_hash)
    assert hasher.known_hash(key.reveal()) == key_hash
    newer = await hasher.hash(key)
    assert hasher.known_hash(key.reveal()) == newer


async def test_many_first_uses_of_one_key_share_one_check(hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    key = MINT.mint()
    key_hash = bcrypt.hashpw(key.reveal().encode(), bcrypt.gensalt(4)).decode()
    checks = count_checks(monkeypatch)
    assert all(await asyncio.gather(*(hasher.prove(key, key_hash) for _ in range(64))))
    assert len(checks) == 1


async def test_whoever_asks_just_after_the_check_shares_it_too(
    hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = MINT.mint()
    key_hash = bcrypt.hashpw(key.reveal().encode(), bcrypt.gensalt(4)).decode()
    checks = count_checks(monkeypatch)
    assert await hasher.prove(key, key_hash)
    assert await hasher.prove(key, key_hash)
    assert len(checks) == 1


async def test_one_who_goes_away_takes_no_one_elses_answer_along(
    hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = MINT.mint()
    key_hash = bcrypt.hashpw(key.reveal().encode(), bcrypt.gensalt(4)).decode()
    gone = threading.Event()
    checks = count_checks(monkeypatch, only_after=gone)
    first = asyncio.create_task(hasher.prove(key, key_hash))
    await asyncio.sleep(0)
    second = asyncio.create_task(hasher.prove(key, key_hash))
    await asyncio.sleep(0)
    first.cancel()
    gone.set()
    assert await second
    assert len(checks) == 1
    assert hasher.known_hash(key.reveal()) == key_hash


async def test_a_damaged_hash_is_the_stores_trouble_and_never_access(hasher: KeyHasher) -> None:
    for damaged in ("", "plain", "$2b$04$short", "$2b$04$" + "ü" * 53):
        with pytest.raises(StoreUnavailableError):
            await hasher.prove(MINT.mint(), damaged)


async def test_a_cheaper_hash_is_told_from_one_at_the_configured_cost() -> None:
    with closing(KeyHasher(cost=5)) as hasher:
        assert hasher.is_cheaper_than_configured("$2b$04$" + "x" * 53)
        assert not hasher.is_cheaper_than_configured(await hasher.hash(MINT.mint()))


@pytest.mark.parametrize("cost", [3, 17, -1])
def test_a_cost_out_of_range_is_refused(cost: int) -> None:
    with pytest.raises(InvalidFieldError, match="^bcrypt_cost: 4 to 16"):
        KeyHasher(cost=cost)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux only")
async def test_bcrypt_runs_at_the_lowest_priority_and_the_loop_does_not(
    hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = count_checks(monkeypatch)
    await hasher.prove(MINT.mint(), bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode())
    assert checks == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 19


async def test_there_are_as_many_threads_as_cores_and_one_less_without_priorities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if key_hasher.THREADS_HAVE_PRIORITIES:
        assert key_hasher._thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(key_hasher, "THREADS_HAVE_PRIORITIES", False)
    assert key_hasher._thread_count() == max(1, (os.cpu_count() or 1) - 1)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        await hasher.hash(MINT.mint())


def count_checks(monkeypatch: pytest.MonkeyPatch, *, only_after: threading.Event | None = None) -> list[int]:
    """The scheduling priority of the thread of each check by bcrypt from now on; the checks are the real ones."""
    priorities: list[int] = []
    checkpw = bcrypt.checkpw

    def counted(password: bytes, hashed_password: bytes) -> bool:
        if only_after is not None:
            only_after.wait()
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return checkpw(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return priorities
