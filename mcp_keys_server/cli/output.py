"""What commands print."""

import errno
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import click

from mcp_keys_server.core.api_key import redact
from mcp_keys_server.core.invitations import Invitation
from mcp_keys_server.core.records import KeyRecord, UserRecord
from mcp_keys_server.key_ring import KeyRing
from mcp_keys_server.server.addresses import invitation_path

Row = Mapping[str, object]


def user_row(user: UserRecord) -> Row:
    return {
        "user_id": user.user_id,
        "email": user.email,
        "name": user.name,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }


def key_row(key: KeyRecord, now: datetime) -> Row:
    return {
        "key_id": key.key_id,
        "user_id": key.user_id,
        "name": key.name,
        "prefix": key.prefix,
        "older_secret_ends_at": next((secret.ends_at for secret in key.live_secrets(now)[1:]), None),
        "status": key.status(now),
        "scopes": sorted(key.grant.scopes),
        "aliases": None if key.grant.aliases is None else sorted(key.grant.aliases),
        "tools": None if key.grant.tools is None else sorted(key.grant.tools),
        "created_at": key.created_at,
        "expires_at": key.grant.expires_at,
        "last_used_at": key.last_used_at,
        "last_used_from": key.last_used_from,
        "use_count": key.use_count,
        "disabled_at": key.disabled_at,
        "revoked_at": key.revoked_at,
        "revoked_reason": key.revoked_reason,
        "revoked_by": key.revoked_by,
        "parent_key_id": key.parent_key_id,
        "claim_lapses_at": key.claim and key.claim.lapses_at,
        "claimed_at": key.claim and key.claim.claimed_at,
        "claimed_from": key.claim and key.claim.claimed_from,
    }


async def hand_over(text: str, otherwise: Callable[[], Awaitable[object]]) -> None:
    """Print the text, which holds a key. One that cannot be printed is of use to nobody: so the other thing is done,
    which sees to it that it is not good.

    Raises:
        OSError: Standard output takes nothing.
    """
    try:
        _require_standard_output()
        click.echo(text)
    except (OSError, UnicodeError):  # a name, for example, that the terminal's encoding has no letters for
        await otherwise()
        raise


async def hand_over_new_key(ring: KeyRing, key: KeyRecord, text: str) -> None:
    """Print the text, which holds the key, or revoke it.

    Raises:
        OSError: Standard output takes nothing.
    """
    await hand_over(text, lambda: ring.administration.revoke_key(key.key_id, reason="it could not be printed"))


def print_invitation(invitation: Invitation, public_url: str) -> None:
    """Print the link. It is of use to one person, once; one that was not printed lapses, or the next replaces it."""
    lapses = invitation.key.claim and f" It lapses at {_in_a_cell('lapses', invitation.key.claim.lapses_at)}."
    click.echo(f"With this link, once, {invitation.key.user_id} gets a key that nobody else has seen.{lapses or ''}\n")
    click.echo(f"  {public_url}{invitation_path(invitation.code)}\n")


def _require_standard_output() -> None:
    if sys.stdout is None:  # it was closed, and printing would do nothing
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def printable(text: str) -> str:
    """What a stranger wrote, without keys, and with everything escaped that a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in redact(text))


def print_json(value: object) -> None:
    click.echo(json_text(value))


def json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_as_json)


def print_table(rows: Sequence[Row], columns: Sequence[str], *, nothing: str) -> None:
    """Print these columns of the rows, aligned, or what to say when there is none."""
    click.echo(table_text(rows, columns) if rows else nothing)


def table_text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = [
        [column.upper() for column in columns],
        *([_in_a_cell(column, row[column]) for column in columns] for row in rows),
    ]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def print_facts(row: Row) -> None:
    """Print one row as a line a field."""
    click.echo(facts_text(row))


def facts_text(row: Row) -> str:
    width = max(map(len, row))
    return "\n".join(f"{name.ljust(width)}  {_in_a_cell(name, value)}" for name, value in row.items())


_NOTHING: Final = {"aliases": "all", "tools": "all", "expires_at": "never", "last_used_at": "never"}


def _in_a_cell(column: str, value: object) -> str:
    if value is None:
        return _NOTHING.get(column, "-")
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, Iterable) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return str(value)


def _as_json(value: object) -> str:
    assert isinstance(value, datetime)  # noqa: S101 - rows hold nothing else that JSON does not know
    return value.isoformat().replace("+00:00", "Z")
