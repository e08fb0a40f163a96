from pathlib import Path

import pytest

from tests.databases import Database, SqliteDatabase
from tests.floods.broken_server import GOES_ON, PROGRAM
from tests.floods.open_streams import end_while_open

pytestmark = pytest.mark.anyio
STREAMS = 60


async def test_all_streams_end_with_their_keys_and_no_others(database: Database, tmp_path: Path) -> None:
    """Of sessions, of calls in both eras and of subscriptions; by revoking over HTTP and from another process, and by
    disabling the user."""
    report = await end_while_open(database, tmp_path, streams=STREAMS)
    assert (report.open, report.to_end) == (STREAMS, STREAMS * 2 // 3)
    assert report.is_good, report


async def test_a_server_that_lets_them_go_on_is_found_out(sqlite_database: SqliteDatabase, tmp_path: Path) -> None:
    broken = [*PROGRAM, GOES_ON]
    report = await end_while_open(sqlite_database, tmp_path, streams=12, seconds_to_end=1, program=broken)
    assert report.never_ended == report.to_end == 8
