"""The shared SQL as SQLite takes it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import aiosqlite

from mcp_keys_server.stores.sql.database import Row
from mcp_keys_server.stores.sql.rows import to_text
from mcp_keys_server.stores.sql.statements import GET_USER
from mcp_keys_server.stores.sqlite.statements import numbered


class SqliteTransaction:
    """One on the connection that writes, which nobody else uses until its end."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self.ends_something = False
        """Whether a key or a user is ended in it."""

    async def fetch(self, statement: str, *values: object) -> list[Row]:
        return await fetch(self._connection, statement, values)

    async def do_for_each(self, statement: str, several: Iterable[Sequence[object]]) -> None:
        """Do it with each of these sequences of values."""
        await self._connection.executemany(numbered(statement), [_bound(values) for values in several])

    async def hold_user(self, user_id: str) -> list[Row]:
        return await self.fetch(GET_USER, user_id)  # there is one writer at a time in all of SQLite

    async def hold_ledger(self) -> None:
        pass  # as above

    async def tell_processes(self) -> None:
        self.ends_something = True  # of which there is nothing to tell: the others look twice a second


async def fetch(connection: aiosqlite.Connection, statement: str, values: Sequence[object]) -> list[Row]:
    """All rows, as plain tuples."""
    return [tuple(row) for row in await connection.execute_fetchall(numbered(statement), _bound(values))]


def _bound(values: Sequence[object]) -> list[object]:
    return [to_text(value) if isinstance(value, datetime) else value for value in values]
