"""Sessions of the pages, in the same database."""

from datetime import datetime

from mcp_keys_server.core.records import SessionRecord
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql import statements as sql
from mcp_keys_server.stores.sql.database import SqlDatabase, Transaction


class SqlSessions:
    """Sessions by the digest of their token."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add_session(self, digest: bytes, key_id: str, *, at: datetime, forget: datetime, most: int) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.FORGET_SESSIONS, forget)
            await transaction.fetch(sql.ADD_SESSION, digest, key_id, at)
            await transaction.fetch(sql.END_OLDEST_SESSIONS, key_id, most)

        await self._database.write(work)

    async def find_session(self, digest: bytes) -> SessionRecord | None:
        return next(iter(await self._database.read(rows.session_record, sql.FIND_SESSION, digest)), None)

    async def note_visit(self, digest: bytes, *, at: datetime) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.NOTE_VISIT, at, digest)

        await self._database.write(work)

    async def end_session(self, digest: bytes) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(sql.END_SESSION, digest)

        await self._database.write(work)
