"""SQLite with a losing disk below it, in the place of the standard library's.

The standard library's module can be given no file system, and two SQLite libraries must not have one file open in one
process (sqlite.org/howtocorrupt.html, section 2.2.1). So ``sqlite3.connect`` itself is replaced for a while by what
opens a connection of apsw; all that is above is the product as it is.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from tests.faults.losing_disk import LosingDisk, PowerLostError, Resize, Write

Rows = list[tuple[Any, ...]]


@contextmanager
def sqlite_on(disk: LosingDisk, *, checkpoint_pages: int, instead: Mapping[str, str]) -> Iterator[None]:
    """Have every connection that is made within it write to the disk, and checkpoint when so many pages wait; where one
    of these statements is to be executed, it executes the other instead.
    """
    system = _FileSystem(disk)

    def connect(database: str, *, timeout: float = 5.0, **_: object) -> _Connection:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        with _as_of_the_standard_library():
            opened = apsw.Connection(database, flags=flags, vfs=system.name)
            opened.set_busy_timeout(int(timeout * 1_000))
            opened.wal_autocheckpoint(checkpoint_pages)
        return _Connection(opened, instead)

    before = sqlite3.connect
    sqlite3.connect = connect  # type: ignore[assignment] # as much of it as the product uses
    try:
        yield
    finally:
        sqlite3.connect = before
        system.unregister()


class _FileSystem(apsw.VFS):
    def __init__(self, disk: LosingDisk) -> None:
        self.name = f"losing-{id(disk)}"
        super().__init__(self.name, "")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - its name
        assert name is not None
        return _File(self._disk, Path(name if isinstance(name, str) else name.filename()), name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - its signature
        with _power_needed(), self._disk.changing(Path(filename)):
            super().xDelete(filename, syncdir)
            if syncdir:
                self._disk.sync_names()


class _File(apsw.VFSFile):
    def __init__(self, disk: LosingDisk, path: Path, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._path = path
        self._file = disk.file(path)
        # Of those, SQLite's own file system syncs the folder too, with the first sync.
        journals = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
        self._name_is_to_be_synced = bool(flags[0] & journals and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802, ANN401
        with _power_needed(), self._disk.changing(self._path):
            super().xWrite(data, offset)
            self._file.unsynced.append(Write(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        with _power_needed(), self._disk.changing(self._path):
            super().xTruncate(newsize)
            self._file.unsynced.append(Resize(newsize))

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802
        with _power_needed(), self._disk.changing(self._path):
            self._file.sync()
            if self._name_is_to_be_synced:
                self._disk.sync_names()
                self._name_is_to_be_synced = False


@contextmanager
def _power_needed() -> Iterator[None]:
    try:
        yield
    except PowerLostError:
        raise apsw.IOError("there is no power") from None


class _Cursor:
    """The rows of a statement that has been executed to its end."""

    def __init__(self, rows: Rows) -> None:
        self._rows = iter(rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def fetchall(self) -> Rows:
        return list(self._rows)

    def close(self) -> None:
        pass


class _Connection:
    """As much of the standard library's as is used, with no transactions but those that are asked for."""

    def __init__(self, opened: apsw.Connection, instead: Mapping[str, str]) -> None:
        self._opened = opened
        self._instead = instead

    def execute(self, statement: str, values: Sequence[Any] = ()) -> _Cursor:
        with _as_of_the_standard_library():
            return _Cursor(list(self._opened.execute(self._instead.get(statement, statement), values)))

    def executemany(self, statement: str, several: Iterable[Sequence[Any]]) -> _Cursor:
        with _as_of_the_standard_library():
            return _Cursor(list(self._opened.executemany(statement, several)))

    @property
    def in_transaction(self) -> bool:
        return self._opened.in_transaction

    def rollback(self) -> None:
        if self._opened.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        with suppress(apsw.IOError):  # SQLite closes it all the same, and the standard library says nothing of it
            self._opened.close()


@contextmanager
def _as_of_the_standard_library() -> Iterator[None]:
    try:
        yield
    except apsw.ConstraintError as error:
        raise sqlite3.IntegrityError(str(error)) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise sqlite3.DatabaseError(str(error)) from error
    except apsw.Error as error:
        raise sqlite3.OperationalError(str(error)) from error
