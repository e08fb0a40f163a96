"""What rows mean, of whichever database.

A time is a datetime, or the text of one: SQLite has no type for it, and neither has JSON.
"""

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mcp_keys_server.core.checksum_secret_store import NeedOfSecret
from mcp_keys_server.core.grant import Grant
from mcp_keys_server.core.ledger import Doer, Entry, Event, EventKind, Head
from mcp_keys_server.core.records import (
    Claim,
    KeyRecord,
    KnownSecret,
    Principal,
    SecretRecord,
    SessionRecord,
    UserRecord,
)
from mcp_keys_server.stores.sql.database import Row

Time = datetime | str


@lru_cache(maxsize=10_000)  # the same row always means the same, and most requests read one that was read before
def secret_record(row: Row) -> SecretRecord:
    key_hash, proof, revoked, disabled, owner_disabled, ends_at, user_id, key_id, *grant = row
    principal = Principal(user_id, key_id, _grant(*grant))
    return SecretRecord(
        principal, key_hash, bool(revoked), bool(disabled), bool(owner_disabled), _moment_or_none(ends_at), proof
    )


def key_record(row: Row) -> KeyRecord:
    """A row of the view ``key_records``."""
    key_id, user_id, name, scopes, aliases, expires_at, parent_key_id, created_at, secrets = row[:9]
    disabled_at, revoked_at, revoked_reason, revoked_by, last_used_at, last_used_from, use_count = row[9:16]
    *claim, tools = row[16:]
    return KeyRecord(
        key_id=key_id,
        user_id=user_id,
        name=name,
        grant=_grant(scopes, aliases, tools, expires_at),
        parent_key_id=parent_key_id,
        created_at=_moment(created_at),
        secrets=tuple(_known_secret(*columns) for columns in json.loads(secrets)),
        disabled_at=_moment_or_none(disabled_at),
        revoked_at=_moment_or_none(revoked_at),
        revoked_reason=revoked_reason,
        revoked_by=revoked_by,
        last_used_at=_moment_or_none(last_used_at),
        last_used_from=last_used_from,
        use_count=use_count,
        claim=_claim(*claim),
    )


def _known_secret(prefix: str, created_at: Time, ends_at: Time | None, last_used_at: Time | None) -> KnownSecret:
    return KnownSecret(prefix, _moment(created_at), _moment_or_none(ends_at), _moment_or_none(last_used_at))


def _claim(
    lapses_at: Time | None,
    invitation_digest: bytes | None,
    overlap_seconds: int | None,
    claimed_at: Time | None,
    claimed_from: str | None,
) -> Claim | None:
    if lapses_at is None:
        return None
    return Claim(
        lapses_at=_moment(lapses_at),
        by_invitation=invitation_digest is not None,
        overlap=None if overlap_seconds is None else timedelta(seconds=overlap_seconds),
        claimed_at=_moment_or_none(claimed_at),
        claimed_from=claimed_from,
    )


def session_record(row: Row) -> SessionRecord:
    signed_in_at, seen_at, revoked, disabled, owner_disabled, user_id, key_id, *grant = row
    return SessionRecord(
        principal=Principal(user_id, key_id, _grant(*grant)),
        signed_in_at=_moment(signed_in_at),
        seen_at=_moment(seen_at),
        revoked=bool(revoked),
        disabled=bool(disabled),
        owner_disabled=bool(owner_disabled),
    )


def tool_and_digest(row: Row) -> tuple[str, str]:
    tool, digest = row
    return tool, digest


def need_of_secret(row: Row) -> NeedOfSecret:
    key_id, until = row
    return NeedOfSecret(key_id, _moment_or_none(until))


def only_text(row: Row) -> str:
    (text,) = row
    return str(text)


def user_record(row: Row) -> UserRecord:
    user_id, email, name, created_at, disabled_at = row
    return UserRecord(user_id, email, name, _moment(created_at), _moment_or_none(disabled_at))


def entry(row: Row) -> Entry:
    number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest = row
    by = Doer(by_means, by_key_id, client)
    return Entry(number, Event(EventKind(kind), _moment(at), user_id, key_id, by, detail), digest)


def entry_row(event: Event, head: Head) -> Row:
    """The event as the entry that ends with this head."""
    by = event.by
    about = (event.kind, event.at, event.user_id, event.key_id, by.means, by.key_id, by.client, event.detail)
    return (head.number, *about, head.digest)


def _grant(scopes: str, aliases: str | None, tools: str | None, expires_at: Time | None) -> Grant:
    return Grant(
        scopes=frozenset(scopes.split()),
        aliases=_words(aliases),
        tools=_words(tools),
        expires_at=_moment_or_none(expires_at),
    )


def _words(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(text.split())


def words_to_text(words: frozenset[str] | None) -> str | None:
    return None if words is None else " ".join(sorted(words))


def _moment_or_none(time: Time | None) -> datetime | None:
    return None if time is None else _moment(time)


def _moment(time: Time) -> datetime:
    moment = time if isinstance(time, datetime) else datetime.fromisoformat(time)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def to_text(moment: datetime) -> str:
    """In UTC and of one width, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
