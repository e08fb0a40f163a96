"""Whatever becomes of its files, a server lets nobody in by what it did not read, calls no good key bad and begins
nothing anew.

What a start does with a file that is empty, damaged or another's is in ``tests/stores/sqlite/test_file.py``.
"""

import os
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from mcp_keys_server import ApiKey, InvalidApiKeyError, StoreUnavailableError, UnusableDatabaseError, open_key_ring
from mcp_keys_server.cli.program import main
from mcp_keys_server.core.key_hasher import CHEAPEST_COST
from mcp_keys_server.settings import Settings
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.sqlite import opened_file
from mcp_keys_server.stores.sqlite.opened_file import OpenedFile
from tests.databases import SqliteDatabase
from tests.faults import damaged_files
from tests.faults.damaged_files import BESIDE, DAMAGED, GONE, Damage, beside, checkpoint
from tests.running_server import run
from tests.server.calls import post
from tests.server.conftest import client_of, started
from tests.world import World, open_world

pytestmark = pytest.mark.anyio
SECONDS_UNTIL_NOTICED = 30  # of a slow machine; it takes half a second


async def told(http: httpx2.AsyncClient, key: ApiKey) -> list[object]:
    ready, call = await http.get("/readyz"), await post(http, key)
    return [ready.status_code, ready.headers.get("retry-after"), call.status_code, call.headers.get("retry-after")]


@pytest.mark.parametrize("damage", GONE, ids=lambda damage: damage.__name__)
async def test_a_running_server_notices_what_was_done_to_its_files(sqlite_world: World, damage: Damage) -> None:
    world = sqlite_world
    _, warm = await world.key()
    gone, ended = await world.key()
    await world.ring.administration.revoke_key(gone.key_id, reason=None)
    async with started(world, Settings()) as app, client_of(app) as http:
        assert (await post(http, warm)).status_code == 200
        damage(Path(world.address))
        with anyio.fail_after(SECONDS_UNTIL_NOTICED):
            while await told(http, warm) != [503, "5", 503, "5"]:
                assert (await post(http, ended)).status_code in (401, 429, 503)
                await anyio.sleep(0.01)
        assert (await post(http, ended)).status_code == 503
    with pytest.raises(StoreUnavailableError):  # and nothing is written where it would be lost
        await world.ring.administration.add_user("eve")


