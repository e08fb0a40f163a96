"""What the tools of upstreams looked like at first is kept, on every database."""

import asyncio
from datetime import UTC, datetime

import pytest

from mcp_keys_server import KeyRing, StoreUnavailableError
from mcp_keys_server.core.tool_pins import ToolPins
from tests.databases import SqliteDatabase
from tests.world import World

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def pins(world: World) -> ToolPins:
    return world.ring.tool_pins


async def test_a_tool_stays_as_it_was_first_seen(pins: ToolPins, world: World) -> None:
    assert await pins.pinned("notes") == {}
    await pins.pin("notes", {"read": "aa", "write": "bb"}, NOON)
    await pins.pin("notes", {"read": "cc", "list": "dd"}, LATER)
    assert await pins.pinned("notes") == {"read": "aa", "write": "bb", "list": "dd"}
    ((seen, last),) = world.sql("SELECT min(seen_at), max(seen_at) FROM tool_pins")
    assert [datetime.fromisoformat(str(time)) for time in (seen, last)] == [NOON, LATER]


async def test_tools_of_one_alias_are_not_those_of_another(pins: ToolPins) -> None:
    await pins.pin("notes", {"read": "aa"}, NOON)
    await pins.pin("tickets", {"read": "bb"}, NOON)
    assert (await pins.pinned("notes"), await pins.pinned("tickets")) == ({"read": "aa"}, {"read": "bb"})
    assert await pins.forget("notes") == 1
    assert (await pins.pinned("notes"), await pins.pinned("tickets")) == ({}, {"read": "bb"})


async def test_what_is_forgotten_is_seen_anew_and_is_no_event(pins: ToolPins, world: World) -> None:
    events = await world.ring.administration.list_events()
    await pins.pin("notes", {"read": "aa", "write": "bb"}, NOON)
    assert [await pins.forget("notes") for _ in range(2)] == [2, 0]
    await pins.pin("notes", {"read": "cc"}, LATER)
    assert await pins.pinned("notes") == {"read": "cc"}
    assert await world.ring.administration.list_events() == events


async def test_of_several_who_see_a_tool_at_once_one_is_first(pins: ToolPins, other_ring: KeyRing) -> None:
    tools = [f"tool_{number}" for number in range(20)]
    both = (pins, other_ring.tool_pins)
    await asyncio.gather(
        both[0].pin("notes", dict.fromkeys(tools, "aa"), NOON),
        both[1].pin("notes", dict.fromkeys(reversed(tools), "bb"), NOON),
    )
    found = await pins.pinned("notes")
    assert found == await other_ring.tool_pins.pinned("notes")
    assert found in (dict.fromkeys(tools, "aa"), dict.fromkeys(tools, "bb"))


async def test_a_database_that_does_not_answer_is_not_one_without_pins(sqlite_world: World) -> None:
    assert isinstance(sqlite_world.database, SqliteDatabase)
    sqlite_world.database.path.rename(sqlite_world.database.path.with_name("gone"))
    pins = sqlite_world.ring.tool_pins
    for asked in (pins.pinned("notes"), pins.pin("notes", {"read": "aa"}, NOON), pins.forget("notes")):
        with pytest.raises(StoreUnavailableError):
            await asked
