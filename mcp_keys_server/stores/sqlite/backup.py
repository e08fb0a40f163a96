"""A copy of a live SQLite file, made with SQLite's own backup and put in its place when it is whole and was checked."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import anyio.to_thread

from mcp_keys_server.core.errors import UnusableDatabaseError
from mcp_keys_server.core.ledger import Head, follow_all
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.sqlite import tables as sqlite_tables
from mcp_keys_server.stores.sqlite.connections import SECONDS_TO_WAIT_FOR_A_WRITER

PAGES_AT_A_TIME: Final = 1_000


async def back_up(path: Path, to: Path, *, replace: bool, tell: Callable[[int, int], None]) -> Head:
    """Write the database as it is at this moment, while others go on with it, to one file that is readable for its
    user only; another file of that name is replaced only if it may be. The head of its ledger is given.

    Raises:
        UnusableDatabaseError: The database cannot be read, or the file not be written; the message says what to do.
        BrokenLedgerError: The ledger is not what was written, and no file is made.
        StoreUnavailableError: The database stopped answering.
    """
    await anyio.to_thread.run_sync(sqlite_file.schema_version, path)
    with _explained(to):
        _check_target(path, to, replace=replace)
        handle, draft_name = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)  # 0600
    draft = Path(draft_name)
    try:
        with _explained(to):
            await anyio.to_thread.run_sync(_copy, path, draft, tell)
            os.fsync(handle)
        head = await _check(draft, to)
        with _explained(to):
            _publish(draft, to, replace=replace)
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):  # it has taken the place of the other one
            os.unlink(draft_name)  # noqa: PTH108 - beside the descriptor's other calls
    return head


def _check_target(path: Path, to: Path, *, replace: bool) -> None:
    if any(_is_same(to, path.with_name(path.name + part)) for part in ("", *sqlite_file.BESIDE)):
        raise UnusableDatabaseError(f"{to} is the database itself; name another file")
    if to.is_dir():
        raise UnusableDatabaseError(f"{to} is a folder; name a file in it")
    if not replace and os.path.lexists(to):
        raise UnusableDatabaseError(f"{to} exists; name another file, or replace it with --force")


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other) or (one.exists() and other.exists() and one.samefile(other))


def _copy(path: Path, draft: Path, tell: Callable[[int, int], None]) -> None:
    with (
        closing(_connect(path, mode="ro")) as source,
        closing(_connect(draft, mode="rw")) as copy,
    ):
        # Within one read transaction, or else the backup would begin anew with each write of others.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_master").fetchall()
        source.backup(copy, pages=PAGES_AT_A_TIME, progress=lambda _, left, most: tell(most - left, most), sleep=0)
        copy.execute("PRAGMA journal_mode = DELETE")  # everything in one file; whoever serves with it changes that


async def _check(draft: Path, to: Path) -> Head:
    async with sqlite_tables.open_snapshot(draft) as tables:
        damage = await tables.damage()
        if damage:
            raise UnusableDatabaseError(f"{to} was not made, because the database is damaged: {damage[0]}")
        return await follow_all(tables.entries)


def _publish(draft: Path, to: Path, *, replace: bool) -> None:
    if replace:
        draft.replace(to)
    else:
        to.hardlink_to(draft)  # which a file that has come there meanwhile prevents
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        sqlite_file.uri(path, mode=mode),
        uri=True,
        isolation_level=None,
        timeout=SECONDS_TO_WAIT_FOR_A_WRITER,
    )


@contextmanager
def _explained(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnusableDatabaseError(
            f"{to} cannot be written: {error.strerror}; name a file in a folder that can be"
        ) from None
    except sqlite3.Error as error:
        raise UnusableDatabaseError(f"the backup cannot be made: {error}") from error
