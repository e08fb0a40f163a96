import random
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from tests.faults.losing_disk import SECTOR, Cut, File, LosingDisk, PowerLostError, Resize, Write
from tests.faults.sqlite_on_disk import sqlite_on

NEVER = Cut(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "disk"
    made.mkdir()
    return made


@pytest.fixture
def survivors(tmp_path: Path) -> Path:
    made = tmp_path / "survivors"
    made.mkdir()
    return made


@pytest.fixture(params=range(5))
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)  # noqa: S311 - so that a failure comes again


def test_what_is_synced_is_kept_and_the_rest_is_not(chance: random.Random) -> None:
    file = File(-1, bytearray(b"before"))
    file.unsynced += [Write(6, b" and after"), Resize(12)]
    file.sync()
    file.unsynced += [Write(0, b"BEFORE"), Resize(0)]
    assert file.survivor(chance, 0) == b"before and a"


def test_a_write_that_is_kept_is_whole_or_torn_between_sectors(chance: random.Random) -> None:
    old, new = b"o" * 5 * SECTOR, b"n" * 3 * SECTOR
    found = set()
    for _ in range(50):
        file = File(-1, bytearray(old), [Write(100, new)])
        content = file.survivor(chance, 1)
        assert content[:100] + content[100 + len(new) :] == b"o" * 2 * SECTOR
        bounds = [100, SECTOR, 2 * SECTOR, 3 * SECTOR, 100 + len(new)]
        parts = [content[start:end] for start, end in pairwise(bounds)]
        assert all(len(set(part)) == 1 for part in parts)
        found.add(tuple(part[:1] for part in parts))
    assert (b"n", b"n", b"n", b"n") in found
    assert any(b"o" in parts and b"n" in parts for parts in found)


def test_a_name_is_there_for_sure_when_the_folder_was_synced(
    folder: Path, survivors: Path, chance: random.Random
) -> None:
    (folder / "old").write_text("old")
    (folder / "moved").write_text("moved")
    with LosingDisk(folder, NEVER) as disk:
        with disk.changing(folder / "synced"):
            (folder / "synced").write_text("synced")
            (folder / "moved").unlink()
            disk.sync_names()
        disk.file(folder / "old")
        (folder / "old").unlink()
        (folder / "new").write_text("new")
        disk.lose_power()
        with pytest.raises(PowerLostError), disk.changing(folder / "synced"):
            pass
        disk.survive(survivors, chance, 0)
    assert {entry.name: entry.read_text() for entry in survivors.iterdir()} == {"old": "old", "synced": "synced"}


def test_the_power_goes_before_the_change_that_was_said(folder: Path) -> None:
    with LosingDisk(folder, Cut(2, "db")) as disk:
        for name in ("keys.db", "keys.db-wal"):
            with disk.changing(folder / name):
                pass
        assert disk.has_power
        with pytest.raises(PowerLostError), disk.changing(folder / "keys.db"):
            pass
        assert not disk.has_power


@pytest.fixture
def _sqlite_on_a_disk(folder: Path) -> Iterator[None]:
    with LosingDisk(folder, NEVER) as disk, sqlite_on(disk, checkpoint_pages=1_000, instead={}):
        yield


@pytest.mark.usefixtures("_sqlite_on_a_disk")
@pytest.mark.parametrize("statement", ["no SQL", "SELECT * FROM nothing", "INSERT INTO one VALUES (1)"])
def test_what_stands_in_for_sqlite_fails_as_it_does(folder: Path, tmp_path: Path, statement: str) -> None:
    """So that what is above it is told of trouble in the words that it knows."""
    import sqlite3

    def error_of(connection: sqlite3.Connection) -> tuple[type[Exception], str]:
        with closing(connection):
            connection.execute("CREATE TABLE one (value INTEGER PRIMARY KEY)")
            connection.execute("INSERT INTO one VALUES (1)")
            with pytest.raises(sqlite3.Error) as caught:
                connection.execute(statement)
            return caught.type, str(caught.value)

    stand_in = sqlite3.connect(str(folder / "keys.db"))
    assert isinstance(stand_in._opened, apsw.Connection)  # type: ignore[attr-defined]
    real = sqlite3.Connection(tmp_path / "real.db", isolation_level=None)
    assert error_of(stand_in) == error_of(real)
