"""Changes as they are written within a transaction, and the entries of the ledger that tell of them."""

from collections.abc import Iterable

import aiosqlite

from mcp_keys_server.core.changes import (
    AddKey,
    AddSecret,
    Change,
    DisableUser,
    EndSecret,
    EndSessions,
    Holdings,
    KeepKey,
    PutClaim,
    RemoveSecret,
    RevokeKey,
    SpendClaim,
)
from mcp_keys_server.core.errors import ClaimNotOpenError, PrefixTakenError, UserNotFoundError
from mcp_keys_server.core.ledger import BEGINNING, Event, Head, digest_of
from mcp_keys_server.core.records import KeyRecord
from mcp_keys_server.stores import sqlite_rows as rows
from mcp_keys_server.stores import sqlite_statements as sql
from mcp_keys_server.stores.sqlite_rows import to_text


async def read_holdings(connection: aiosqlite.Connection, user_id: str) -> Holdings:
    """
    Raises:
        UserNotFoundError: There is no such user.
    """
    users = [rows.user_record(tuple(row)) for row in await connection.execute_fetchall(sql.FIND_USER, (user_id,))]
    if not users or users[0].user_id != user_id:  # found by e-mail, they would seem to have no keys
        raise UserNotFoundError
    keys = [rows.key_record(tuple(row)) for row in await connection.execute_fetchall(sql.HELD_KEYS, (user_id,))]
    makers = await connection.execute_fetchall(sql.MAKERS, (user_id,))
    return Holdings(users[0], {key.key_id: key for key in keys}, dict(tuple(row) for row in makers))


async def write_change(connection: aiosqlite.Connection, user_id: str, change: Change) -> None:
    """
    Raises:
        PrefixTakenError: Another secret has the prefix of the one to add.
        ClaimNotOpenError: The claim to spend is spent.
    """
    match change:
        case AddKey(key):
            about = (key.key_id, key.user_id, key.name, *_grant(key)[:2], key.parent_key_id, to_text(key.created_at))
            await connection.execute(sql.ADD_KEY, (*about, _grant(key)[2]))
        case KeepKey(key):
            kept = (key.name, *_grant(key), to_text(key.disabled_at), key.key_id)
            await connection.execute(sql.KEEP_KEY, kept)
        case RevokeKey(key):
            ended = (to_text(key.revoked_at), key.revoked_reason, key.revoked_by, key.key_id)
            await connection.execute(sql.REVOKE_KEY, ended)
        case DisableUser(at):
            await connection.execute(sql.DISABLE_USER, (to_text(at), user_id))
        case EndSessions(key_id):
            await connection.execute(sql.END_SESSIONS_OF_KEY, (key_id,))
        case PutClaim() | SpendClaim():
            await _write_claim(connection, change)
        case _:
            await _write_secret(connection, change)


async def _write_claim(connection: aiosqlite.Connection, change: PutClaim | SpendClaim) -> None:
    match change:
        case PutClaim(key_id, claim, digest):
            overlap = None if claim.overlap is None else int(claim.overlap.total_seconds())
            await connection.execute(sql.PUT_CLAIM, (key_id, to_text(claim.lapses_at), digest, overlap))
        case _:
            by = (to_text(change.at), change.claimed_from, change.key_id)
            if (await connection.execute(sql.SPEND_CLAIM, by)).rowcount == 0:
                raise ClaimNotOpenError


async def _write_secret(connection: aiosqlite.Connection, change: AddSecret | EndSecret | RemoveSecret) -> None:
    match change:
        case AddSecret(key_id, prefix, key_hash, at):
            if await connection.execute_fetchall(sql.PREFIX_IS_TAKEN, (prefix,)):
                raise PrefixTakenError
            await connection.execute(sql.ADD_SECRET, (key_id, prefix, key_hash, to_text(at)))
        case EndSecret(prefix, at):
            await connection.execute(sql.END_SECRET, (to_text(at), prefix))
        case _:
            await connection.execute(sql.REMOVE_SECRET, (change.prefix,))


def _grant(key: KeyRecord) -> tuple[str | None, str | None, str | None]:
    grant = key.grant
    return rows.words_to_text(grant.scopes), rows.words_to_text(grant.aliases), to_text(grant.expires_at)


async def write_events(connection: aiosqlite.Connection, events: Iterable[Event]) -> None:
    head = BEGINNING
    for number, digest in await connection.execute_fetchall(sql.LAST_EVENT):
        head = Head(number, digest)
    for event in events:
        head = Head(head.number + 1, digest_of(event, head))
        await connection.execute(sql.ADD_EVENT, rows.entry_row(event, head))
