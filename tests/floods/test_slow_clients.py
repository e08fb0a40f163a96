import re
import sys

import pytest

from tests.databases import SqliteDatabase
from tests.floods.slow_clients import flood, good_key, kinds
from tests.running_server import ADA, running_server

pytestmark = pytest.mark.anyio

HURRIED = [sys.executable, "-m", "tests.floods.hurried_server"]
UNLIMITED = {"MCP_KEYS_CALLS_PER_MINUTE": "1000000", "MCP_KEYS_FAILURES_PER_MINUTE": "1000000"}
TOLD = {"request line", "headers", "headers after a request", "body", "body in parts", "form"}
"""Those who owe the rest of a request that is not refused before it is there."""


async def test_slow_clients_of_all_kinds_are_dropped_and_others_are_answered(sqlite_database: SqliteDatabase) -> None:
    with running_server(sqlite_database, *ADA, program=[*HURRIED, "3"], **UNLIMITED) as server:
        outcome = await flood(server, await good_key(sqlite_database), 200, readers=3, seconds=120)
        assert not outcome.held
        assert outcome.told.keys() == TOLD
        assert outcome.good
        assert not outcome.bad
        assert server.stop() == 0
        log = server.log.read_text()
        assert sum(map(int, re.findall(r"reading=(\d+)", log))) == 3
        for line in log.splitlines():
            assert "dropped: too slow" in line or "refused: no key" in line, line


async def test_each_worker_drops_its_own(sqlite_database: SqliteDatabase) -> None:
    with running_server(sqlite_database, "--workers", "2", *ADA, program=[*HURRIED, "3"], **UNLIMITED) as server:
        outcome = await flood(server, await good_key(sqlite_database), 60, readers=0, seconds=120)
        assert not outcome.held
        assert not outcome.bad


async def test_a_server_that_waits_for_ever_is_found_out(sqlite_database: SqliteDatabase) -> None:
    with running_server(sqlite_database, *ADA, program=[*HURRIED, "inf"], **UNLIMITED) as server:
        outcome = await flood(server, await good_key(sqlite_database), 18, readers=2, seconds=3)
        assert outcome.held == dict.fromkeys((*kinds(server), "reader"), 2)
        assert not outcome.told
