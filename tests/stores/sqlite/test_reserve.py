"""That a disk which is really full leaves room for revocations is in ``tests/faults/test_full_disk.py``."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_keys_server import StoreUnavailableError
from mcp_keys_server.stores.sqlite.connections import SqliteConnections, open_connections
from mcp_keys_server.stores.sqlite.reserve import RESERVED_BYTES, Reserve
from mcp_keys_server.stores.sqlite.store import SqliteStore
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction
from tests.databases import SqliteDatabase
from tests.running_server import PROGRAM, environment
from tests.world import World

pytestmark = pytest.mark.anyio
SECONDS_TO_START = 60  # of a slow machine


async def allow_pages(world: World, most: int) -> None:
    """So many has the file at the most, and no fewer than it has."""
    store = world.ring.store
    assert isinstance(store, SqliteStore)
    await store._connections._writer.execute(f"PRAGMA max_page_count = {most}")


async def until_it_is_full(world: World) -> None:
    await allow_pages(world, 1)
    for number in range(1_000):
        try:
            await world.ring.administration.add_user(f"user{number}")
        except StoreUnavailableError as error:
            assert "full" in str(error)
            return
    raise AssertionError


def reserve_of(world: World) -> Path:
    return Path(f"{world.address}.reserve")


async def test_it_is_kept_as_soon_as_a_database_is_opened(sqlite_world: World) -> None:
    reserve_of(sqlite_world).unlink()
    async with open_connections(Path(sqlite_world.address)):
        assert reserve_of(sqlite_world).stat().st_size == RESERVED_BYTES


async def test_it_is_kept_when_what_ends_a_key_fails_for_any_other_reason_than_room(
    sqlite_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    store = sqlite_world.ring.store
    assert isinstance(store, SqliteStore)

    async def work(transaction: SqliteTransaction) -> None:
        await transaction.tell_processes()
        await transaction.fetch("SELECT what_nobody_has")

    with pytest.raises(StoreUnavailableError, match="no such column"):
        await store._connections.write(work)
    assert store._connections.reserve.is_whole
    assert reserve_of(sqlite_world).stat().st_size == RESERVED_BYTES
    assert not [line for line in caplog.messages if "the disk is full" in line]


async def test_it_is_given_up_for_what_ends_a_key_and_for_nothing_else(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, give_up = sqlite_world, Reserve.give_up
    keys = [(await world.key())[0] for _ in range(40)]
    given_up: list[Path] = []

    def give_up_and_tell(reserve: Reserve) -> bool:
        given_up.append(reserve._path)
        return give_up(reserve)

    monkeypatch.setattr(Reserve, "give_up", give_up_and_tell)
    await until_it_is_full(world)
    assert (given_up, reserve_of(world).stat().st_size) == ([], RESERVED_BYTES)
    for record in keys:
        try:
            await world.ring.administration.revoke_key(record.key_id, reason="x" * 200)
        except StoreUnavailableError:  # still, because here it is not the disk that is full
            break
    assert given_up == [reserve_of(world)]
    assert "the disk is full" in caplog.text
    assert not reserve_of(world).exists()
    await allow_pages(world, 10_000)
    for record in keys:
        await world.ring.administration.revoke_key(record.key_id, reason=None)
    assert reserve_of(world).stat().st_size == RESERVED_BYTES


async def test_what_ends_a_key_is_done_again_in_the_room_that_was_kept(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, give_up, tries = sqlite_world, Reserve.give_up, SqliteConnections._try
    keys = [(await world.key())[0] for _ in range(40)]
    has_room = False

    def give_up_and_tell(reserve: Reserve) -> bool:
        nonlocal has_room
        has_room = give_up(reserve)
        return has_room

    async def try_with_what_room_there_is(connections: SqliteConnections, *arguments: Any) -> object:  # noqa: ANN401 - its own
        if has_room:
            await allow_pages(world, 10_000)
        return await tries(connections, *arguments)

    await until_it_is_full(world)
    monkeypatch.setattr(Reserve, "give_up", give_up_and_tell)
    monkeypatch.setattr(SqliteConnections, "_try", try_with_what_room_there_is)
    for record in keys:
        await world.ring.administration.revoke_key(record.key_id, reason="x" * 200)
    assert has_room
    assert await world.ring.administration.list_keys() == []
    await world.ring.administration.verify_events()
    assert reserve_of(world).stat().st_size == RESERVED_BYTES


async def test_where_none_can_be_kept_everything_else_goes_on(sqlite_world: World) -> None:
    sqlite_world.database.folder.joinpath("elsewhere").touch()
    reserve_of(sqlite_world).unlink()
    reserve_of(sqlite_world).symlink_to("elsewhere")
    reserve = Reserve(Path(sqlite_world.address))
    reserve.keep()
    assert (reserve.is_whole, sqlite_world.database.folder.joinpath("elsewhere").stat().st_size) == (False, 0)


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_link, make_folder, os.mkfifo])
def test_what_is_no_file_is_left_alone_and_said_once(
    tmp_path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.db.reserve"
    make(path)
    before = path.lstat()
    reserve = Reserve(tmp_path / "keys.db")
    for _ in range(2):
        reserve.keep()
    assert (reserve.is_whole, path.lstat().st_mode, list(tmp_path.iterdir())) == (False, before.st_mode, [path])
    assert caplog.messages == [
        f"{path}: it is not a file; remove it, or on a full disk there is no room to end keys",
    ]


def test_nothing_is_written_to_who_reads_from_a_pipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.db.reserve"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        reserve = Reserve(tmp_path / "keys.db")
        reserve.keep()
        assert (reserve.is_whole, os.read(reader, 1)) == (False, b"")
    finally:
        os.close(reader)
    assert "it is not a file" in caplog.text


def test_a_pipe_in_its_place_keeps_no_start_waiting(sqlite_database: SqliteDatabase) -> None:
    sqlite_database.folder.mkdir(0o700)
    os.mkfifo(f"{sqlite_database}.reserve")
    command = [*PROGRAM, "users", "add", "eve", "--database", str(sqlite_database)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=True, timeout=SECONDS_TO_START
    )
    assert "keys.db.reserve: it is not a file; remove it" in done.stderr


def test_where_a_folder_cannot_be_looked_into_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.joinpath("file").touch()
    reserve = Reserve(tmp_path / "file" / "keys.db")
    reserve.keep()
    assert (reserve.is_whole, caplog.messages) == (False, [])


def test_what_is_not_there_gives_no_room(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "keys.db")
    assert not reserve.give_up()
    reserve.keep()
    assert (reserve.give_up(), reserve.give_up()) == (True, False)
