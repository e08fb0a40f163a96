"""A database as it is at one moment, whatever becomes of it meanwhile."""

import pytest

from mcp_keys_server.core.clock import utc_now
from mcp_keys_server.stores.sql import table_statements as sql
from mcp_keys_server.stores.whole.moving import open_snapshot
from tests.databases import Database, PostgresDatabase
from tests.stores.whole.lives import Lives

pytestmark = pytest.mark.anyio


async def test_a_snapshot_is_of_the_moment_in_which_it_is_opened(database: Database, lives: Lives) -> None:
    del lives
    async with open_snapshot(database.setting) as before:
        database.sql("INSERT INTO users (user_id, created_at) VALUES ('late', '2026-11-30T12:00:00.000000+00:00')")
        async with open_snapshot(database.setting) as after:
            counts = [(await snapshot.fetch(sql.COUNT_USERS))[0][0] for snapshot in (before, after)]
    assert counts[1] == counts[0] + 1


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_to_read_a_whole_table_may_take_longer_than_a_request(database: Database, lives: Lives) -> None:
    del lives
    assert isinstance(database, PostgresDatabase)
    async with open_snapshot(database.setting) as snapshot:
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            assert await snapshot.fetch(f"SHOW {setting}") == [("0",)]
        assert "clock_seconds_apart" in await snapshot.server(utc_now)
