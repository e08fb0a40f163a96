import asyncio
from collections.abc import Mapping
from contextlib import suppress

import anyio
import pytest

from mcp_keys_server import StoreUnavailableError, open_key_ring
from mcp_keys_server.core import counters as module
from mcp_keys_server.core.counters import Count, SharedCounters
from mcp_keys_server.stores.opening import open_database
from tests.world import SettableClock, World

pytestmark = pytest.mark.anyio


async def passed(counters: SharedCounters, name: str = "a", *, tries: int, most: int) -> int:
    """How many of these were within the limit."""
    return [await counters.take(name, most, 60) for _ in range(tries)].count(0)


async def test_several_processes_let_through_together_what_is_allowed(world: World) -> None:
    async with open_database(str(world.database)) as one, open_database(str(world.database)) as other:
        processes = [SharedCounters(opened.counters, clock=world.clock) for opened in (one, other)]
        let_through = 0
        for _ in range(20):
            for process in processes:
                let_through += await passed(process, tries=10, most=100)
                await process.share()
        assert 100 <= let_through <= 100 + 10  # what the slower one let through between two shares
        assert [await process.take("b", 100, 60) for process in processes] == [0, 0]
        world.clock.advance(minutes=1)
        assert [await process.take("a", 100, 60) for process in processes] == [0, 0]


async def test_what_is_shared_twice_counts_once(world: World) -> None:
    """The answer to a share may be lost on its way, and then the same is shared again."""
    ends_at = int(world.clock().timestamp()) + 60
    async with open_database(str(world.database)) as opened:
        for process, count, total in (("1", 3, 3), ("1", 3, 3), ("2", 4, 7), ("1", 5, 9)):
            counts = {"a": Count(ends_at, count)}
            assert await opened.counters.share_counts(process, counts, now=ends_at - 60) == {"a": total}


async def test_windows_that_have_ended_are_neither_counted_nor_kept(world: World) -> None:
    now = int(world.clock().timestamp())
    async with open_database(str(world.database)) as opened:
        share = opened.counters.share_counts
        await share("1", {"a": Count(now + 60, 3), "b": Count(now + 60, 1)}, now=now)
        # The clock of another is ahead, and this one is not told of its next window what belongs to the one before.
        assert await share("2", {"a": Count(now + 120, 5)}, now=now) == {"a": 5}
        assert await share("1", {"a": Count(now + 60, 4)}, now=now) == {"a": 4}
        assert len(world.sql("SELECT * FROM counters")) == 3
        await share("3", {"c": Count(now + 120, 1)}, now=now + 60)
        rows = "SELECT name, process, ends_at, count FROM counters ORDER BY name"
        assert world.sql(rows) == [("a", "2", now + 120, 5), ("c", "3", now + 120, 1)]


class Tape:
    """A store that notes what is shared, says what others have counted, or does not answer."""

    def __init__(self) -> None:
        self.shared: list[dict[str, int]] = []
        self.others = 0
        self.is_broken = False

    async def share_counts(self, _: str, counts: Mapping[str, Count], *, now: int) -> Mapping[str, int]:
        assert all(counted.ends_at > now for counted in counts.values())
        if self.is_broken:
            raise StoreUnavailableError("gone")
        self.shared.append({name: counted.count for name, counted in counts.items()})
        return {name: counted.count + self.others for name, counted in counts.items()}


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def counters(tape: Tape, clock: SettableClock) -> SharedCounters:
    return SharedCounters(tape, clock=clock)


async def test_only_a_fiftieth_of_what_is_allowed_is_worth_sharing(tape: Tape, counters: SharedCounters) -> None:
    await passed(counters, tries=11, most=600)
    await counters.share()
    assert tape.shared == []
    await passed(counters, tries=1, most=600)
    await counters.share()
    await passed(counters, tries=11, most=600)
    await counters.share()
    assert tape.shared == [{"a": 12}]


