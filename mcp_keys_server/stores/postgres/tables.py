"""The tables of a PostgreSQL database read whole, or written row by row."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from mcp_keys_server.core.clock import Clock
from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.core.ledger import Entry
from mcp_keys_server.stores.postgres import schema as postgres_schema
from mcp_keys_server.stores.postgres.connecting import TROUBLE, Connection, connector, reason, refusal_explained
from mcp_keys_server.stores.postgres.statements import FOLLOW_EVENTS, GUARDS_AT_WORK, SERVER
from mcp_keys_server.stores.postgres.url import PostgresUrl
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql.database import Row
from mcp_keys_server.stores.sql.tables import GUARDS, ROWS_AT_A_TIME

SECONDS_FOR_A_STATEMENT = 600
"""Some of which read a whole table."""
# While one database is read or written the other one waits.
_WITHOUT_HURRY = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0"


@asynccontextmanager
async def open_snapshot(url: PostgresUrl) -> AsyncIterator["PostgresTables"]:
    """The tables as they are at this moment, whatever others write to them from here on. Nothing is changed.

    Raises:
        UnusableDatabaseError: It cannot be used; the message says what to do.
    """
    async with connection_to(url) as connection:
        tables = PostgresTables(url, connection)
        await tables.fetch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        await tables.fetch("SELECT 1 FROM meta")  # with which the snapshot begins
        yield tables


@asynccontextmanager
async def open_target(url: PostgresUrl) -> AsyncIterator["PostgresTables"]:
    """The tables, which are made if there are none, to be written.

    Raises:
        UnusableDatabaseError: They cannot be made or used; the message says what to do.
    """
    async with connection_to(url) as connection:
        with refusal_explained(url):
            await postgres_schema.prepare(connection, url, create=True, unfinished=True)
        yield PostgresTables(url, connection)


async def schema_version(url: PostgresUrl) -> int:
    """That of tables that are there and ours, and of no newer schema. Nothing is changed.

    Raises:
        UnusableDatabaseError: They are not; the message says what to do.
    """
    async with connection_to(url) as connection:
        with refusal_explained(url):
            return await postgres_schema.schema_version(connection, url)


@asynccontextmanager
async def connection_to(url: PostgresUrl) -> AsyncIterator[Connection]:
    with refusal_explained(url):
        connection = await connector(url)()
    try:
        with refusal_explained(url):
            await connection.execute(_WITHOUT_HURRY)
        yield connection
    finally:
        connection.terminate()


class PostgresTables:
    """One connection, which nobody else uses."""

    own_guards = GUARDS | {"no_event_is_removed"}

    def __init__(self, url: PostgresUrl, connection: Connection) -> None:
        self._url = url
        self._connection = connection

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        with self._trouble_named():
            found = await self._connection.fetch(statement, *values, timeout=SECONDS_FOR_A_STATEMENT)
            return [tuple(row) for row in found]

    async def entries(self, first: int) -> Sequence[Entry]:
        with self._trouble_named():
            return [rows.entry(row) for row in await self.fetch(FOLLOW_EVENTS, first, ROWS_AT_A_TIME)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self.fetch("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        try:
            yield
            await self.fetch("COMMIT")
        except BaseException:
            self._connection.terminate()  # and with it what was not committed
            raise

    async def do_for_each(self, statement: str, several: Iterable[Sequence[object]]) -> None:
        with self._trouble_named():
            await self._connection.executemany(statement, several, timeout=SECONDS_FOR_A_STATEMENT)

    async def troubles(self, clock: Clock) -> list[str]:
        """Of the clocks alone: what is damaged does not come out of the server."""
        try:
            with self._trouble_named():
                await postgres_schema.check_clock(self._connection, clock)
        except StoreUnavailableError as error:
            return [str(error)]
        return []

    async def guards(self) -> set[str]:
        return {name for (name,) in await self.fetch(GUARDS_AT_WORK)}

    async def server(self, clock: Clock) -> dict[str, object]:
        ((version, role, synchronous_commit, fsync),) = await self.fetch(SERVER)
        with self._trouble_named():
            apart = await postgres_schema.skew(self._connection, clock)
        return {
            "server_version": version,
            "role": role,
            "synchronous_commit": synchronous_commit,
            "fsync": fsync,
            "clock_seconds_apart": round(apart.total_seconds(), 3),
        }

    @contextmanager
    def _trouble_named(self) -> Iterator[None]:
        try:
            yield
        except TROUBLE as error:
            raise StoreUnavailableError(f"{self._url} cannot be read or written: {reason(error)}") from error
