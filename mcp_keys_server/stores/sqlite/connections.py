"""The connections to one SQLite file: who writes, who reads, and what happens when they cannot."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
)
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite
import anyio.to_thread

from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.stores.sql.checksum_secrets import CHECKSUM_SECRET, whole_checksum_secrets
from mcp_keys_server.stores.sql.database import Row, Writes
from mcp_keys_server.stores.sqlite import file as sqlite_file
from mcp_keys_server.stores.sqlite.live_records import LiveRecords
from mcp_keys_server.stores.sqlite.opened_file import OpenedFile
from mcp_keys_server.stores.sqlite.reserve import Reserve
from mcp_keys_server.stores.sqlite.statements import READ_META
from mcp_keys_server.stores.sqlite.transaction import SqliteTransaction, fetch

logger = logging.getLogger(__name__)

SECONDS_TO_WAIT_FOR_A_WRITER = 5
SECONDS_TO_WAIT_ON_THE_LOOP = 0.1

TROUBLE = (sqlite3.Error, OSError, ValueError, OverflowError)
"""What the driver and the system say, and what a damaged row gives rise to."""

Result = TypeVar("Result")


@asynccontextmanager
async def open_connections(path: Path, *, create: bool = True) -> AsyncIterator["SqliteConnections"]:
    """The connections to this file, which is made if there is none and it may be.

    Raises:
        UnusableDatabaseError: The file cannot be made or used; the message says what to do.
    """
    await anyio.to_thread.run_sync(partial(sqlite_file.prepare, path, create=create))
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(
            aiosqlite.connect(
                sqlite_file.uri(path, mode="rw"),
                uri=True,
                isolation_level=None,
                timeout=SECONDS_TO_WAIT_FOR_A_WRITER,
            )
        )
        # FULL, because NORMAL brings revoked keys back to life after a loss of power.
        await writer.execute("PRAGMA synchronous = FULL")
        await writer.execute("PRAGMA foreign_keys = ON")
        # Because some builds of SQLite cut the log off by themselves, which would look like the work of other hands.
        await writer.execute("PRAGMA journal_size_limit = -1")
        reader = await stack.enter_async_context(
            aiosqlite.connect(sqlite_file.uri(path, mode="ro"), uri=True, timeout=SECONDS_TO_WAIT_FOR_A_WRITER)
        )
        live = stack.enter_context(
            closing(sqlite3.connect(sqlite_file.uri(path, mode="ro"), uri=True, timeout=SECONDS_TO_WAIT_ON_THE_LOOP))
        )
        ((found,),) = live.execute(READ_META, (CHECKSUM_SECRET,)).fetchall()
        connections = SqliteConnections(path, writer, reader, live, whole_checksum_secrets(path, found))
        await anyio.to_thread.run_sync(connections.reserve.keep)
        stack.push_async_callback(connections.writes.finish)
        yield connections


class SqliteConnections:
    """Three connections: one that writes, one that reads lists, and one that reads the records of secrets."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        live: sqlite3.Connection,
        checksum_secrets: Sequence[bytes],
    ) -> None:
        self.checksum_secrets = checksum_secrets
        self._writer = writer
        self._reader = reader
        self._file = OpenedFile(path)
        self.reserve = Reserve(path)
        self.live = LiveRecords(live, self._file)
        self._turn = asyncio.Lock()
        self._writes = Writes()

    async def read(self, make: Callable[[Row], Result], statement: str, *values: object) -> list[Result]:
        with _trouble_named():
            self._file.check()
            return [make(row) for row in await fetch(self._reader, statement, values)]

    async def write(self, work: Callable[[SqliteTransaction], Awaitable[Result]]) -> Result:
        return await self._writes.run(self._transact(work))

    @property
    def writes(self) -> Writes:
        return self._writes

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        """Waits no longer for the writers before it than it would for those of other processes."""
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT_FOR_A_WRITER):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreUnavailableError("too many writes are waiting for the SQLite database") from None
        try:
            self._writes.check_open()
            yield
        finally:
            self._turn.release()

    async def _transact(self, work: Callable[[SqliteTransaction], Awaitable[Result]]) -> Result:
        with _trouble_named():
            async with self._turn_to_write():
                self._file.check()
                self._file.check_beside()
                transaction = SqliteTransaction(self._writer)
                try:
                    result = await self._try(work, transaction)
                except sqlite3.Error as error:
                    if not (_is_full(error) and transaction.ends_something and self.reserve.give_up()):
                        raise
                    logger.error("the disk is full; what ends a key is written where room was kept for it")  # noqa: TRY400 - nothing has failed yet
                    result = await self._try(work, transaction)
                self._file.remember_sizes()
                if not self.reserve.is_whole:
                    self.reserve.keep()
                return result

    async def _try(
        self, work: Callable[[SqliteTransaction], Awaitable[Result]], transaction: SqliteTransaction
    ) -> Result:
        try:
            if self._writer.in_transaction:  # one whose rollback has failed, too
                await self._writer.rollback()
            await self._writer.execute("BEGIN IMMEDIATE")
            with self._writes.changing():
                result = await work(transaction)
                await self._writer.execute("COMMIT")
        except BaseException:
            await self._writer.rollback()
            raise
        return result


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


@contextmanager
def _trouble_named() -> Iterator[None]:
    try:
        yield
    except TROUBLE as error:
        raise trouble(error) from error


def trouble(error: Exception) -> StoreUnavailableError:
    if isinstance(error, sqlite3.Error | OSError):
        return StoreUnavailableError(f"the SQLite database does not answer: {error}")
    return StoreUnavailableError(
        f"a row of the SQLite database is damaged: {error}; 'mcp-keys-server database check' says which"
    )