async def test_what_was_refused_is_not_counted(tape: Tape, counters: SharedCounters) -> None:
    assert await passed(counters, tries=100, most=10) == 10
    await counters.share()
    await passed(counters, tries=100, most=10)
    await counters.share()
    assert tape.shared == [{"a": 10}]


async def test_what_others_have_counted_is_known_from_the_next_share_on(tape: Tape, counters: SharedCounters) -> None:
    tape.others = 6
    assert await passed(counters, tries=2, most=10) == 2
    await counters.share()
    assert await passed(counters, tries=5, most=10) == 2


async def test_without_an_answer_a_process_counts_by_itself_and_shares_later(
    tape: Tape, counters: SharedCounters
) -> None:
    tape.is_broken = True
    for _ in range(3):
        await passed(counters, tries=2, most=10)
        with pytest.raises(StoreUnavailableError):
            await counters.share()
    assert await passed(counters, tries=10, most=10) == 4
    tape.is_broken = False
    await counters.share()
    assert tape.shared == [{"a": 10}]


async def test_what_has_ended_meanwhile_is_not_shared(
    tape: Tape, counters: SharedCounters, clock: SettableClock
) -> None:
    await passed(counters, tries=5, most=10)
    clock.advance(minutes=1)
    await counters.share()
    assert tape.shared == []


async def test_a_clock_that_is_set_back_begins_another_window(counters: SharedCounters, clock: SettableClock) -> None:
    assert await passed(counters, tries=11, most=10) == 10
    clock.advance(days=-1)
    assert await counters.take("a", 10, 60) == 0


async def test_only_so_many_names_are_remembered_and_those_in_use_stay(
    monkeypatch: pytest.MonkeyPatch, tape: Tape, counters: SharedCounters
) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 10)
    for number in range(100):
        assert await passed(counters, "busy", tries=1, most=50) == (number < 50)
        assert await counters.take(str(number), 1, 60) == 0
    assert await counters.take("99", 1, 60) > 0
    assert await counters.take("0", 1, 60) == 0
    assert len(counters._young) + len(counters._old) <= 20
    await counters.share()
    assert len(tape.shared[0]) == 10


async def test_a_generation_holds_so_many_names_and_of_the_one_before_whoever_is_asked_for_stays(
    monkeypatch: pytest.MonkeyPatch, counters: SharedCounters
) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    assert [await counters.take(name, 1, 60) for name in "abcde"] == [0] * 5
    assert await counters.take("c", 1, 60) > 0
    assert await counters.take("a", 1, 60) == 0


async def test_what_is_remembered_of_a_window_that_has_ended_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, counters: SharedCounters, clock: SettableClock
) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 1)
    assert [await counters.take(name, 1, 60) for name in "ab"] == [0, 0]
    clock.advance(minutes=1)
    assert await counters.take("a", 1, 60) == 0


async def test_trouble_does_not_end_the_sharing(
    monkeypatch: pytest.MonkeyPatch, tape: Tape, counters: SharedCounters
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SHARES", 0)
    tape.is_broken = True
    await passed(counters, tries=1, most=10)
    sharing = asyncio.create_task(counters.keep_sharing())
    with anyio.fail_after(10):
        for _ in range(10):
            await asyncio.sleep(0)
        tape.is_broken = False
        while not tape.shared:
            await asyncio.sleep(0)
    sharing.cancel()
    with suppress(asyncio.CancelledError):
        await sharing
    assert tape.shared == [{"a": 1}]


async def test_a_ring_shares_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SHARES", 0)
    async with open_key_ring(world.address, clock=world.clock) as ring:
        await ring.counters.take("a", 1, 60)
        with anyio.fail_after(10):
            while not world.sql("SELECT * FROM counters"):
                await asyncio.sleep(0)


async def test_a_table_that_is_gone_is_a_store_that_does_not_answer(world: World) -> None:
    world.database.lose("counters")
    async with open_database(str(world.database)) as opened:
        with pytest.raises(StoreUnavailableError):
            await opened.counters.share_counts("1", {"a": Count(60, 1)}, now=0)
