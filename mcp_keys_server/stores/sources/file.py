"""The SQLite file of another program, read and never changed."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from mcp_keys_server.core.errors import UnusableSourceError
from mcp_keys_server.core.source_row import SourceRow

SECONDS_TO_WAIT_FOR_A_WRITER = 2


@contextmanager
def open_source(path: Path) -> Iterator[sqlite3.Connection]:
    """
    Raises:
        UnusableSourceError: It cannot be read; the message says why and what to do.
    """
    with _explained(path):
        if path.is_dir():
            raise UnusableSourceError(f"{path} is a folder; name the database file in it")
        path.open("rb").close()  # whose errors say more than SQLite's
        # By its URI, in which alone it can be said that nothing is to be written.
        uri = f"file:{quote(os.fspath(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=SECONDS_TO_WAIT_FOR_A_WRITER)) as connection:
            # One odd letter in one row is no reason to read none.
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            yield connection


def columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """Those of the table; none where there is no such table."""
    return frozenset(name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def rows(connection: sqlite3.Connection, statement: str) -> Sequence[SourceRow]:
    cursor = connection.execute(statement)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def require_columns(found: frozenset[str], needed: frozenset[str], *, table: str, where: str) -> None:
    """
    Raises:
        UnusableSourceError: It is no such table.
    """
    if not found:
        raise UnusableSourceError(f"{where} has no table {table}, so it is of another program; nothing was read")
    if missing := sorted(needed - found):
        raise UnusableSourceError(
            f"{where} has a table {table} without {', '.join(missing)}, so it is of another program; nothing was read"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UnusableSourceError(f"{path} does not exist; name the database file of the other system") from error
    except OSError as error:
        raise UnusableSourceError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnusableSourceError(f"the path of the source cannot be one: {error}") from error
    except sqlite3.OperationalError as error:
        raise UnusableSourceError(
            f"{path} cannot be read at the moment: {error}; stop the program that uses it, or name a copy"
        ) from error
    except sqlite3.DatabaseError as error:
        raise UnusableSourceError(f"{path} is damaged or no SQLite database ({error})") from error
