"""The embedded store: one SQLite file, shared by any number of processes of one machine."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite
import anyio.to_thread

from mcp_keys_server.core.errors import (
    KeyNoLongerGoodError,
    PrefixTakenError,
    StoreUnavailableError,
    UserExistsError,
)
from mcp_keys_server.core.records import KeyRecord, SecretRecord, Use, UserRecord
from mcp_keys_server.stores import sqlite_file
from mcp_keys_server.stores import sqlite_statements as sql

SECONDS_TO_WAIT_FOR_A_WRITER = 5
SECONDS_TO_WAIT_ON_THE_LOOP = 0.1

# What the driver and the system say, and what a damaged row gives rise to.
_TROUBLE = (sqlite3.Error, OSError, ValueError)

Result = TypeVar("Result")
Work = Callable[[aiosqlite.Connection], Awaitable[Result]]


@asynccontextmanager
async def open_sqlite_store(path: Path, *, create: bool = True) -> AsyncIterator["SqliteStore"]:
    """The store on this file, which is made if there is none and it may be.

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
        reader = await stack.enter_async_context(
            aiosqlite.connect(sqlite_file.uri(path, mode="ro"), uri=True, timeout=SECONDS_TO_WAIT_FOR_A_WRITER)
        )
        live = stack.enter_context(
            closing(sqlite3.connect(sqlite_file.uri(path, mode="ro"), uri=True, timeout=SECONDS_TO_WAIT_ON_THE_LOOP))
        )
        store = SqliteStore(path, writer, reader, live)
        stack.push_async_callback(store.finish_writing)
        yield store


