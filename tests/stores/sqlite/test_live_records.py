import asyncio
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.core.records import SecretRecord
from mcp_keys_server.stores.sqlite import live_records
from mcp_keys_server.stores.sqlite.live_records import LiveRecords
from mcp_keys_server.stores.sqlite.store import SqliteStore
from tests.world import World

pytestmark = pytest.mark.anyio

ROUNDS = 300


@pytest.fixture
def kind() -> str:
    return "sqlite"


@pytest.fixture
def other(world: World) -> Iterator[sqlite3.Connection]:
    """A connection like that of another process."""
    with closing(sqlite3.connect(Path(world.address), isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def remembered_of(world: World) -> Collection[str]:
    """By prefix."""
    store = world.ring.store
    assert isinstance(store, SqliteStore)
    return store._connections.live._remembered


def disable(other: sqlite3.Connection, *, off: bool) -> None:
    other.execute("UPDATE keys SET disabled_at = ?", ("2026-01-01T00:00:00.000000+00:00" if off else None,))


async def is_disabled_in_turn(world: World, prefix: str) -> bool:
    record = await world.ring.store.read_secret_in_turn(prefix)
    assert record is not None
    return record.disabled


async def test_within_a_turn_the_file_is_looked_at_once_and_in_the_next_one_anew(
    world: World, other: sqlite3.Connection
) -> None:
    _, key = await world.key()
    assert not await is_disabled_in_turn(world, key.prefix)
    disable(other, off=True)
    assert not await is_disabled_in_turn(world, key.prefix)
    now = await world.ring.store.read_secret(key.prefix)
    assert now is not None
    assert now.disabled
    await asyncio.sleep(0)
    assert await is_disabled_in_turn(world, key.prefix)


async def test_what_nobody_has_changed_is_not_read_again_in_the_next_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(live: LiveRecords, prefix: str) -> SecretRecord | None:
        reads.append(prefix)
        return read_now(live, prefix)

    _, key = await world.key()
    reads, read_now = list[str](), LiveRecords._read
    monkeypatch.setattr(LiveRecords, "_read", read)
    for _ in range(3):
        assert not await is_disabled_in_turn(world, key.prefix)
        await asyncio.sleep(0)
    assert reads == [key.prefix]


async def test_what_the_loop_hears_to_be_committed_is_seen_however_busy_it_is(
    world: World, other: sqlite3.Connection
) -> None:
    _, key = await world.key()
    loop = asyncio.get_running_loop()

    async def look_in_every_turn() -> None:
        while True:
            await is_disabled_in_turn(world, key.prefix)
            await asyncio.sleep(0)

    busy = [asyncio.create_task(look_in_every_turn()) for _ in range(3)]
    for number in range(ROUNDS):
        heard: asyncio.Future[bool] = loop.create_future()

        async def hear(heard: asyncio.Future[bool] = heard) -> None:
            heard.set_result(await is_disabled_in_turn(world, key.prefix))

        def commit(number: int = number, hear: Callable[[], Coroutine[None, None, None]] = hear) -> None:
            disable(other, off=bool(number % 2))
            loop.call_soon_threadsafe(lambda: asyncio.ensure_future(hear()))

        await asyncio.to_thread(commit)
        assert await heard is bool(number % 2)
    for task in busy:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_records, "MOST_REMEMBERED", 2)
    keys = [(await world.key())[1] for _ in range(4)]
    remembered = remembered_of(world)
    for key in keys:
        await is_disabled_in_turn(world, key.prefix)
    await asyncio.sleep(0)
    await is_disabled_in_turn(world, keys[0].prefix)
    assert set(remembered) == {keys[0].prefix}


async def test_of_a_key_that_is_unknown_nothing_is_remembered(world: World) -> None:
    assert await world.ring.store.read_secret_in_turn("unknown!") is None
    assert not remembered_of(world)


async def test_a_file_that_is_gone_is_noticed_in_the_next_turn(world: World) -> None:
    _, key = await world.key()
    assert not await is_disabled_in_turn(world, key.prefix)
    Path(world.address).unlink()
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailableError):
        await is_disabled_in_turn(world, key.prefix)
