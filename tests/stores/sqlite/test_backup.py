"""A backup, while others write between its steps."""

import os
from pathlib import Path

import pytest

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.stores.sqlite import backup as sqlite_backup
from mcp_keys_server.stores.sqlite.backup import back_up
from tests.databases import SqliteDatabase
from tests.world import open_world

pytestmark = pytest.mark.anyio


async def test_what_is_written_between_its_steps_neither_delays_a_backup_nor_is_in_it(
    sqlite_database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_backup, "PAGES_AT_A_TIME", 3)
    async with open_world(sqlite_database) as world:
        head = await world.ring.administration.verify_events()
        told: list[tuple[int, int]] = []

        def tell(done: int, most: int) -> None:
            told.append((done, most))
            if len(told) < 5:
                world.sql(f"INSERT INTO users (user_id, created_at) VALUES ('late{len(told)}', 'now')")

        backup = SqliteDatabase(tmp_path / "backup.db")
        assert await back_up(sqlite_database.path, backup.path, replace=False, tell=tell) == head
    assert sorted(told) == told
    assert len(told) > 5
    assert told[-1][0] == told[-1][1]
    assert backup.sql("SELECT user_id FROM users") == [("ada",), ("bob",)]


async def test_a_backup_is_in_its_folder_even_when_the_power_goes(
    sqlite_database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, descriptors, fsync = list[int](), list[int](), os.fsync

    def noting(descriptor: int) -> None:
        descriptors.append(descriptor)
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    async with open_world(sqlite_database):
        pass
    monkeypatch.setattr(os, "fsync", noting)
    for replace in (False, True):
        await back_up(sqlite_database.path, tmp_path / "backup.db", replace=replace, tell=lambda *_: None)
        assert synced[-2:] == [(tmp_path / "backup.db").stat().st_ino, tmp_path.stat().st_ino]
        for descriptor in descriptors[-2:]:  # and they are closed again
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)


async def test_a_database_is_never_replaced_by_a_backup_of_it_whatever_it_is_called(
    sqlite_database: SqliteDatabase, tmp_path: Path
) -> None:
    async with open_world(sqlite_database):
        pass
    link, twin = tmp_path / "link.db", tmp_path / "twin.db"
    link.symlink_to(sqlite_database.path)
    twin.hardlink_to(sqlite_database.path)
    for to in (sqlite_database.path, link, twin):
        with pytest.raises(UnusableDatabaseError, match="is the database itself"):
            await back_up(sqlite_database.path, to, replace=True, tell=lambda *_: None)
