"""The connections to one PostgreSQL database: one on which records of secrets are read, and a few for all else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

import asyncpg

from mcp_keys_server.core.clock import Clock, utc_now
from mcp_keys_server.core.errors import StoreUnavailableError, UnusableDatabaseError
from mcp_keys_server.stores.postgres import schema as postgres_schema
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connecting import (
    LOST,
    SECONDS_TO_CONNECT,
    Connect,
    PooledConnection,
    connector,
    refusal_explained,
    trouble_named,
)
from mcp_keys_server.stores.postgres.lookups import PostgresLookups
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql.database import Row, Work, Writes

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MOST_TRIES = 4
"""Of a write that met another one half-way, so that the server ended one of the two."""
SECONDS_TO_CHECK = 4


@asynccontextmanager
async def open_postgres(
    url: PostgresUrl, *, create: bool, most: int, clock: Clock = utc_now
) -> AsyncIterator["PostgresConnections"]:
    """The connections to this database, so many at most and one for look-ups; its tables are made if there are none
    and they may be.

    Raises:
        UnusableDatabaseError: It cannot be made or used; the message says what to do.
    """
    connect = connector(url)
    with refusal_explained(url):
        connection = await connect()
        try:
            checksum_secrets = await postgres_schema.prepare(connection, url, create=create)
            await postgres_schema.check_clock(connection, clock)
        except StoreUnavailableError as error:
            raise UnusableDatabaseError(f"{url} cannot be used: {error}") from None
        finally:
            connection.terminate()
    async with AsyncExitStack() as stack:
        pool = await asyncpg.create_pool(connect=connect, min_size=0, max_size=most, reset=_leave_as_it_is)
        stack.callback(pool.terminate)
        connections = PostgresConnections(connect, pool, url, checksum_secrets, clock)
        stack.push_async_callback(connections.lookups.close)
        stack.push_async_callback(connections.writes.finish)
        yield connections


async def _leave_as_it_is(_: object) -> None:
    """Nothing here leaves anything on a connection, and to reset it would be another round trip."""


class PostgresTransaction:
    """One in which each statement sees what was committed before it, and waits for whoever holds what it changes."""

    def __init__(self, connection: PooledConnection) -> None:
        self._connection = connection

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        return [tuple(row) for row in await self._connection.fetch(statement, *values)]

    async def hold_user(self, user_id: str) -> list[Row]:
        return await self.fetch(sql.HOLD_USER, user_id)

    async def hold_ledger(self) -> None:
        await self.fetch(sql.HOLD_LEDGER)

    async def tell_processes(self) -> None:
        await self.fetch(sql.TELL_PROCESSES)


class PostgresConnections:
    """A pool that grows to its bound and no further, and reconnects by itself; whoever waits too long is refused."""

    def __init__(
        self,
        connect: Connect,
        pool: "asyncpg.Pool[asyncpg.Record]",
        url: PostgresUrl,
        checksum_secrets: Sequence[bytes],
        clock: Clock,
    ) -> None:
        self.checksum_secrets = checksum_secrets
        self._pool = pool
        self.clock = clock
        self._writes = Writes()
        self.lookups = PostgresLookups(connect, url.schema, self._writes.hear_of_others)

    async def read(self, make: Callable[[Row], Result], statement: str, *values: object) -> list[Result]:
        with trouble_named():
            async with self._connection() as connection:
                return [make(tuple(row)) for row in await connection.fetch(statement, *values)]

    async def write(self, work: Work[Result]) -> Result:
        return await self._writes.run(self._transact(work))

    @property
    def writes(self) -> Writes:
        return self._writes

    async def check(self) -> None:
        """
        Raises:
            StoreUnavailableError: PostgreSQL does not answer, or not with the time of this machine.
        """
        with trouble_named():
            async with asyncio.timeout(SECONDS_TO_CHECK):
                await self.lookups.look_up("")
                async with self._connection() as connection:
                    await postgres_schema.check_clock(connection, self.clock)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PooledConnection]:
        try:
            connection = await self._pool.acquire(timeout=SECONDS_TO_CONNECT)
        except TimeoutError:
            raise StoreUnavailableError(
                f"PostgreSQL gave no connection within {SECONDS_TO_CONNECT} seconds: it does not answer, or all "
                f"{self._pool.get_max_size()} of this process are in use (database_connections)"
            ) from None
        try:
            yield connection
        except (TimeoutError, *LOST):
            with suppress(asyncpg.InterfaceError):  # it is gone already, and what is told is why
                connection.terminate()  # of a slow one, to wait until the server agrees would take as long again
            raise
        finally:
            await self._pool.release(connection)

    async def _transact(self, work: Work[Result]) -> Result:
        self._writes.check_open()
        with trouble_named():
            for _ in range(MOST_TRIES - 1):
                try:
                    return await self._try(work)
                except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                    continue
            return await self._try(work)

    async def _try(self, work: Callable[[PostgresTransaction], Awaitable[Result]]) -> Result:
        async with self._connection() as connection:
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            try:
                with self._writes.changing():
                    result = await work(PostgresTransaction(connection))
                    await connection.execute("COMMIT")
            except (TimeoutError, *LOST):
                raise  # and the connection is dropped
            except BaseException:
                await connection.execute("ROLLBACK")
                raise
            return result
