"""Changes as they are written within a transaction, and the entries of the ledger that tell of them."""

from collections.abc import Iterable

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
from mcp_keys_server.stores.sql import rows
from mcp_keys_server.stores.sql import statements as sql
from mcp_keys_server.stores.sql.database import Transaction

ENDING = KeepKey | RevokeKey | EndSecret | RemoveSecret | DisableUser
"""What may end what is being answered for a key."""


async def hold_holdings(transaction: Transaction, user_id: str) -> Holdings:
    """What the user has, which nobody else changes from here to the end of the transaction.

    Raises:
        UserNotFoundError: There is no such user.
    """
    users = [rows.user_record(row) for row in await transaction.hold_user(user_id)]
    if not users:
        raise UserNotFoundError
    keys = [rows.key_record(row) for row in await transaction.fetch(sql.HELD_KEYS, user_id)]
    makers = await transaction.fetch(sql.MAKERS, user_id)
    return Holdings(users[0], {key.key_id: key for key in keys}, dict(makers))


async def write_change(transaction: Transaction, user_id: str, change: Change) -> None:
    """
    Raises:
        PrefixTakenError: Another secret has the prefix of the one to add.
        ClaimNotOpenError: The claim to spend is spent.
    """
    match change:
        case AddKey(key):
            about = (key.key_id, key.user_id, key.name, key.parent_key_id, key.created_at)
            await transaction.fetch(sql.ADD_KEY, *about, *_grant(key))
        case KeepKey(key):
            await transaction.fetch(sql.KEEP_KEY, key.name, *_grant(key), key.disabled_at, key.key_id)
        case RevokeKey(key):
            await transaction.fetch(sql.REVOKE_KEY, key.revoked_at, key.revoked_reason, key.revoked_by, key.key_id)
        case DisableUser(at):
            await transaction.fetch(sql.DISABLE_USER, at, user_id)
        case EndSessions(None):
            await transaction.fetch(sql.END_SESSIONS_OF_USER, user_id)
        case EndSessions(key_id):
            await transaction.fetch(sql.END_SESSIONS_OF_KEY, key_id)
        case PutClaim() | SpendClaim():
            await _write_claim(transaction, change)
        case _:
            await _write_secret(transaction, change)


async def _write_claim(transaction: Transaction, change: PutClaim | SpendClaim) -> None:
    match change:
        case PutClaim(key_id, claim, digest):
            overlap = None if claim.overlap is None else int(claim.overlap.total_seconds())
            await transaction.fetch(sql.PUT_CLAIM, key_id, claim.lapses_at, digest, overlap)
        case _:
            if not await transaction.fetch(sql.SPEND_CLAIM, change.at, change.claimed_from, change.key_id):
                raise ClaimNotOpenError


async def _write_secret(transaction: Transaction, change: AddSecret | EndSecret | RemoveSecret) -> None:
    match change:
        case AddSecret(key_id, prefix, key_hash, at, proof, made_with):
            if not await transaction.fetch(sql.ADD_SECRET, key_id, prefix, key_hash, at, proof, made_with):
                raise PrefixTakenError
        case EndSecret(prefix, at):
            await transaction.fetch(sql.END_SECRET, at, prefix)
        case _:
            await transaction.fetch(sql.REMOVE_SECRET, change.prefix)


def _grant(key: KeyRecord) -> tuple[object, object, object, object]:
    grant, text = key.grant, rows.words_to_text
    return text(grant.scopes), text(grant.aliases), text(grant.tools), grant.expires_at


async def write_events(transaction: Transaction, events: Iterable[Event]) -> None:
    await transaction.hold_ledger()
    head = BEGINNING
    for number, digest in await transaction.fetch(sql.LAST_EVENT):
        head = Head(number, digest)
    for event in events:
        head = Head(head.number + 1, digest_of(event, head))
        await transaction.fetch(sql.ADD_EVENT, *rows.entry_row(event, head))
