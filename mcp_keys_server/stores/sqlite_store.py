"""The embedded store: one SQLite file, shared by any number of processes of one machine."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import aiosqlite

from mcp_keys_server.core.errors import (
    ClaimNotOpenError,
    KeyNoLongerGoodError,
    PrefixTakenError,
    UserExistsError,
)
from mcp_keys_server.core.records import Claim, Claimant, KeyRecord, SecretRecord, Use, UserRecord
from mcp_keys_server.stores import sqlite_statements as sql
from mcp_keys_server.stores.sqlite_connections import TROUBLE, SqliteConnections, trouble
from mcp_keys_server.stores.sqlite_file import CHECKSUM_SECRET
from mcp_keys_server.stores.sqlite_statements import to_text

PUBLIC_URL = "public_url"


class SqliteStore:
    """Users, keys and secrets."""

    def __init__(self, connections: SqliteConnections) -> None:
        self._connections = connections
        (row,) = connections.look_up(sql.READ_META, (CHECKSUM_SECRET,))
        self._checksum_secret: bytes = row[0]

    @property
    def checksum_secret(self) -> bytes:
        return self._checksum_secret

    async def read_secret(self, prefix: str) -> SecretRecord | None:
        try:
            rows = self._connections.look_up(sql.READ_SECRET, (prefix,))
            return sql.secret_record(rows[0]) if rows else None
        except TROUBLE as error:
            raise trouble(error) from error

    async def note_public_url(self, url: str) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.PUT_META, (PUBLIC_URL, url.encode()))

        await self._connections.write(work)

    async def noted_public_url(self) -> str | None:
        rows = await self._connections.read(tuple, sql.READ_META, (PUBLIC_URL,))
        return rows[0][0].decode() if rows else None

    async def replace_key_hash(self, prefix: str, *, old: str, new: str) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(sql.REPLACE_KEY_HASH, (new, prefix, old))

        await self._connections.write(work)

    async def add_user(self, user: UserRecord) -> None:
        async def work(connection: aiosqlite.Connection) -> int:
            about = (user.user_id, user.email, user.name, to_text(user.created_at))
            return (await connection.execute(sql.ADD_USER, about)).rowcount

        if await self._connections.write(work) == 0:
            raise UserExistsError

    async def find_user(self, user_id_or_email: str) -> UserRecord | None:
        return next(iter(await self._connections.read(sql.user_record, sql.FIND_USER, (user_id_or_email,))), None)

    async def list_users(self) -> Sequence[UserRecord]:
        return await self._connections.read(sql.user_record, sql.LIST_USERS, ())

    async def add_key(self, key: KeyRecord, key_hash: str) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await _add_key(connection, key)
            await _add_secret(connection, (key.prefix, key.key_id, key_hash, to_text(key.created_at)))

        await self._connections.write(work)

    async def add_unclaimed_key(self, key: KeyRecord, claim: Claim, *, invitation_digest: bytes | None) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            if invitation_digest is not None:
                replacing = {"user_id": key.user_id, "now": to_text(key.created_at)}
                await connection.execute(sql.REVOKE_OPEN_INVITATIONS, replacing)
            await _add_key(connection, key)
            await connection.execute(sql.ADD_CLAIM, (key.key_id, to_text(claim.lapses_at), invitation_digest))

        await self._connections.write(work)

    async def spend_claim(
        self, key_id: str, claimant: Claimant, *, prefix: str, key_hash: str, at: datetime
    ) -> KeyRecord:
        now = to_text(at)

        async def work(connection: aiosqlite.Connection) -> KeyRecord:
            spent = {"key_id": key_id, "now": now, "from": claimant.address}
            if (await connection.execute(sql.SPEND_CLAIM, spent)).rowcount == 0:
                raise ClaimNotOpenError
            await _require_good(connection, claimant.key_id, at)
            await _add_secret(connection, (prefix, key_id, key_hash, now))
            # Read here, because a read that failed afterwards would lose the secret together with the claim.
            (row,) = await connection.execute_fetchall(sql.CLAIMED_KEY, (key_id,))
            return sql.key_record(tuple(row))

        return await self._connections.write(work)

    async def find_invitation(self, digest: bytes) -> KeyRecord | None:
        return next(iter(await self._connections.read(sql.key_record, sql.FIND_INVITATION, (digest,))), None)

    async def rename_key(self, user_id: str, key_id: str, name: str) -> KeyRecord | None:
        return await self._change_key(user_id, key_id, sql.RENAME_KEY, (name, user_id, key_id))

    async def has_secrets(self) -> bool:
        return bool(await self._connections.read(tuple, sql.ANY_SECRET, ()))

    async def find_key(self, user_id: str, key_id: str) -> KeyRecord | None:
        return next(iter(await self._connections.read(sql.key_record, sql.FIND_KEY, (user_id, key_id))), None)

    async def find_owner(self, key_id: str) -> str | None:
        return next(iter(await self._connections.read(sql.only_text, sql.FIND_OWNER, (key_id,))), None)

    async def list_keys(
        self, user_id: str, *, include_ended: bool, now: datetime, after: str | None, limit: int
    ) -> Sequence[KeyRecord]:
        asked = {"user_id": user_id, "include_ended": include_ended, "now": to_text(now)}
        page = asked | {"after": after, "limit": limit}
        return await self._connections.read(sql.key_record, sql.LIST_KEYS, page)

    async def list_all_keys(self, user_id: str | None, *, include_ended: bool, now: datetime) -> Sequence[KeyRecord]:
        asked = {"user_id": user_id, "include_ended": include_ended, "now": to_text(now)}
        return await self._connections.read(sql.key_record, sql.LIST_ALL_KEYS, asked)

    async def revoke_key(self, user_id: str, key_id: str, *, at: datetime, reason: str | None) -> KeyRecord | None:
        return await self._change_key(user_id, key_id, sql.REVOKE_KEY, (to_text(at), reason, user_id, key_id))

    async def _change_key(
        self, user_id: str, key_id: str, statement: str, values: tuple[object, ...]
    ) -> KeyRecord | None:
        async def work(connection: aiosqlite.Connection) -> KeyRecord | None:
            await connection.execute(statement, values)
            rows = await connection.execute_fetchall(sql.FIND_KEY, (user_id, key_id))
            return next((sql.key_record(tuple(row)) for row in rows), None)

        return await self._connections.write(work)

    async def record_use(self, uses: Mapping[str, Use]) -> None:
        async def work(connection: aiosqlite.Connection) -> None:
            await connection.executemany(
                sql.RECORD_USE,
                [
                    {
                        "key_id": key_id,
                        "count": use.count,
                        "at": to_text(use.last_used_at),
                        "from": use.last_used_from,
                    }
                    for key_id, use in uses.items()
                ],
            )

        await self._connections.write(work)

    async def check(self) -> None:
        await self._connections.read(tuple, sql.READ_META, (CHECKSUM_SECRET,))


async def _add_key(connection: aiosqlite.Connection, key: KeyRecord) -> None:
    await _require_good(connection, key.parent_key_id, key.created_at)
    about = (
        key.key_id,
        key.user_id,
        key.name,
        sql.words_to_text(key.grant.scopes),
        sql.words_to_text(key.grant.aliases),
        key.parent_key_id,
        to_text(key.created_at),
        to_text(key.grant.expires_at),
    )
    await connection.execute(sql.ADD_KEY, about)


async def _add_secret(connection: aiosqlite.Connection, secret: tuple[str | None, ...]) -> None:
    """Add it, given as its columns, the prefix first."""
    if await connection.execute_fetchall(sql.PREFIX_IS_TAKEN, secret[:1]):
        raise PrefixTakenError
    await connection.execute(sql.ADD_SECRET, secret)


async def _require_good(connection: aiosqlite.Connection, key_id: str | None, now: datetime) -> None:
    # Within the transaction of the change: bcrypt and the queue of writers take time, in which a stolen key may have
    # been revoked, and its last act must not be a key that outlives it.
    if key_id is not None and not await connection.execute_fetchall(sql.IS_GOOD, (key_id, to_text(now))):
        raise KeyNoLongerGoodError