@pytest.mark.parametrize("damage", BESIDE, ids=lambda damage: damage.__name__)
async def test_what_is_written_before_anybody_looks_at_the_files_beside_it_is_not_said_to_be_done(
    sqlite_database: SqliteDatabase, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else a revocation would be confirmed in this time that nobody else sees, and that is lost at the end."""
    monkeypatch.setattr(opened_file, "SECONDS_BETWEEN_LOOKS", 3600)
    async with open_world(sqlite_database) as world:
        record, _ = await world.key()
        damage(sqlite_database.path)
        with pytest.raises(StoreUnavailableError, match="was removed or replaced"):
            await world.ring.administration.revoke_key(record.key_id, reason=None)


@pytest.mark.parametrize("through_a_link", [False, True])
@pytest.mark.parametrize("damage", [damaged_files.log_emptied, damaged_files.log_cut_off])
async def test_after_a_log_was_made_shorter_nothing_is_written_though_it_grows_again(
    sqlite_database: SqliteDatabase, tmp_path: Path, damage: Damage, *, through_a_link: bool
) -> None:
    sqlite_file.prepare(sqlite_database.path)
    log, path = beside(sqlite_database.path, "-wal"), sqlite_database.path
    if through_a_link:
        path = tmp_path / "link.db"
        path.symlink_to(sqlite_database.path)
    async with open_key_ring(path, bcrypt_cost=CHEAPEST_COST) as ring:
        assert log.stat().st_size == 0
        await ring.administration.add_user("ada")
        size = log.stat().st_size
        damage(sqlite_database.path)
        for user_id in ("eve", "bob"):
            with pytest.raises(StoreUnavailableError, match="-wal was made shorter.*revoke again"):
                await ring.administration.add_user(user_id)
            os.truncate(log, 2 * size)


async def test_a_build_that_cuts_its_logs_off_does_not_cut_ours(
    sqlite_database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_as_that_build(*arguments: Any, **named: Any) -> sqlite3.Connection:  # noqa: ANN401 - the driver's
        connection: sqlite3.Connection = connect(*arguments, **named)
        connection.execute("PRAGMA journal_size_limit = 0")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_as_that_build)
    async with open_world(sqlite_database) as world:
        for user_id in ("cyd", "dan", "eve"):
            await world.ring.administration.add_user(user_id)
            checkpoint(sqlite_database.path)


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage.__name__)
async def test_of_a_damaged_file_nobody_is_let_in_or_called_bad_by_what_cannot_be_read(
    sqlite_world: World, damage: Damage
) -> None:
    keys = [await sqlite_world.key() for _ in range(40)]
    for record, _ in keys[::2]:
        await sqlite_world.ring.administration.revoke_key(record.key_id, reason=None)
    async with open_key_ring(sqlite_world.address, bcrypt_cost=CHEAPEST_COST, clock=sqlite_world.clock) as ring:
        damage(Path(sqlite_world.address))
        for number, (_, key) in enumerate(keys):
            try:
                await ring.verifier.verify(key.reveal())
            except StoreUnavailableError:
                pass
            except InvalidApiKeyError:
                assert number % 2 == 0, "a good key was called bad"
            else:
                assert number % 2 == 1, "a revoked key was let in"


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage.__name__)
async def test_from_a_damaged_file_a_start_lets_nobody_in(tmp_path: Path, damage: Damage) -> None:
    database = SqliteDatabase(tmp_path / "data" / "keys.db")
    async with open_world(database) as world:
        _, key = await world.key()
    damage(database.path)
    before = database.path.read_bytes()
    try:
        async with open_key_ring(database.path, bcrypt_cost=CHEAPEST_COST) as ring:
            with pytest.raises(StoreUnavailableError):
                await ring.verifier.verify(key.reveal())
            with pytest.raises(StoreUnavailableError):
                await ring.administration.add_user("eve")
    except UnusableDatabaseError as error:
        assert "damaged" in str(error)
    assert database.path.read_bytes() == before


async def test_a_database_that_is_gone_is_not_begun_anew_beside_what_is_left_of_it(
    sqlite_database: SqliteDatabase,
) -> None:
    """As when its process was killed and somebody removed the file."""
    path, log = sqlite_database.path, beside(sqlite_database.path, "-wal")
    async with open_world(sqlite_database) as world:
        await world.key()
        content = log.read_bytes()
    path.unlink()
    log.touch(0o600)
    log.write_bytes(content)
    with pytest.raises(UnusableDatabaseError, match="is gone.*put the database back, or remove that file"):
        async with open_key_ring(path, bcrypt_cost=CHEAPEST_COST):
            raise AssertionError
    assert (path.exists(), log.read_bytes()) == (False, content)
    log.write_bytes(b"")  # in which there is nothing
    async with open_world(sqlite_database) as world:
        await world.key()


@pytest.mark.parametrize("command", ["serve --port 0", "users add eve"])
def test_a_database_that_was_emptied_is_a_sentence_and_1(
    sqlite_database: SqliteDatabase, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_file.prepare(sqlite_database.path)
    damaged_files.emptied(sqlite_database.path)
    assert main([*command.split(), "--database", str(sqlite_database)]) == 1
    assert "is empty, so something else emptied or made it; restore a backup" in capsys.readouterr().err
    assert sqlite_database.path.stat().st_size == 0


@pytest.mark.parametrize("looks", [True, False])
async def test_a_revocation_that_went_to_other_files_lets_nobody_in_unless_nobody_looks(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, *, looks: bool
) -> None:
    """What is done by another process after the log and its index were removed is not seen in this one."""
    world, path = sqlite_world, Path(sqlite_world.address)
    if not looks:
        monkeypatch.setattr(OpenedFile, "check_beside", lambda _: None)
    record, key = await world.key()
    checkpoint(path)
    await world.ring.verifier.verify(key.reveal())
    damaged_files.log_removed(path)
    damaged_files.index_removed(path)
    revoking = partial(run, "keys", "revoke", record.key_id, "--database", str(path))
    assert (await anyio.to_thread.run_sync(revoking)).returncode == 0
    if not looks:
        await world.ring.verifier.verify(key.reveal())
        return
    with anyio.fail_after(SECONDS_UNTIL_NOTICED), suppress(StoreUnavailableError):
        while True:
            await world.ring.verifier.verify(key.reveal())
            await anyio.sleep(0.01)
