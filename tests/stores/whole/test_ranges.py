"""Rows that are read and removed in parts, as those of a table are that is larger than what is held at a time."""

import pytest

from mcp_keys_server.stores.sql.tables import TABLES, Table
from mcp_keys_server.stores.whole.moving import open_snapshot, open_target
from tests.databases import Database
from tests.stores.whole.lives import Lives

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
async def test_rows_are_read_in_order_after_one_key_and_up_to_another(
    database: Database, lives: Lives, table: Table
) -> None:
    del lives
    async with open_snapshot(database.setting) as snapshot:
        every = await table.rows(snapshot, table.beginning, table.end)
        keys = [row[0] for row in every]
        assert keys == sorted(set(keys))
        assert len(keys) >= 3
        assert await snapshot.fetch(table.count) == [(len(keys),)]
        first, last = keys[0], keys[-1]
        assert await table.rows(snapshot, table.beginning, first) == every[:1]
        assert await table.rows(snapshot, first, last) == every[1:]
        assert await table.rows(snapshot, first, keys[1]) == every[1:2]
        assert await table.rows(snapshot, first, table.end, most=1) == every[1:2]
        assert await table.rows(snapshot, last, table.end) == []


@pytest.mark.parametrize("table", [table for table in TABLES if table.remove is not None], ids=lambda table: table.name)
async def test_rows_are_removed_after_one_key_and_up_to_another(database: Database, lives: Lives, table: Table) -> None:
    del lives
    async with open_target(database.setting) as target:
        every = await table.rows(target, table.beginning, table.end)
        assert table.remove is not None
        await target.fetch(table.remove, every[0][0], every[1][0])
        assert await table.rows(target, table.beginning, table.end) == [every[0], *every[2:]]


async def test_the_makers_of_keys_are_those_that_made_them(database: Database, lives: Lives) -> None:
    (makers,) = (table for table in TABLES if table.name == "makers of keys")
    async with open_snapshot(database.setting) as snapshot:
        found = await makers.rows(snapshot, makers.beginning, makers.end)
    there = database.sql("SELECT key_id, parent_key_id FROM keys WHERE parent_key_id IS NOT NULL ORDER BY key_id")
    assert found == there
    assert (lives.unclaimed_id, lives.good_id) in there
