"""An SQLite file read whole, or written row by row."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import aiosqlite
import anyio.to_thread

from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.ledger import Entry
from mcp_keys_server.stores.sql.database import Row
from mcp_keys_server.stores.sql.tables import GUARDS, ROWS_AT_A_TIME
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.sqlite.connections import SECONDS_TO_WAIT_FOR_A_WRITER, TROUBLE
from mcp_keys_server.stores.sqlite.statements import FOLLOW_EVENTS, numbered
from mcp_keys_server.stores.sqlite.store import followed_entry
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction, fetch


@asynccontextmanager
async def open_snapshot(path: Path) -> AsyncIterator["SqliteTables"]:
    """The file as it is at this moment, whatever others write to it from here on. Nothing is changed."""
    async with _connection(path, "ro") as connection:
        tables = SqliteTables(path, connection)
        await tables.fetch("BEGIN DEFERRED")
        await tables.fetch(numbered("SELECT 1 FROM sqlite_master"))  # with which the snapshot begins
        yield tables


@asynccontextmanager
async def open_target(path: Path) -> AsyncIterator["SqliteTables"]:
    """The file, which is made if there is none, to be written.

    Raises:
        UnusableDatabaseError: It cannot be made or used; the message says what to do.
    """
    await anyio.to_thread.run_sync(partial(sqlite_file.prepare, path, unfinished=True))
    async with _connection(path, "rw") as connection:
        tables = SqliteTables(path, connection)
        await tables.fetch("PRAGMA synchronous = FULL")
        await tables.fetch("PRAGMA foreign_keys = ON")
        yield tables


@asynccontextmanager
async def _connection(path: Path, mode: str) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(
        sqlite_file.uri(path, mode=mode), uri=True, isolation_level=None, timeout=SECONDS_TO_WAIT_FOR_A_WRITER
    ) as connection:
        yield connection


class SqliteTables:
    """One connection, which nobody else uses."""

    own_guards = GUARDS

    def __init__(self, path: Path, connection: aiosqlite.Connection) -> None:
        self._path = path
        self._connection = connection

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        with self._trouble_named():
            return await fetch(self._connection, statement, values)

    async def entries(self, first: int) -> Sequence[Entry]:
        return [followed_entry(row) for row in await self.fetch(FOLLOW_EVENTS, first, ROWS_AT_A_TIME)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self.fetch("BEGIN IMMEDIATE")
        try:
            yield
            await self.fetch("COMMIT")
        except BaseException:
            await self._connection.rollback()
            raise

    async def do_for_each(self, statement: str, several: Iterable[Sequence[object]]) -> None:
        with self._trouble_named():
            await SqliteTransaction(self._connection).do_for_each(statement, several)

    async def troubles(self, clock: Clock) -> list[str]:
        del clock
        return await self.damage()

    async def damage(self) -> list[str]:
        """What SQLite itself finds, in its words."""
        found = [f"the file is damaged: {what}" for (what,) in await self.fetch("PRAGMA integrity_check(10)")]
        lost = [
            f"a row of {row[0]} belongs to none of {row[2]}" for row in await self.fetch("PRAGMA foreign_key_check")
        ]
        return [what for what in found if not what.endswith(": ok")] + lost[:10]

    async def guards(self) -> set[str]:
        return {name for (name,) in await self.fetch("SELECT name FROM sqlite_master WHERE type = 'trigger'")}

    async def server(self, clock: Clock) -> dict[str, object]:
        """None: the file is kept by this very program."""
        del clock
        return {}

    @contextmanager
    def _trouble_named(self) -> Iterator[None]:
        try:
            yield
        except TROUBLE as error:
            raise StoreUnavailableError(f"{self._path} cannot be read or written: {error}") from error
