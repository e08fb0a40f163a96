"""Reading the records of secrets: on one connection, all that wait at a moment with one statement."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from mcp_keys_server.core.errors import StoreUnavailableError
from mcp_keys_server.stores.postgres import statements as sql
from mcp_keys_server.stores.postgres.connecting import (
    LOST,
    SECONDS_FOR_A_STATEMENT,
    Connect,
    Connection,
    reason,
    trouble,
)
from mcp_keys_server.stores.sql.database import Row

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.prepared_stmt import PreparedStatement

logger = logging.getLogger(__name__)

_CLOSING: Final = "the database is being closed"
_Asked: TypeAlias = dict[str, list[asyncio.Future[Row | None]]]


class PostgresLookups:
    """Whoever asks while a statement is on its way waits for the next one: what it gives was never read too early.

    That costs a fraction of what a connection for each of them would. Who is alone asks in person, because a task in
    between takes a third of the time of the statement. The same connection hears what other processes
    have changed, which only speeds up what is looked at twice a second anyway.
    """

    def __init__(self, connect: Connect, channel: str, heard: Callable[[], None]) -> None:
        self._connect = connect
        self._channel = channel
        self._heard = heard
        self._connection: Connection | None = None
        self._statement: PreparedStatement[asyncpg.Record] | None = None
        self._waiting: _Asked = {}
        self._asked: _Asked = {}
        self._carrier: asyncio.Task[None] | None = None
        self._is_asking = False
        self._is_lost = False
        self._is_closed = False

    async def look_up(self, prefix: str) -> Row | None:
        """The row of the secret with this prefix, as it is at some moment between the call and its answer.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer.
        """
        if self._is_closed:
            raise trouble(ConnectionError(_CLOSING))
        if self._is_asking:
            found: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(prefix, []).append(found)
            return await found
        self._is_asking = True
        try:
            return (await self._ask([prefix])).get(prefix)
        finally:
            self._is_asking = bool(self._waiting)
            if self._waiting:  # who has come meanwhile
                self._carrier = asyncio.create_task(self._carry())

    async def close(self) -> None:
        """Refuse those who wait."""
        self._is_closed = True
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.wait([self._carrier])
        for left in (self._asked, self._waiting):
            _refuse(left, trouble(ConnectionError(_CLOSING)))
        self._waiting = {}
        self._close()

    async def _carry(self) -> None:
        while self._waiting:
            self._asked, self._waiting = self._waiting, {}
            await self._answer(self._asked)
        self._is_asking = False

    async def _answer(self, asked: _Asked) -> None:
        try:
            rows = await self._ask(list(asked))
        except StoreUnavailableError as error:
            _refuse(asked, error)
        else:
            for prefix, futures in asked.items():
                for future in futures:
                    if not future.done():  # whoever asked has gone away
                        future.set_result(rows.get(prefix))

    async def _ask(self, prefixes: list[str]) -> dict[str, Row]:
        try:
            return {prefix: tuple(row) for prefix, *row in await self._fetch(prefixes)}
        except asyncio.CancelledError:
            self._close()  # because who asks next would have to wait until the server agrees
            raise
        except Exception as error:  # whatever it is, who asked is told and the next ones are served
            self._lose(error)
            if isinstance(error, TimeoutError):  # who came meanwhile would wait as long again
                waiting, self._waiting = self._waiting, {}
                _refuse(waiting, trouble(error))
            raise trouble(error) from error

    async def _fetch(self, prefixes: list[str]) -> "list[asyncpg.Record]":
        begun = asyncio.get_running_loop().time()
        if self._statement is not None:
            # The connection may have been lost while nobody used it, which shows only when somebody does.
            try:
                return await self._statement.fetch(prefixes)
            except LOST as error:
                if self._is_closed:
                    raise
                logger.warning("a connection to PostgreSQL was lost, and is made again: %s", reason(error))
                self._close()
        # All of it together, because whoever asked waits for all of it.
        async with asyncio.timeout_at(begun + SECONDS_FOR_A_STATEMENT):
            statement = await self._open()
            return await statement.fetch(prefixes)

    async def _open(self) -> "PreparedStatement[asyncpg.Record]":
        connection = await self._connect()
        try:
            await connection.execute(sql.PLAN_LOOKUPS)
            statement = await connection.prepare(sql.READ_SECRETS)
            await connection.add_listener(self._channel, lambda *_: self._heard())
            self._check_open()
        except BaseException:
            connection.terminate()
            raise
        self._connection, self._statement = connection, statement
        if self._is_lost:
            logger.info("PostgreSQL answers again")
            self._is_lost = False
        return statement

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionError(_CLOSING)

    def _lose(self, error: Exception) -> None:
        self._close()
        if not self._is_lost and not self._is_closed:
            logger.error("no key can be checked until PostgreSQL answers: %s", reason(error))
            self._is_lost = True

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = self._statement = None


def _refuse(asked: _Asked, error: StoreUnavailableError) -> None:
    for futures in asked.values():
        for future in futures:
            if not future.done():
                future.set_exception(error)
