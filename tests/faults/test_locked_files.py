"""Other programs that write to the same SQLite file are waited for, and when that takes too long nothing is lost.

That a short wait is waited for is in ``tests/stores/sqlite/test_store.py``.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from mcp_keys_server.core.records import KeyStatus, Person
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.sqlite import connections as sqlite_connections
from mcp_keys_server.stores.sqlite.store import SqliteStore
from tests.databases import SqliteDatabase
from tests.faults.acts import ACTS
from tests.server.calls import call, post
from tests.server.conftest import client_of, started
from tests.world import NOTHING_SPECIAL, World, open_world

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def hasty_world(sqlite_database: SqliteDatabase) -> AsyncIterator[World]:
    """It does not wait for writers of other processes."""
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sqlite_connections, "SECONDS_TO_WAIT_FOR_A_WRITER", 0)
            opened = await stack.enter_async_context(open_world(sqlite_database))
        yield opened


async def test_who_waits_in_vain_is_told_to_try_again_and_warm_users_are_let_in(hasty_world: World) -> None:
    world = hasty_world
    record, key = await world.key()
    async with started(world, Settings()) as app, client_of(app) as http:
        with closing(sqlite3.connect(world.address, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for tool, arguments in (("create_key", {"name": "x"}), ("revoke_key", {"key_id": record.key_id})):
                refused = await call(http, key, tool, arguments)
                assert (refused.is_error, "Try again" in refused.text) == (True, True)
                assert "locked" not in refused.response.text
            assert (await post(http, key)).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            assert [one.key_id for one in await world.ring.administration.list_keys()] == [record.key_id]
            other.execute("ROLLBACK")
        await call(http, key, "create_key", {"name": "x"})
        assert not (await call(http, key, "revoke_key", {"key_id": record.key_id})).is_error
        assert (await post(http, key)).status_code == 401
    await world.ring.administration.verify_events()


async def test_many_writers_in_several_processes_lose_nothing(sqlite_world: World) -> None:
    commands = [
        [sys.executable, "-m", "tests.faults.many_writers", sqlite_world.address, user, "5", "4"]
        for user in ("ada", "ada", "bob")
    ]
    writing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for command in commands]  # noqa: ASYNC220 - nothing else runs here
    confirmed = [json.loads(process.communicate()[0]) for process in writing]
    kept = {key.key_id: key for key in await sqlite_world.ring.administration.list_keys(include_ended=True)}
    created = {key_id for each in confirmed for key_id in each["created"]}
    assert (len(created), set(kept)) == (60, created)
    assert {key_id for each in confirmed for key_id in each["revoked"]} == created
    assert {key.status(sqlite_world.clock()) for key in kept.values()} == {KeyStatus.REVOKED}
    assert (await sqlite_world.ring.administration.verify_events()).number == 2 + 60 + 60


def outside_transactions(statements: Sequence[str]) -> list[str]:
    """What was not in a transaction that had the right to write from its beginning."""
    found, may_write = [], False
    for statement in statements:
        if statement == "BEGIN IMMEDIATE":
            may_write = True
        elif not may_write:
            found.append(statement)
        elif statement in ("COMMIT", "ROLLBACK"):
            may_write = False
    return found


async def test_no_transaction_begins_by_reading_and_writes_afterwards(sqlite_world: World) -> None:
    """SQLite would not wait for another writer then, but fail at once (BUSY_SNAPSHOT)."""
    store, statements = sqlite_world.ring.store, list[str]()
    assert isinstance(store, SqliteStore)
    await store._connections._writer.set_trace_callback(statements.append)
    for prepare in ACTS.values():
        await (await prepare(sqlite_world)).act()
    token = await sqlite_world.ring.sessions.begin(await sqlite_world.principal())
    await sqlite_world.ring.sessions.end(token)
    await store._connections._writer.set_trace_callback(list[str]().append)
    assert outside_transactions(statements) == []
    assert statements.count("BEGIN IMMEDIATE") == statements.count("COMMIT") > len(ACTS)
    assert outside_transactions(["BEGIN", "SELECT", "COMMIT"]) == ["BEGIN", "SELECT", "COMMIT"]
    assert outside_transactions(["BEGIN IMMEDIATE", "SELECT", "COMMIT", "SELECT"]) == ["SELECT"]
    await sqlite_world.ring.manager.create_key(Person("ada"), name="x", requested=NOTHING_SPECIAL)
