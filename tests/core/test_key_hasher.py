import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import bcrypt
import pytest

from mcp_keys_server import InvalidFieldError, StoreUnavailableError
from mcp_keys_server.core import key_hasher
from mcp_keys_server.core.key_hasher import CHEAPEST_COST, KeyHasher
from tests.imported_keys import SlowBcrypt, bcrypt_of, hub_key
from tests.mints import mint_of

pytestmark = pytest.mark.anyio
MINT = mint_of(b"secret")


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


def test_it_takes_twelve_for_its_cost_unless_another_is_said() -> None:
    with closing(KeyHasher()) as hasher:
        assert [hasher.is_cheaper_than_configured(f"$2b${cost}${'.' * 53}") for cost in (11, 12)] == [True, False]


async def test_the_last_characters_of_the_key_are_hashed_too(hasher: KeyHasher) -> None:
    long = mint_of(b"secret", tag="a2345678901234_").mint()
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


async def test_what_does_not_fit_is_checked_each_time_and_remembered_nowhere(
    hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_hash = bcrypt_of("another")
    key = MINT.mint()
    checks = count_checks(monkeypatch)
    for _ in range(2):
        assert not await hasher.prove(key, key_hash)
    assert len(checks) == 2
    assert not hasher._flights


async def test_a_check_that_failed_is_made_again(hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    key = MINT.mint()
    key_hash = bcrypt_of(key.reveal())

    def fail(*_: bytes) -> bool:
        raise ValueError

    with monkeypatch.context() as patched:
        patched.setattr(bcrypt, "checkpw", fail)
        with pytest.raises(StoreUnavailableError):
            await hasher.prove(key, key_hash)
    assert await hasher.prove(key, key_hash)


async def test_a_key_is_made_after_what_runs_and_what_is_next_and_before_all_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_hasher, "_thread_count", lambda: 1)
    keys = {name: MINT.mint() for name in "abcdef"}
    key_hash = bcrypt_of("another")
    slow, order = SlowBcrypt(), list[str]()

    def noted(real: Callable[..., object]) -> Callable[..., object]:
        slowly = slow.instead_of(real)

        def in_order(password: bytes, hashed_or_salt: bytes) -> object:
            order.extend(name for name, key in keys.items() if key.reveal().encode() == password)
            return slowly(password, hashed_or_salt)

        return in_order

    monkeypatch.setattr(bcrypt, "checkpw", noted(bcrypt.checkpw))
    monkeypatch.setattr(bcrypt, "hashpw", noted(bcrypt.hashpw))
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        work = [asyncio.ensure_future(hasher.prove(keys[name], key_hash, crowd="many")) for name in "abcd"]
        await settled()
        one = asyncio.ensure_future(hasher.prove(keys["e"], key_hash, crowd="one"))
        made = asyncio.ensure_future(hasher.hash(keys["f"]))
        await settled()
        slow.go.set()
        await asyncio.gather(*work, one, made)
    assert order == ["a", "b", "f", "c", "e", "d"]


async def test_imported_keys_have_a_thread_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_hasher, "_thread_count", lambda: 2)
    key_hash = bcrypt_of("another")
    all_three, checkpw = threading.Barrier(3, timeout=10), bcrypt.checkpw

    def together(password: bytes, hashed_password: bytes) -> bool:
        all_three.wait()
        return checkpw(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", together)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        checks = [hasher.prove(key, key_hash) for key in (MINT.mint(), MINT.mint(), MINT.parse(hub_key()))]
        assert await asyncio.gather(*checks) == [False] * 3


async def test_a_key_with_a_checksum_waits_for_no_imported_one(monkeypatch: pytest.MonkeyPatch) -> None:
    key, imported = MINT.mint(), [MINT.parse(hub_key()) for _ in range(20)]
    slow, checkpw = SlowBcrypt(), bcrypt.checkpw
    slowly = slow.instead_of(checkpw)

    def check(password: bytes, hashed_password: bytes) -> object:
        return (checkpw if password == key.reveal().encode() else slowly)(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", check)
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        held_up = [
            asyncio.ensure_future(hasher.prove(each, bcrypt_of("another"), crowd=str(number)))
            for number, each in enumerate(imported)
        ]
        await settled()
        try:
            async with asyncio.timeout(20):
                assert await hasher.prove(key, bcrypt_of(key.reveal()), crowd="0")
        finally:
            slow.go.set()
        await asyncio.gather(*held_up)


@pytest.mark.parametrize("as_text", [hub_key(), MINT.mint().reveal()], ids=["imported", "with a checksum"])
async def test_bcrypt_never_runs_on_the_event_loop(
    hasher: KeyHasher, monkeypatch: pytest.MonkeyPatch, as_text: str
) -> None:
    threads = list[int]()

    def noted(real: Callable[..., object]) -> Callable[..., object]:
        def on_its_thread(*arguments: object) -> object:
            threads.append(threading.get_ident())
            return real(*arguments)

        return on_its_thread

    key, key_hash = MINT.parse(as_text), bcrypt_of(as_text)
    for name in ("checkpw", "hashpw"):
        monkeypatch.setattr(bcrypt, name, noted(getattr(bcrypt, name)))
    await hasher.prove(key, key_hash)
    await hasher.hash(key)
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_who_closes_it_waits_for_nothing_and_what_has_not_begun_is_not_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(key_hasher, "_thread_count", lambda: 1)
    key_hash = bcrypt_of("another")
    slow = SlowBcrypt()
    monkeypatch.setattr(bcrypt, "checkpw", slow.instead_of(bcrypt.checkpw))
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        work = [asyncio.ensure_future(hasher.prove(MINT.mint(), key_hash)) for _ in range(3)]
        await asyncio.to_thread(slow.began.wait, 20)
    assert slow.running == 1
    slow.go.set()
    told = await asyncio.gather(*work, return_exceptions=True)
    assert [type(one) for one in told] == [bool, asyncio.CancelledError, RuntimeError]
    assert slow.calls == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_damaged_hash_is_the_stores_trouble_and_never_access(hasher: KeyHasher) -> None:
    for damaged in ("", "plain", "$2b$04$short", "$2b$04$" + "ü" * 53):
        with pytest.raises(StoreUnavailableError):
            await hasher.prove(MINT.mint(), damaged)


async def test_a_cheaper_hash_is_told_from_one_at_the_configured_cost() -> None:
    with closing(KeyHasher(cost=5)) as hasher:
        assert hasher.is_cheaper_than_configured("$2b$04$" + "x" * 53)
        assert not hasher.is_cheaper_than_configured(await hasher.hash(MINT.mint()))


@pytest.mark.parametrize(
    ("key_hash", "is_cheaper"),
    [
        ("$2b$09$" + "x" * 53, True),
        ("$2b$10$" + "x" * 53, False),
        ("$2b$12$" + "x" * 53, False),
        ("imported:$2b$09$" + "x" * 53, True),
        ("imported:$2b$12$" + "x" * 53, False),
        ("sha256:" + "0" * 64, True),
    ],
)
def test_a_hash_is_told_by_its_cost_in_two_digits(key_hash: str, *, is_cheaper: bool) -> None:
    with closing(KeyHasher(cost=10)) as hasher:
        assert hasher.is_cheaper_than_configured(key_hash) is is_cheaper


@pytest.mark.parametrize("cost", [4, 16])
def test_a_cost_is_taken_up_to_its_bounds(cost: int) -> None:
    with closing(KeyHasher(cost=cost)) as hasher:
        assert not hasher.is_cheaper_than_configured(f"$2b${cost:02}$" + "x" * 53)


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


@pytest.mark.parametrize("cores", [{0}, {1, 3}, set(range(8))])
async def test_there_are_as_many_threads_as_cores_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: set[int]
) -> None:
    monkeypatch.setattr(key_hasher, "THREADS_HAVE_PRIORITIES", True)
    monkeypatch.setattr(os, "sched_getaffinity", {0: cores}.get, raising=False)
    assert key_hasher._thread_count() == len(cores)


@pytest.mark.parametrize(("cores", "threads"), [(None, 1), (1, 1), (2, 1), (3, 2), (8, 7)])
async def test_without_priorities_one_core_is_left_to_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: int
) -> None:
    monkeypatch.setattr(key_hasher, "THREADS_HAVE_PRIORITIES", False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert key_hasher._thread_count() == threads
    with closing(KeyHasher(cost=CHEAPEST_COST)) as hasher:
        await hasher.hash(MINT.mint())


async def settled() -> None:
    """All that can go on without a thread has done so."""
    for _ in range(20):
        await asyncio.sleep(0)


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
