"""Sessions of the pages, in the same SQLite file."""

from datetime import datetime

import aiosqlite

from mcp_keys_server.core.records import SessionRecord
from mcp_keys_server.stores import sqlite_rows as rows
from mcp_keys_server.stores import sqlite_statements as sql
from mcp_keys_server.stores.sqlite_connections import SqliteConnections


class SqliteSessions:
    """Sessions by the digest of their token."""

    def __init__(self, connections: SqliteConnections) -> None:
        self._connections = connections

    async def add_session(self, digest: bytes, key_id: str, *, at: datetime, forget: datetime, most: int) -> None:
        now = rows.to_text(at)

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.FORGET_SESSIONS, (rows.to_text(forget),))
            await connection.execute(sql.ADD_SESSION, (digest, key_id, now, now))
            await connection.execute(sql.END_OLDEST_SESSIONS, (key_id, most))

        await self._connections.write(work)

    async def find_session(self, digest: bytes) -> SessionRecord | None:
        return next(iter(await self._connections.read(rows.session_record, sql.FIND_SESSION, (digest,))), None)

    async def note_visit(self, digest: bytes, *, at: datetime) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.NOTE_VISIT, (rows.to_text(at), digest))

        await self._connections.write(work)

    async def end_session(self, digest: bytes) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.END_SESSION, (digest,))

        await self._connections.write(work)
