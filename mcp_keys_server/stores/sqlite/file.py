"""The database file: made whole or not at all, private, ours, and of a schema that this version knows."""

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from mcp_keys_server.core.errors import NoDatabaseError, UnusableDatabaseError
from mcp_keys_server.stores.sql.checksum_secrets import CHECKSUM_SECRET, new_checksum_secret, whole_checksum_secrets
from mcp_keys_server.stores.sql.migration_scripts import migrations
from mcp_keys_server.stores.sql.unfinished_copy import COPYING_FROM, refuse_unfinished
from mcp_keys_server.stores.sqlite.statements import ADD_META, READ_META

APPLICATION_ID = 0x4D4B5331  # "MKS1" in the header of every file of ours, where file(1) sees it too
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
BESIDE: Final = ("-wal", "-shm", "-journal")
"""How SQLite calls what it keeps beside a database, and takes for a part of it."""


def prepare(path: Path, *, create: bool = True, unfinished: bool = False) -> None:
    """See to it that the file is there, private, ours and of the present schema; make it when it is missing and may be.
    A copy that is not finished is none of these, unless it is to be finished.

    Raises:
        UnusableDatabaseError: It cannot be made or used; the message says what to do.
    """
    with _explained(path):
        if not create:
            _require_there(path)
        elif not path.exists():
            _require_nothing_left(path)
            _require_sqlite()
            _make(path)
        with _opened(path, mode="rw") as connection:
            _migrate(connection)
            whole_checksum_secrets(path, _meta(connection, CHECKSUM_SECRET))
            if not unfinished:
                refuse_unfinished(path, _meta(connection, COPYING_FROM))
            connection.execute("PRAGMA journal_mode = WAL")  # which a copy by VACUUM INTO, say, has lost


def schema_version(path: Path) -> int:
    """That of a file that is there, private and ours, and of no newer schema. Nothing is changed.

    Raises:
        UnusableDatabaseError: It is not; the message says what to do.
    """
    with _explained(path):
        _require_there(path)
        with _opened(path, mode="ro") as connection:
            return _version(connection)


def uri(path: Path, *, mode: str) -> str:
    # Opened by URI because a plain name would make an empty database where the file has gone.
    return f"file:{quote(str(path))}?mode={mode}"


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Finished under another name and linked to its own, so that nobody ever meets half a database and, of two
    # processes that start at once, both use the one that was first.
    handle, draft_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    os.close(handle)
    draft = Path(draft_name)
    try:
        with closing(_connect(draft)) as connection:
            # Here, where nobody else is: of several that change to WAL at once, all but one fail without waiting.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(connection)
            connection.execute(ADD_META, (CHECKSUM_SECRET, new_checksum_secret()))
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


@contextmanager
def _opened(path: Path, *, mode: Literal["ro", "rw"]) -> Iterator[sqlite3.Connection]:
    _require_sqlite()
    _check_file(path)
    _check_beside(path)
    with closing(_connect(path, mode=mode)) as connection:
        _check_application(connection, path)
        yield connection


def _connect(path: Path, *, mode: Literal["ro", "rw"] = "rw") -> sqlite3.Connection:
    return sqlite3.connect(uri(path, mode=mode), uri=True, isolation_level=None, timeout=5)


def _require_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise UnusableDatabaseError(f"SQLite {sqlite3.sqlite_version} is too old; 3.37 or later is needed")


def _require_there(path: Path) -> None:
    if not path.exists():
        raise NoDatabaseError(
            f"{path} does not exist; 'serve' and 'users add' make it, or name another file with --database"
        )


def _require_nothing_left(path: Path) -> None:
    # SQLite would write what it holds into the new database, of which it is no part.
    left = path.with_name(f"{path.name}-wal")
    if left.exists() and left.stat().st_size:
        raise UnusableDatabaseError(
            f"{path} is gone, and {left} is there, which holds what was written to it last; put the database back, or "
            "remove that file as well to start anew"
        )


def _check_file(path: Path) -> None:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise UnusableDatabaseError(f"{path} is not a file; name a file with --database")
    if about.st_size == 0:
        raise UnusableDatabaseError(
            f"{path} is empty, so something else emptied or made it; restore a backup, or remove it to start anew"
        )
    if os.name == "posix" and stat.S_IMODE(about.st_mode) & 0o077:
        raise UnusableDatabaseError(f"{path} can be read by other users of this machine; run: chmod 600 '{path}'")


def _check_beside(path: Path) -> None:
    """SQLite plays what it finds there into the database, whoever put it there."""
    database = path.resolve()  # because SQLite keeps nothing beside a link
    for part in BESIDE:
        name = database.with_name(f"{database.name}{part}")
        with suppress(FileNotFoundError):
            trouble = _trouble(name, name.lstat(), owner=database.stat().st_uid)
            if trouble is not None:
                raise UnusableDatabaseError(f"{name} would be taken for a part of the database, but {trouble}")


def _trouble(name: Path, about: os.stat_result, *, owner: int) -> str | None:
    if not stat.S_ISREG(about.st_mode):
        return "it is not a file; remove it"
    if os.name == "posix" and about.st_uid not in (owner, os.geteuid(), 0):
        return (
            "it is another user's, who may have put it there; remove it, or, if it was left when the database was last "
            "used, give it to whose the database is"
        )
    if os.name == "posix" and stat.S_IMODE(about.st_mode) & 0o077:
        return (
            "other users of this machine can read or change it; remove it, or, if it was left when the database was "
            f"last used and nobody changed it, run: chmod 600 '{name}'"
        )
    return None


def _check_application(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        raise UnusableDatabaseError(f"{path} is a database of another program; name another file with --database")
    version, newest = _version(connection), migrations("sqlite")[-1][0]
    if version < 1 and connection.execute("SELECT 1 FROM sqlite_master").fetchone():  # not one that was just begun
        raise UnusableDatabaseError(f"{path} has lost the number of its schema; restore a backup")
    if version > newest:
        raise UnusableDatabaseError(
            f"{path} was made by a newer mcp-keys-server (schema {version}; this one knows {newest}); update this one"
        )


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _meta(connection: sqlite3.Connection, name: str) -> bytes | None:
    row = connection.execute(READ_META, (name,)).fetchone()
    return None if row is None else bytes(row[0])


def _migrate(connection: sqlite3.Connection) -> None:
    for number, script in migrations("sqlite"):
        connection.execute("BEGIN IMMEDIATE")
        # Asked inside the transaction, because another process may be migrating at the same moment.
        if _version(connection) < number:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """One statement at a time, because ``executescript`` would end the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in a sentence what the system or SQLite said in a word."""
    try:
        yield
    except ValueError as error:
        raise UnusableDatabaseError(f"the path of the database cannot be one: {error}") from error
    except OSError as error:
        raise UnusableDatabaseError(
            f"{path} cannot be used: {error.strerror}; make its folder writable for this user, or name another file "
            "with --database"
        ) from error
    except sqlite3.OperationalError as error:
        raise UnusableDatabaseError(
            f"{path} cannot be opened: {error}; see that it and its folder are writable for this user and not locked"
        ) from error
    except sqlite3.DatabaseError as error:
        raise UnusableDatabaseError(
            f"{path} is damaged or no database at all ({error}); restore a backup, or name another file with --database"
        ) from error