class SqliteStore:
    """Three connections: one that writes, one that reads lists, and one that reads the record of a secret.

    The last is used on the event loop's own thread: a look-up takes a few microseconds, less than handing it to
    another thread and back, and in WAL mode a reader never waits for a writer.
    """

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection, live: sqlite3.Connection
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._live = live
        self._file = sqlite_file.OpenedFile(path)
        self._turn = asyncio.Lock()
        self._closing = False
        self._writes: set[asyncio.Task[object]] = set()
        self._checksum_secret: bytes = live.execute(sql.READ_META, (sqlite_file.CHECKSUM_SECRET,)).fetchall()[0][0]

    @property
    def checksum_secret(self) -> bytes:
        return self._checksum_secret

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        try:
            self._file.check()
            # All rows, although there is one at most: a half-read cursor would hold the database's snapshot.
            rows = self._live.execute(sql.READ_SECRET, (prefix,)).fetchall()
            return sql.secret_record(rows[0]) if rows else None
        except _TROUBLE as error:  # and no context manager, which would take a tenth of the time of the read
            raise _trouble(error) from error

    async def replace_key_hash(self, prefix: str, *, old: str, new: str) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.REPLACE_KEY_HASH, (new, prefix, old))

        await self._write(work)

    async def add_user(self, user: UserRecord) -> None:
        async def work(connection: aiosqlite.Connection) -> int:
            about = (user.user_id, user.email, user.name, sql.to_text(user.created_at))
            return (await connection.execute(sql.ADD_USER, about)).rowcount

        if await self._write(work) == 0:
            raise UserExistsError

    async def find_user(self, user_id_or_email: str) -> UserRecord | None:
        return next(iter(await self._read(sql.user_record, sql.FIND_USER, (user_id_or_email,))), None)

    async def list_users(self) -> Sequence[UserRecord]:
        return await self._read(sql.user_record, sql.LIST_USERS, ())

    async def add_key(self, key: KeyRecord, key_hash: str) -> None:
        created_at = sql.to_text(key.created_at)
        about_the_key = (
            key.key_id,
            key.user_id,
            key.name,
            sql.words_to_text(key.grant.scopes),
            sql.words_to_text(key.grant.aliases),
            key.parent_key_id,
            created_at,
            sql.to_text(key.grant.expires_at),
        )

        async def work(connection: aiosqlite.Connection) -> None:
            if await connection.execute_fetchall(sql.PREFIX_IS_TAKEN, (key.prefix,)):
                raise PrefixTakenError
            await _require_good(connection, key.parent_key_id, key.created_at)
            await connection.execute(sql.ADD_KEY, about_the_key)
            await connection.execute(sql.ADD_SECRET, (key.prefix, key.key_id, key_hash, created_at))

        await self._write(work)

    async def find_key(self, user_id: str, key_id: str) -> KeyRecord | None:
        return next(iter(await self._read(sql.key_record, sql.FIND_KEY, (user_id, key_id))), None)

    async def find_owner(self, key_id: str) -> str | None:
        return next(iter(await self._read(sql.only_text, sql.FIND_OWNER, (key_id,))), None)

    async def list_keys(
        self, user_id: str, *, include_revoked: bool, after: str | None, limit: int
    ) -> Sequence[KeyRecord]:
        page = {"user_id": user_id, "include_revoked": include_revoked, "after": after, "limit": limit}
        return await self._read(sql.key_record, sql.LIST_KEYS, page)

    async def list_all_keys(self, user_id: str | None, *, include_revoked: bool) -> Sequence[KeyRecord]:
        asked = {"user_id": user_id, "include_revoked": include_revoked}
        return await self._read(sql.key_record, sql.LIST_ALL_KEYS, asked)

    async def revoke_key(self, user_id: str, key_id: str, *, at: datetime, reason: str | None) -> KeyRecord | None:
        async def work(connection: aiosqlite.Connection) -> KeyRecord | None:
            await connection.execute(sql.REVOKE_KEY, (sql.to_text(at), reason, user_id, key_id))
            rows = await connection.execute_fetchall(sql.FIND_KEY, (user_id, key_id))
            return next((sql.key_record(tuple(row)) for row in rows), None)

        return await self._write(work)

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.executemany(
                sql.RECORD_USE,
                [(use.count, sql.to_text(use.last_used_at), key_id) for key_id, use in uses.items()],
            )

        await self._write(work)

    async def check(self) -> None:
        await self._read(tuple, sql.READ_META, (sqlite_file.CHECKSUM_SECRET,))

    async def finish_writing(self) -> None:
        """Wait for the write that has begun; those that wait behind it are refused."""
        self._closing = True
        if self._writes:
            await asyncio.wait(self._writes)

    async def _read(
        self, make: Callable[[sql.Row], Result], statement: str, values: tuple[object, ...] | Mapping[str, object]
    ) -> list[Result]:
        with _trouble_named():
            self._file.check()
            return [make(tuple(row)) for row in await self._reader.execute_fetchall(statement, values)]

    async def _write(self, work: Work[Result]) -> Result:
        """Do the work in one transaction, which runs to its end even when the caller is cancelled half-way.

        Cut short, it would stay open on the one connection, and the next writer's commit would make it durable.
        """
        write = asyncio.create_task(self._transact(work))
        self._writes.add(write)
        write.add_done_callback(self._forget)
        return await asyncio.shield(write)

    def _forget(self, write: asyncio.Task[object]) -> None:
        self._writes.discard(write)
        with suppress(asyncio.CancelledError):
            write.exception()  # looked at, or else asyncio logs it where the caller has gone away

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        """Waits no longer for the writers before it than it would for those of other processes."""
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT_FOR_A_WRITER):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreUnavailableError("too many writes are waiting for the SQLite database") from None
        try:
            if self._closing:
                raise StoreUnavailableError("the SQLite database is being closed")
            yield
        finally:
            self._turn.release()

    async def _transact(self, work: Work[Result]) -> Result:
        with _trouble_named():
            async with self._turn_to_write():
                self._file.check()
                await self._writer.execute("BEGIN IMMEDIATE")
                try:
                    result = await work(self._writer)
                    await self._writer.execute("COMMIT")
                except BaseException:
                    await self._writer.rollback()
                    raise
                return result


async def _require_good(connection: aiosqlite.Connection, key_id: str | None, now: datetime) -> None:
    # Within the transaction of the change: bcrypt and the queue of writers take time, in which a stolen key may have
    # been revoked, and its last act must not be a key that outlives it.
    if key_id is not None and not await connection.execute_fetchall(sql.IS_GOOD, (key_id, sql.to_text(now))):
        raise KeyNoLongerGoodError


@contextmanager
def _trouble_named() -> Iterator[None]:
    try:
        yield
    except _TROUBLE as error:
        raise _trouble(error) from error


def _trouble(error: Exception) -> StoreUnavailableError:
    return StoreUnavailableError(f"the SQLite database does not answer: {error}")
