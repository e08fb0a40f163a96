import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.core.changes import Decision, Holdings, RevokeKey
from mcp_keys_server.stores.sqlite import connections as sqlite_connections
from mcp_keys_server.stores.sqlite.connections import open_connections
from mcp_keys_server.stores.sqlite.store import SqliteStore
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction
from tests.stores.changing import a_key, ask, holdings_of
from tests.world import World, prefix_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def kind() -> str:
    return "sqlite"


async def test_another_process_that_writes_for_a_while_is_waited_for(world: World) -> None:
    with closing(sqlite3.connect(Path(world.address), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        _, key = await world_reads(world)
        waiting = asyncio.create_task(world.ring.administration.revoke_key(key, reason=None))
        await world_reads(world)
        other.execute("COMMIT")
        assert (await waiting).revoked_at is not None


async def world_reads(world: World) -> tuple[str, str]:
    """Reads go on whoever writes: the live record, and a list."""
    listed = await world.ring.administration.list_keys()
    if not listed:
        return "", ""
    record = await world.ring.store.read_secret(prefix_of(listed[0]))
    assert record is not None
    return prefix_of(listed[0]), listed[0].key_id


async def revoke(store: SqliteStore, world: World, key_id: str) -> None:
    def decide(holdings: Holdings) -> Decision[None]:
        return Decision(None, (RevokeKey(replace(holdings.keys[key_id], revoked_at=world.clock())),))

    await store.change("ada", decide)


@pytest.fixture(autouse=True)
async def _one_key(world: World) -> None:
    await world.key()


async def test_a_database_that_stays_locked_is_trouble_and_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connections, "SECONDS_TO_WAIT_FOR_A_WRITER", 0)
    async with open_connections(Path(world.address)) as connections:
        hasty = SqliteStore(connections)
        prefix, key_id = await world_reads(world)
        with closing(sqlite3.connect(Path(world.address), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="locked"):
                await revoke(hasty, world, key_id)
            other.execute("ROLLBACK")
        record = await hasty.read_secret(prefix)
        assert record is not None
        assert not record.revoked
        await revoke(hasty, world, key_id)


async def test_a_failed_write_leaves_no_half_of_itself_to_the_next(world: World) -> None:
    with closing(sqlite3.connect(Path(world.address))) as other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON secrets BEGIN SELECT RAISE(ABORT, 'no secrets'); END")
        other.commit()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await world.key()
    await world.ring.administration.add_user("eve")
    with closing(sqlite3.connect(Path(world.address))) as other:
        assert other.execute("SELECT count(*) FROM keys").fetchone() == (1,)


async def test_what_a_failed_rollback_has_left_is_taken_back_before_the_next_write(world: World) -> None:
    async with open_connections(Path(world.address)) as connections:
        await connections._writer.execute("BEGIN IMMEDIATE")
        await connections._writer.execute("INSERT INTO users (user_id, created_at) VALUES ('left', 'now')")
        await SqliteStore(connections).record_use({})
    assert world.sql("SELECT count(*) FROM users") == [(2,)]


async def test_the_database_itself_refuses_what_refers_to_nothing(world: World) -> None:
    async def work(transaction: SqliteTransaction) -> None:
        await transaction.fetch("UPDATE keys SET user_id = 'nobody'")

    _, key_id = await world_reads(world)
    async with open_connections(Path(world.address)) as connections:
        with pytest.raises(StoreUnavailableError, match="FOREIGN KEY constraint failed"):
            await connections.write(work)
    assert world.sql("SELECT key_id, user_id FROM keys") == [(key_id, "ada")]


async def test_what_was_begun_is_finished_before_the_database_is_closed(world: World) -> None:
    _, key_id = await world_reads(world)
    async with open_connections(Path(world.address)) as connections:
        store = SqliteStore(connections)
        write = asyncio.create_task(revoke(store, world, key_id))
        while not connections._turn.locked():
            await asyncio.sleep(0)
        write.cancel()
    assert await world.ring.administration.list_keys() == []


async def test_the_live_connection_cannot_write_and_holds_no_snapshot(world: World) -> None:
    async with open_connections(Path(world.address)) as connections:
        store = SqliteStore(connections)
        prefix, _ = await world_reads(world)
        await store.read_secret(prefix)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connections.live._connection.execute("DELETE FROM secrets")
        with closing(sqlite3.connect(Path(world.address))) as other:
            busy, *_ = other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        assert busy == 0


async def test_a_store_that_is_closed_does_not_answer(world: World) -> None:
    async with open_connections(Path(world.address)) as connections:
        store = SqliteStore(connections)
    with pytest.raises(StoreUnavailableError):
        await store.read_secret("12345678")


async def test_what_waits_to_be_written_when_the_database_is_closed_is_refused(world: World) -> None:
    async with open_connections(Path(world.address)) as connections:
        store = SqliteStore(connections)
        await connections._turn.acquire()
        waiting = asyncio.create_task(store.record_use({}))
        await asyncio.sleep(0)
        closing_it = asyncio.create_task(connections.writes.finish())
        await asyncio.sleep(0)
        connections._turn.release()
        await closing_it
        with pytest.raises(StoreUnavailableError, match="being closed"):
            await waiting


async def test_nobody_waits_for_ever_behind_other_writers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_connections, "SECONDS_TO_WAIT_FOR_A_WRITER", 0)
    async with open_connections(Path(world.address)) as connections:
        store = SqliteStore(connections)
        async with connections._turn:
            with pytest.raises(StoreUnavailableError, match="too many writes"):
                await store.record_use({})
        await store.record_use({})


async def test_a_read_on_the_event_loop_waits_for_next_to_nothing(world: World) -> None:
    async with open_connections(Path(world.address)) as connections:
        assert connections.live._connection.execute("PRAGMA busy_timeout").fetchall() == [(100,)]


async def test_a_removed_or_replaced_file_is_noticed_and_lets_nobody_in(world: World) -> None:
    _, key = await world.key()
    copy = Path(world.address).with_name("copy.db")
    with closing(sqlite3.connect(Path(world.address))) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    for spoil in (lambda: copy.replace(Path(world.address)), Path(world.address).unlink):
        spoil()
        for use in (
            world.ring.verifier.verify(key.reveal()),
            world.ring.store.check(),
            world.ring.store.record_use({}),
            world.ring.administration.add_user("eve"),
        ):
            with pytest.raises(StoreUnavailableError):
                await use


async def test_what_was_written_while_somebody_removed_the_log_has_not_failed(world: World) -> None:
    async def remove_the_log(_: SqliteTransaction) -> str:
        Path(f"{world.address}-wal").unlink()
        return "done"

    async with open_connections(Path(world.address)) as connections:
        assert await connections.write(remove_the_log) == "done"
        with pytest.raises(StoreUnavailableError, match="-wal was removed"):
            await connections.write(remove_the_log)


@pytest.mark.parametrize("expires_at", ["garbage", "", "2030-01-01T00:00:00"])
async def test_a_damaged_row_is_the_stores_trouble_and_never_access(world: World, expires_at: str) -> None:
    _, key = await world.key()
    with closing(sqlite3.connect(Path(world.address))) as connection:
        connection.execute("UPDATE keys SET expires_at = ?", (expires_at,))
        connection.commit()
    with pytest.raises(StoreUnavailableError):
        await world.ring.verifier.verify(key.reveal())
    with pytest.raises(StoreUnavailableError):
        await world.ring.administration.list_keys()


async def test_a_damaged_claim_or_session_is_the_stores_trouble_and_never_access(world: World) -> None:
    store = world.ring.store
    await ask(store, a_key(has_secret=False), digest=b"digest")
    token = await world.ring.sessions.begin(await world.principal())
    for damage in ("garbage", "", "2099-01-01T00:00:00"):
        world.sql(f"UPDATE claims SET lapses_at = '{damage}'")
        world.sql(f"UPDATE sessions SET signed_in_at = '{damage}'")
        with pytest.raises(StoreUnavailableError):
            await store.find_invitation(b"digest")
        with pytest.raises(StoreUnavailableError):
            await holdings_of(store)
        with pytest.raises(StoreUnavailableError):
            await world.ring.sessions.principal(token)
    world.sql(f"UPDATE claims SET lapses_at = '2099-01-01T00:00:00Z', overlap_seconds = {2**62}")
    with pytest.raises(StoreUnavailableError):
        await store.find_invitation(b"digest")
