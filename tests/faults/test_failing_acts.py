import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.core.changes import Decide, Decision
from mcp_keys_server.core.key_manager import KeyManager
from mcp_keys_server.stores.postgres.connections import PostgresConnections
from mcp_keys_server.stores.sql import changes
from mcp_keys_server.stores.sql.database import Transaction, Work
from mcp_keys_server.stores.sql.store import Result, SqlStore
from mcp_keys_server.stores.sqlite.connections import SqliteConnections
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction
from tests.databases import Database
from tests.faults import acts
from tests.faults.acts import ACTS
from tests.faults.failing_acts import violations
from tests.faults.failing_calls import HOWS, calls_that_may_fail
from tests.world import World, open_world

pytestmark = pytest.mark.anyio
on_sqlite = pytest.mark.parametrize("kind", ["sqlite"])


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    with calls_that_may_fail():
        async with open_world(database) as opened:
            yield opened


@pytest.mark.parametrize("act", ACTS)
async def test_whichever_call_fails_it_is_done_and_confirmed_or_neither(world: World, kind: str, act: str) -> None:
    assert await violations(world, ACTS[act], HOWS[kind], thorough=False) == []


@on_sqlite
async def test_a_change_that_is_written_apart_from_its_entry_is_found_out(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what makes them one: that this finds nothing otherwise means something. So do the tests below."""

    async def change(store: SqlStore, user_id: str, decide: Decide[Result]) -> Result:
        async def work(transaction: Transaction) -> Decision[Result]:
            decision = decide(await changes.hold_holdings(transaction, user_id))
            for each in decision.changes:
                await changes.write_change(transaction, user_id, each)
            return decision

        decision = await store._database.write(work)
        await store._database.write(lambda transaction: changes.write_events(transaction, decision.events))
        return decision.answer

    monkeypatch.setattr(SqlStore, "change", change)
    found = await violations(world, acts.create, HOWS[kind], thorough=False)
    assert any("half-way: user-" in each and "made 0 times and 1" in each for each in found), found


async def test_a_failure_that_is_kept_quiet_is_found_out(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(connections: SqliteConnections | PostgresConnections, work: Work[Result]) -> Result | None:
        with suppress(StoreUnavailableError):
            return await connections.writes.run(connections._transact(work))
        return None

    monkeypatch.setattr(SqliteConnections if kind == "sqlite" else PostgresConnections, "write", write)
    found = await violations(world, acts.disable_user, HOWS[kind], thorough=False)
    assert any("it was confirmed and is not done" in each for each in found), found


async def test_a_driver_whose_errors_get_through_is_found_out(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "mcp_keys_server.stores." + (
        "sqlite.connections.TROUBLE" if kind == "sqlite" else "postgres.connecting.TROUBLE"
    )
    monkeypatch.setattr(module, (LookupError,))
    found = await violations(world, acts.add_user, HOWS[kind], thorough=False)
    assert any("bare" in each for each in found), found


@on_sqlite
async def test_an_answer_that_is_read_after_the_change_is_found_out(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke = KeyManager.revoke_key

    async def revoke_and_look(manager: KeyManager, *arguments: object, key_id: str, **named: object) -> object:
        await revoke(manager, *arguments, key_id=key_id, **named)  # type: ignore[arg-type]
        return await manager.find_key(*arguments, key_id=key_id)  # type: ignore[arg-type]

    monkeypatch.setattr(KeyManager, "revoke_key", revoke_and_look)
    found = await violations(world, acts.revoke, HOWS[kind], thorough=False)
    assert any("it is said to have failed and is done" in each for each in found), found


@on_sqlite
async def test_a_transaction_that_stays_open_is_found_out(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def transact(connections: SqliteConnections, work: Work[Result]) -> Result:
        async with connections._turn:
            try:
                await connections._writer.execute("BEGIN IMMEDIATE")
                result = await work(SqliteTransaction(connections._writer))
                await connections._writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreUnavailableError from error
            return result

    monkeypatch.setattr(SqliteConnections, "_transact", transact)
    found = await violations(world, acts.add_user, HOWS[kind], thorough=False)
    assert any("it cannot be done afterwards" in each for each in found), found
