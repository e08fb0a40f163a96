"""The embedded store: one SQLite file, shared by any number of processes of one machine."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import aiosqlite

from mcp_keys_server.core.changes import Decide
from mcp_keys_server.core.errors import UserExistsError
from mcp_keys_server.core.ledger import Entry, Event
from mcp_keys_server.core.records import KeyRecord, SecretRecord, Use, UserRecord
from mcp_keys_server.stores import sqlite_changes as changes
from mcp_keys_server.stores import sqlite_rows as rows
from mcp_keys_server.stores import sqlite_statements as sql
from mcp_keys_server.stores.sqlite_connections import TROUBLE, SqliteConnections, trouble
from mcp_keys_server.stores.sqlite_file import CHECKSUM_SECRET
from mcp_keys_server.stores.sqlite_rows import to_text

Result = TypeVar("Result")

PUBLIC_URL = "public_url"


class SqliteStore:
    """Users, keys, secrets and the ledger."""

    def __init__(self, connections: SqliteConnections) -> None:
        self._connections = connections
        (row,) = connections.look_up(sql.READ_META, (CHECKSUM_SECRET,))
        self._checksum_secret: bytes = row[0]

    @property
    def checksum_secret(self) -> bytes:
        return self._checksum_secret

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        try:
            found = self._connections.look_up(sql.READ_SECRET, (prefix,))
            return rows.secret_record(found[0]) if found else None
        except TROUBLE as error:
            raise trouble(error) from error

    async def note_public_url(self, url: str) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.PUT_META, (PUBLIC_URL, url.encode()))

        await self._connections.write(work)

    async def noted_public_url(self) -> str | None:
        found = await self._connections.read(tuple, sql.READ_META, (PUBLIC_URL,))
        return found[0][0].decode() if found else None

    async def replace_key_hash(self, prefix: str, *, old: str, new: str) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.REPLACE_KEY_HASH, (new, prefix, old))

        await self._connections.write(work)

    async def change(self, user_id: str, decide: Decide[Result]) -> Result:
        async def work(connection: aiosqlite.Connection) -> Result:
            decision = decide(await changes.read_holdings(connection, user_id))
            for change in decision.changes:
                await changes.write_change(connection, user_id, change)
            await changes.write_events(connection, decision.events)
            return decision.answer

        return await self._connections.write(work)

    async def add_event(self, event: Event) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await changes.write_events(connection, [event])

        await self._connections.write(work)

    async def list_events(self, user_id: str | None, *, before: int, limit: int) -> Sequence[Entry]:
        asked = {"user_id": user_id, "before": before, "limit": limit}
        return await self._connections.read(rows.entry, sql.LIST_EVENTS, asked)

    async def follow_events(self, first: int, *, limit: int) -> Sequence[Entry]:
        return await self._connections.read(rows.followed_entry, sql.FOLLOW_EVENTS, (first, limit))

    async def add_user(self, user: UserRecord, event: Event) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            about = (user.user_id, user.email, user.name, to_text(user.created_at))
            if (await connection.execute(sql.ADD_USER, about)).rowcount == 0:
                raise UserExistsError
            await changes.write_events(connection, [event])

        await self._connections.write(work)

    async def find_user(self, user_id_or_email: str) -> UserRecord | None:
        return next(iter(await self._connections.read(rows.user_record, sql.FIND_USER, (user_id_or_email,))), None)

    async def list_users(self) -> Sequence[UserRecord]:
        return await self._connections.read(rows.user_record, sql.LIST_USERS, ())

    async def find_invitation(self, digest: bytes) -> KeyRecord | None:
        return next(iter(await self._connections.read(rows.key_record, sql.FIND_INVITATION, (digest,))), None)

    async def has_secrets(self) -> bool:
        return bool(await self._connections.read(tuple, sql.ANY_SECRET, ()))

    async def find_key(self, user_id: str, key_id: str) -> KeyRecord | None:
        return next(iter(await self._connections.read(rows.key_record, sql.FIND_KEY, (user_id, key_id))), None)

    async def find_owner(self, key_id: str) -> str | None:
        return next(iter(await self._connections.read(rows.only_text, sql.FIND_OWNER, (key_id,))), None)

    async def list_keys(
        self, user_id: str, *, include_ended: bool, now: datetime, after: str | None, limit: int
    ) -> Sequence[KeyRecord]:
        asked = {"user_id": user_id, "include_ended": include_ended, "now": to_text(now)}
        page = asked | {"after": after, "limit": limit}
        return await self._connections.read(rows.key_record, sql.LIST_KEYS, page)

    async def list_all_keys(self, user_id: str | None, *, include_ended: bool, now: datetime) -> Sequence[KeyRecord]:
        asked = {"user_id": user_id, "include_ended": include_ended, "now": to_text(now)}
        return await self._connections.read(rows.key_record, sql.LIST_ALL_KEYS, asked)

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        written = [
            {"prefix": prefix, "count": use.count, "at": to_text(use.last_used_at), "from": use.last_used_from}
            for prefix, use in uses.items()
        ]

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.executemany(sql.RECORD_USE, written)
            await connection.executemany(sql.RECORD_USE_OF_SECRET, written)

        await self._connections.write(work)

    async def check(self) -> None:
        await self._connections.read(tuple, sql.READ_META, (CHECKSUM_SECRET,))
