"""The lane: who gets a turn, and when."""

import asyncio

import pytest

from mcp_keys_server import TooBusyError
from mcp_keys_server.core.lane import MOST_WAITING, MOST_WAITING_FOR_ONE, Lane

pytestmark = pytest.mark.anyio


class Visitor:
    """Takes a turn and keeps it until told to go on."""

    def __init__(self, lane: Lane, name: str, log: list[str], crowd: str = "") -> None:
        self.leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._visit(lane, name, log, crowd))

    async def _visit(self, lane: Lane, name: str, log: list[str], crowd: str) -> None:
        async with lane.turn(name, crowd=crowd):
            log.append(name)
            await self.leave.wait()


async def settled() -> None:
    """All that can go on has done so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def all_turns(visitors: list[Visitor]) -> None:
    for visitor in visitors:
        visitor.leave.set()
    await asyncio.gather(*(visitor.task for visitor in visitors))


async def visits(lane: Lane, names: str, log: list[str], crowd: str = "") -> list[Visitor]:
    made = []
    for name in names:
        made.append(Visitor(lane, name, log, crowd))
        await settled()
    return made


async def test_there_is_one_turn_at_a_time() -> None:
    log: list[str] = []
    first, second, third = await visits(Lane(), "abc", log)
    assert log == ["a"]
    first.leave.set()
    await settled()
    assert log == ["a", "b"]
    await all_turns([first, second, third])
    assert log == ["a", "b", "c"]


async def test_the_names_take_turns() -> None:
    log: list[str] = []
    await all_turns(await visits(Lane(), "aaabbc", log))
    assert log == ["a", "a", "b", "c", "a", "b"]


async def test_several_have_their_turn_at_once_where_it_is_so_wide() -> None:
    lane, log = Lane(at_once=2), list[str]()
    first, second, third, fourth = await visits(lane, "abcd", log)
    assert log == ["a", "b"]
    second.leave.set()
    await settled()
    assert log == ["a", "b", "c"]
    await all_turns([first, second, third, fourth])
    async with lane.turn("a"), lane.turn("b"):
        late = Visitor(lane, "c", log)
        await settled()
        assert log == ["a", "b", "c", "d"]
    await all_turns([late])


async def test_the_crowds_take_turns_and_in_each_of_them_the_names_do() -> None:
    lane, log = Lane(), list[str]()
    many = await visits(lane, "abbcd", log, "many")
    two = await visits(lane, "AB", log, "two")
    one = await visits(lane, "x", log, "one")
    await all_turns([*many, *two, *one])
    assert log == ["a", "b", "A", "x", "c", "B", "d", "b"]


async def test_few_of_one_crowd_wait_and_another_crowd_still_may() -> None:
    lane, log = Lane(most=4), list[str]()
    visitors = await visits(lane, "abcde", log, "many")
    for name in "af":
        with pytest.raises(TooBusyError):
            async with lane.turn(name, crowd="many"):
                pass
    await all_turns([*visitors, *await visits(lane, "b", log, "one")])
    assert log == ["a", "b", "b", "c", "d", "e"]


async def test_few_wait_under_one_name_and_another_name_still_may() -> None:
    lane, log = Lane(), list[str]()
    visitors = await visits(lane, "a" * (1 + MOST_WAITING_FOR_ONE), log)
    with pytest.raises(TooBusyError):
        async with lane.turn("a"):
            pass
    await all_turns([*visitors, *await visits(lane, "b", log)])
    assert log == ["a", "a", "b", "a"]
    async with lane.turn("a"):
        pass


async def test_few_wait_in_all() -> None:
    lane, log = Lane(), list[str]()
    visitors = [Visitor(lane, str(number), log) for number in range(1 + MOST_WAITING)]
    await settled()
    with pytest.raises(TooBusyError):
        async with lane.turn("another"):
            pass
    await all_turns(visitors)
    assert log == [str(number) for number in range(1 + MOST_WAITING)]
    async with lane.turn("another"):
        pass


async def test_an_error_in_a_turn_ends_it() -> None:
    lane = Lane()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with lane.turn("a"):
                raise ZeroDivisionError
    async with lane.turn("a"):
        pass


async def test_whoever_goes_away_while_they_wait_leaves_their_place() -> None:
    lane, log = Lane(), list[str]()
    first, gone, last = await visits(lane, "aab", log)
    gone.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone.task
    await all_turns([first, last])
    assert log == ["a", "b"]
    async with lane.turn("a"):
        pass


async def test_whoever_goes_away_as_their_turn_comes_passes_it_on() -> None:
    lane, log = Lane(), list[str]()
    async with lane.turn("a"):
        gone, last = await visits(lane, "bc", log)
    gone.task.cancel()  # who has the turn, and does not know it yet
    await settled()
    assert log == ["c"]
    await all_turns([last])
    async with lane.turn("a"):
        pass


async def test_places_of_those_who_have_gone_are_free_again() -> None:
    lane, log = Lane(), list[str]()
    (first,) = await visits(lane, "a", log)
    for _ in range(2 * MOST_WAITING):
        (gone,) = await visits(lane, "a", log)
        gone.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone.task
    await all_turns([first])


async def test_one_of_two_who_wait_under_a_name_may_go() -> None:
    lane, log = Lane(), list[str]()
    first, gone, second = await visits(lane, "aaa", log)
    gone.task.cancel()
    await settled()
    third = await visits(lane, "a", log)
    await all_turns([first, second, *third])
    assert log == ["a", "a", "a"]


async def test_a_turn_is_not_given_to_whoever_is_just_going() -> None:
    lane, log = Lane(), list[str]()
    first, gone, last = await visits(lane, "abc", log)
    first.leave.set()
    gone.task.cancel()  # both happen before either is seen
    await settled()
    assert log == ["a", "c"]
    await all_turns([last])
    async with lane.turn("b"):
        pass
