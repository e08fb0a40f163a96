"""That whatever there is in a database is moved."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from mcp_keys_server.stores.sql.tables import GUARDS, TABLES, Digest
from tests.databases import TABLES as ALL_TABLES
from tests.world import World

pytestmark = pytest.mark.anyio

NOT_MOVED = {"counters"}
"""They are worth nothing a minute later."""
COLUMNS = {
    "sqlite": "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'",
    "postgres": "SELECT table_name::text, column_name::text FROM information_schema.columns "
    "WHERE table_schema = current_schema() AND table_name <> 'key_records'",
}
TIMES = {
    "sqlite": f"{COLUMNS['sqlite']} AND (c.name = 'at' OR c.name LIKE '%\\_at' ESCAPE '\\')",
    "postgres": f"{COLUMNS['postgres']} AND data_type LIKE 'timestamp%'",
}


def read_by_us() -> dict[tuple[str, str], bool]:
    """Table and column, and whether it is taken for a time."""
    found = {}
    for table in TABLES:
        columns, name = re.findall(r"SELECT (.*?)\s+FROM (\w+)", table.read, re.DOTALL)[0]
        for place, column in enumerate(re.split(r",\s+", columns)):
            found[name, column.rpartition(" || ")[2]] = place in table.times  # of the parts of a key, the last
    return found


async def test_every_column_of_every_table_is_moved(world: World, kind: str) -> None:
    there = {(table, column) for table, column in world.sql(COLUMNS[kind]) if table not in NOT_MOVED}
    assert set(read_by_us()) | {("meta", "name"), ("meta", "value")} == there
    assert {table for table, _ in there} == set(ALL_TABLES) - NOT_MOVED


async def test_every_time_is_known_to_be_one(world: World, kind: str) -> None:
    times = {(table, column) for table, column in world.sql(TIMES[kind]) if table not in NOT_MOVED}
    assert {column for column, is_time in read_by_us().items() if is_time} == times


async def test_the_guards_are_those_that_there_are(world: World, kind: str) -> None:
    names = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgres": "SELECT DISTINCT trigger_name::text FROM information_schema.triggers "
        "WHERE trigger_schema = current_schema()",
    }
    assert {name for (name,) in world.sql(names[kind])} == GUARDS


def test_a_digest_is_of_all_values_in_their_order() -> None:
    rows = [("a", 1, b"\0", None, datetime(2026, 1, 1, microsecond=7, tzinfo=UTC)), ("b",)]
    one, same = Digest(), Digest()
    one.add(rows)
    for row in rows:
        same.add([row])
    assert one == same
    assert one.count == 2
    for other_rows in ([rows[0]], [rows[1], rows[0]], [*rows[:1], ("c",)], []):
        other = Digest()
        other.add(other_rows)
        assert other != one
    assert one != "something else"


def test_rows_are_told_apart_by_their_times_and_bytes_and_not_by_the_database_that_they_are_from() -> None:
    def digest(*row: object) -> Digest:
        made = Digest()
        made.add([row])
        return made

    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert digest("a", noon, b"\1") == digest("a", noon.isoformat(timespec="microseconds"), b"\1")
    assert digest("a", noon, b"\1") != digest("a", noon + timedelta(microseconds=1), b"\1")
    assert digest("a", noon, b"\1") != digest("a", noon, b"\2")
