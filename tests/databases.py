"""A database of each kind for one test, and what another program with it in its hands reads and changes."""

import asyncio
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from mcp_keys_server.stores.postgres.url import PostgresUrl
from tests.postgres_server import POSTGRES_URL, PROGRAMS, a_postgres_server

Result = TypeVar("Result")


def has_postgres() -> bool:
    return POSTGRES_URL in os.environ or PROGRAMS is not None


needs_postgres = pytest.mark.skipif(
    not has_postgres(),
    reason=f"needs PostgreSQL: its programs, or {POSTGRES_URL}, of a database for schemas of tests",
)
TABLES = ("meta", "users", "keys", "secrets", "claims", "sessions", "tool_pins", "events", "counters")
Rows = list[tuple[Any, ...]]

_servers = ExitStack()


@cache
def postgres_url() -> str:
    """Of the database in which tests make their schemas: the one that was named, or else a new server's own."""
    return os.environ.get(POSTGRES_URL) or _servers.enter_context(a_postgres_server()).url()


def stop_servers() -> None:
    postgres_url.cache_clear()
    _servers.close()


@dataclass(frozen=True)
class SqliteDatabase:
    """A file in a folder of its own."""

    path: Path

    def __str__(self) -> str:
        """What ``--database`` is given."""
        return str(self.path)

    @property
    def setting(self) -> Path:
        return self.path

    @property
    def folder(self) -> Path:
        """Where the test puts what belongs to it."""
        return self.path.parent

    def sql(self, *statements: str) -> Rows:
        """The rows of the last statement."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    def is_there(self) -> bool:
        return self.folder.exists()

    def files(self) -> list[str]:
        """The names of all that is in the folder, but for logs."""
        return sorted(entry.name for entry in self.folder.iterdir() if entry.suffix != ".log")

    def files_at_rest(self) -> list[str]:
        """Those there should be when nobody has it open."""
        return [self.path.name, f"{self.path.name}.proof-secret", f"{self.path.name}.reserve"]

    def stored_bytes(self) -> bytes:
        """All that is in the files of the database."""
        files = [self.path.with_name(self.path.name + part) for part in ("", "-shm", "-wal")]
        return b"".join(path.read_bytes() for path in files if path.exists())

    def another(self) -> "SqliteDatabase":
        """One beside it."""
        return SqliteDatabase(self.path.with_name("another.db"))

    def spoil(self) -> None:
        """Make it so that nobody can use it any more."""
        self.path.unlink()

    def do_after(self, action: str, table: str, *statements: str) -> None:
        """Do this whenever a row of the table has been changed so."""
        self.sql(f"CREATE TRIGGER doing AFTER {action} ON {table} BEGIN {'; '.join(statements)}; END")

    def tamper(self, *statements: str) -> None:
        """Do this in spite of what keeps entries of the ledger as they are."""
        self.sql("DROP TRIGGER an_event_is_never_changed", "DROP TRIGGER an_event_is_never_removed", *statements)

    def lose(self, *tables: str) -> None:
        """Make it so that these tables are not found, nor whatever is made of them."""
        self.sql("PRAGMA legacy_alter_table = ON", *(f"ALTER TABLE {table} RENAME TO {table}_gone" for table in tables))

    def refuse(self, action: str, table: str, *, saying: str, condition: str = "true") -> None:
        """Have it refuse this action on rows of the table, where the condition holds."""
        self.sql(
            f"CREATE TRIGGER refusing BEFORE {action} ON {table} WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{saying}'); END"
        )


@dataclass(frozen=True)
class PostgresDatabase:
    """A schema of the test's database."""

    schema: str
    folder: Path
    url: str = ""
    """As the program is told of it, where it is not to come as the owner as the test does."""

    def __str__(self) -> str:
        url = self.url or postgres_url()
        return f"{url}{'&' if '?' in url else '?'}schema={self.schema}"

    @property
    def setting(self) -> PostgresUrl:
        return PostgresUrl(str(self))

    def sql(self, *statements: str) -> Rows:
        async def work() -> Rows:
            connection = await asyncpg.connect(postgres_url(), server_settings={"search_path": self.schema})
            try:
                return [[tuple(row) for row in await connection.fetch(statement)] for statement in statements][-1]
            finally:
                await connection.close()

        return elsewhere(work)

    def is_there(self) -> bool:
        return bool(self.sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{self.schema}'"))

    def files(self) -> list[str]:
        return sorted(entry.name for entry in self.folder.iterdir() if entry.suffix != ".log")

    def files_at_rest(self) -> list[str]:
        return []

    def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> None:
        """Put very many rows there."""

        async def work() -> None:
            connection = await asyncpg.connect(postgres_url())
            try:
                await connection.copy_records_to_table(
                    table, schema_name=self.schema, columns=list(columns), records=records
                )
            finally:
                await connection.close()

        elsewhere(work)

    def stored_bytes(self) -> bytes:
        """All that is in its tables, and bytes also as they are."""
        rows = [row for table in TABLES for row in self.sql(f"SELECT * FROM {table}")]
        return repr(rows).encode() + b"".join(value for row in rows for value in row if isinstance(value, bytes))

    def another(self) -> "PostgresDatabase":
        return PostgresDatabase(f"{self.schema}_2", self.folder)

    def refuse(self, action: str, table: str, *, saying: str, condition: str = "true") -> None:
        self.sql(
            "CREATE FUNCTION refusing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {condition} THEN RAISE EXCEPTION '{saying}'; END IF; RETURN NEW; END $$",
            f"CREATE TRIGGER refusing BEFORE {action} ON {table} FOR EACH ROW EXECUTE FUNCTION refusing()",
        )

    def do_after(self, action: str, table: str, *statements: str) -> None:
        self.sql(
            "CREATE FUNCTION doing() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {'; '.join(statements)}; RETURN NULL; END $$",
            f"CREATE TRIGGER doing AFTER {action} ON {table} FOR EACH ROW EXECUTE FUNCTION doing()",
        )

    def tamper(self, *statements: str) -> None:
        self.sql("ALTER TABLE events DISABLE TRIGGER USER", *statements)

    def lose(self, *tables: str) -> None:
        self.sql("ALTER VIEW key_records RENAME TO key_records_gone")  # it goes on with tables under any name
        self.sql(*(f"ALTER TABLE {table} RENAME TO {table}_gone" for table in tables))

    def spoil(self) -> None:
        self.sql(f"ALTER SCHEMA {self.schema} RENAME TO {self.schema}_3")


Database = SqliteDatabase | PostgresDatabase


def elsewhere(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run it on an event loop of another thread, for a test that may be running on one itself."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


@contextmanager
def a_database(kind: str, folder: Path) -> Iterator[Database]:
    """An empty one, of which nothing is left at the end but what is in the folder."""
    if kind == "sqlite":
        yield SqliteDatabase(folder / "keys.db")
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = PostgresDatabase(f"test_{secrets.token_hex(6)}", folder)
    try:
        yield database
    finally:
        dropped = (f"DROP SCHEMA IF EXISTS {database.schema}{suffix} CASCADE" for suffix in ("", "_2", "_3"))
        database.sql("SET client_min_messages = error", *dropped)


KINDS = [pytest.param("sqlite"), pytest.param("postgres", marks=needs_postgres)]
