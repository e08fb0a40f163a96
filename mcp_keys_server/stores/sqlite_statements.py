"""Every statement of the SQLite store, whole, and what its rows mean."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from mcp_keys_server.core.grant import Grant
from mcp_keys_server.core.records import Claim, KeyRecord, Principal, SecretRecord, SessionRecord, UserRecord

Row = tuple[Any, ...]

READ_META = "SELECT value FROM meta WHERE name = ?"
PUT_META = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2"
ADD_META = "INSERT INTO meta (name, value) VALUES (?, ?)"

READ_SECRET = """
SELECT secrets.key_hash, keys.revoked_at IS NOT NULL, users.disabled_at IS NOT NULL,
       keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.expires_at
FROM secrets
JOIN keys ON keys.key_id = secrets.key_id
JOIN users ON users.user_id = keys.user_id
WHERE secrets.prefix = ?
"""
REPLACE_KEY_HASH = "UPDATE secrets SET key_hash = ? WHERE prefix = ? AND key_hash = ?"
PREFIX_IS_TAKEN = "SELECT 1 FROM secrets WHERE prefix = ?"
ANY_SECRET = "SELECT 1 FROM secrets LIMIT 1"
ADD_SECRET = "INSERT INTO secrets (prefix, key_id, key_hash, created_at) VALUES (?, ?, ?, ?)"

ADD_USER = "INSERT INTO users (user_id, email, name, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
FIND_USER = "SELECT user_id, email, name, created_at, disabled_at FROM users WHERE user_id = ?1 OR email = ?1"
LIST_USERS = "SELECT user_id, email, name, created_at, disabled_at FROM users ORDER BY user_id"

ADD_KEY = """
INSERT INTO keys (key_id, user_id, name, scopes, aliases, parent_key_id, created_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
FIND_KEY = "SELECT * FROM key_records WHERE user_id = ? AND key_id = ?"
FIND_INVITATION = "SELECT * FROM key_records WHERE invitation_digest = ?"
IS_GOOD = """
SELECT 1 FROM keys JOIN users ON users.user_id = keys.user_id
WHERE keys.key_id = ? AND revoked_at IS NULL AND disabled_at IS NULL AND (expires_at IS NULL OR expires_at > ?)
"""
FIND_OWNER = "SELECT user_id FROM keys WHERE key_id = ?"
LIST_KEYS = """
SELECT * FROM key_records
WHERE user_id = :user_id
  AND (:include_ended OR revoked_at IS NULL AND (prefix IS NOT NULL OR lapses_at > :now))
  AND (:after IS NULL OR (created_at, key_id) <
       (SELECT created_at, key_id FROM keys WHERE user_id = :user_id AND key_id = :after))
ORDER BY created_at DESC, key_id DESC
LIMIT :limit
"""
LIST_ALL_KEYS = """
SELECT * FROM key_records
WHERE (:user_id IS NULL OR user_id = :user_id)
  AND (:include_ended OR revoked_at IS NULL AND (prefix IS NOT NULL OR lapses_at > :now))
ORDER BY user_id, created_at DESC, key_id DESC
"""
REVOKE_KEY = """
UPDATE keys SET revoked_at = ?, revoked_reason = ? WHERE user_id = ? AND key_id = ? AND revoked_at IS NULL
"""
RENAME_KEY = "UPDATE keys SET name = ? WHERE user_id = ? AND key_id = ?"
RECORD_USE = """
UPDATE keys
SET use_count = use_count + :count,
    last_used_at = max(:at, coalesce(last_used_at, '')),
    last_used_from = CASE WHEN :at >= coalesce(last_used_at, '') THEN :from ELSE last_used_from END
WHERE key_id = :key_id
"""

REVOKE_OPEN_INVITATIONS = """
UPDATE keys
SET revoked_at = :now, revoked_reason = 'a newer invitation replaced it'
WHERE user_id = :user_id AND revoked_at IS NULL AND EXISTS (
    SELECT 1
    FROM claims
    WHERE claims.key_id = keys.key_id
      AND invitation_digest IS NOT NULL AND claimed_at IS NULL AND lapses_at > :now
)
"""
ADD_CLAIM = "INSERT INTO claims (key_id, lapses_at, invitation_digest) VALUES (?, ?, ?)"
SPEND_CLAIM = """
UPDATE claims
SET claimed_at = :now, claimed_from = :from
WHERE key_id = :key_id AND claimed_at IS NULL AND lapses_at > :now AND EXISTS (
    SELECT 1
    FROM keys
    JOIN users ON users.user_id = keys.user_id
    LEFT JOIN keys AS makers ON makers.key_id = keys.parent_key_id
    WHERE keys.key_id = claims.key_id
      AND keys.revoked_at IS NULL AND users.disabled_at IS NULL AND makers.revoked_at IS NULL
      AND (keys.expires_at IS NULL OR keys.expires_at > :now)
)
"""
CLAIMED_KEY = "SELECT * FROM key_records WHERE key_id = ?"

ADD_SESSION = "INSERT INTO sessions (session_digest, key_id, signed_in_at, seen_at) VALUES (?, ?, ?, ?)"
FORGET_SESSIONS = "DELETE FROM sessions WHERE signed_in_at <= ?"
END_OLDEST_SESSIONS = """
DELETE FROM sessions
WHERE key_id = ?1 AND session_digest NOT IN (
    SELECT session_digest FROM sessions WHERE key_id = ?1 ORDER BY signed_in_at DESC LIMIT ?2
)
"""
END_SESSION = "DELETE FROM sessions WHERE session_digest = ?"
NOTE_VISIT = "UPDATE sessions SET seen_at = max(?, seen_at) WHERE session_digest = ?"
FIND_SESSION = """
SELECT signed_in_at, seen_at, keys.revoked_at IS NOT NULL, users.disabled_at IS NOT NULL,
       keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.expires_at
FROM sessions
JOIN keys ON keys.key_id = sessions.key_id
JOIN users ON users.user_id = keys.user_id
WHERE session_digest = ?
"""


@lru_cache(maxsize=10_000)  # the same row always means the same, and most requests read one that was read before
def secret_record(row: Row) -> SecretRecord:
    key_hash, revoked, owner_disabled, user_id, key_id, scopes, aliases, expires_at = row
    principal = Principal(user_id, key_id, _grant(scopes, aliases, expires_at))
    return SecretRecord(principal, key_hash, bool(revoked), bool(owner_disabled))


def key_record(row: Row) -> KeyRecord:
    """A row of the view ``key_records``."""
    key_id, user_id, name, prefix, scopes, aliases, expires_at, parent_key_id, created_at = row[:9]
    revoked_at, revoked_reason, last_used_at, last_used_from, use_count = row[9:14]
    return KeyRecord(
        key_id=key_id,
        user_id=user_id,
        name=name,
        prefix=prefix,
        grant=_grant(scopes, aliases, expires_at),
        parent_key_id=parent_key_id,
        created_at=_moment(created_at),
        revoked_at=from_text(revoked_at),
        revoked_reason=revoked_reason,
        last_used_at=from_text(last_used_at),
        last_used_from=last_used_from,
        use_count=use_count,
        claim=_claim(*row[14:]),
    )


def _claim(
    lapses_at: str | None, invitation_digest: bytes | None, claimed_at: str | None, claimed_from: str | None
) -> Claim | None:
    lapses = from_text(lapses_at)
    if lapses is None:
        return None
    return Claim(lapses, invitation_digest is not None, from_text(claimed_at), claimed_from)


def session_record(row: Row) -> SessionRecord:
    signed_in_at, seen_at, revoked, owner_disabled, user_id, key_id, scopes, aliases, expires_at = row
    return SessionRecord(
        principal=Principal(user_id, key_id, _grant(scopes, aliases, expires_at)),
        signed_in_at=_moment(signed_in_at),
        seen_at=_moment(seen_at),
        revoked=bool(revoked),
        owner_disabled=bool(owner_disabled),
    )


def only_text(row: Row) -> str:
    (text,) = row
    return str(text)


def user_record(row: Row) -> UserRecord:
    user_id, email, name, created_at, disabled_at = row
    return UserRecord(user_id, email, name, _moment(created_at), from_text(disabled_at))


def _grant(scopes: str, aliases: str | None, expires_at: str | None) -> Grant:
    return Grant(
        scopes=frozenset(scopes.split()),
        aliases=None if aliases is None else frozenset(aliases.split()),
        expires_at=from_text(expires_at),
    )


def words_to_text(words: frozenset[str] | None) -> str | None:
    return None if words is None else " ".join(sorted(words))


def to_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def from_text(text: str | None) -> datetime | None:
    return None if text is None else _moment(text)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment
