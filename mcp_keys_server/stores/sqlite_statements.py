"""Every statement of the SQLite store, whole."""

READ_META = "SELECT value FROM meta WHERE name = ?"
PUT_META = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2"
ADD_META = "INSERT INTO meta (name, value) VALUES (?, ?)"

READ_SECRET = """
SELECT secrets.key_hash, keys.revoked_at IS NOT NULL, keys.disabled_at IS NOT NULL, users.disabled_at IS NOT NULL,
       secrets.ends_at, keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.expires_at
FROM secrets
JOIN keys ON keys.key_id = secrets.key_id
JOIN users ON users.user_id = keys.user_id
WHERE secrets.prefix = ?
"""
REPLACE_KEY_HASH = "UPDATE secrets SET key_hash = ? WHERE prefix = ? AND key_hash = ?"
PREFIX_IS_TAKEN = "SELECT 1 FROM secrets WHERE prefix = ?"
ANY_SECRET = "SELECT 1 FROM secrets LIMIT 1"
ADD_SECRET = "INSERT INTO secrets (key_id, prefix, key_hash, created_at) VALUES (?, ?, ?, ?)"
END_SECRET = "UPDATE secrets SET ends_at = ? WHERE prefix = ?"
REMOVE_SECRET = "DELETE FROM secrets WHERE prefix = ?"

ADD_USER = "INSERT INTO users (user_id, email, name, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
DISABLE_USER = "UPDATE users SET disabled_at = ? WHERE user_id = ?"
FIND_USER = "SELECT user_id, email, name, created_at, disabled_at FROM users WHERE user_id = ?1 OR email = ?1"
LIST_USERS = "SELECT user_id, email, name, created_at, disabled_at FROM users ORDER BY user_id"

ADD_KEY = """
INSERT INTO keys (key_id, user_id, name, scopes, aliases, parent_key_id, created_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
KEEP_KEY = "UPDATE keys SET name = ?, scopes = ?, aliases = ?, expires_at = ?, disabled_at = ? WHERE key_id = ?"
REVOKE_KEY = """
UPDATE keys SET revoked_at = ?, revoked_reason = ?, revoked_by = ? WHERE key_id = ? AND revoked_at IS NULL
"""
FIND_KEY = "SELECT * FROM key_records WHERE user_id = ? AND key_id = ?"
FIND_INVITATION = "SELECT * FROM key_records WHERE invitation_digest = ?"
HELD_KEYS = "SELECT * FROM key_records WHERE user_id = ? AND revoked_at IS NULL"
MAKERS = "SELECT key_id, parent_key_id FROM keys WHERE user_id = ? AND parent_key_id IS NOT NULL"
FIND_OWNER = "SELECT user_id FROM keys WHERE key_id = ?"
LIST_KEYS = """
SELECT * FROM key_records
WHERE user_id = :user_id
  AND (:include_ended OR revoked_at IS NULL AND (secrets <> '[]' OR lapses_at > :now))
  AND (:after IS NULL OR (created_at, key_id) <
       (SELECT created_at, key_id FROM keys WHERE user_id = :user_id AND key_id = :after))
ORDER BY created_at DESC, key_id DESC
LIMIT :limit
"""
LIST_ALL_KEYS = """
SELECT * FROM key_records
WHERE (:user_id IS NULL OR user_id = :user_id)
  AND (:include_ended OR revoked_at IS NULL AND (secrets <> '[]' OR lapses_at > :now))
ORDER BY user_id, created_at DESC, key_id DESC
"""
RECORD_USE = """
UPDATE keys
SET use_count = use_count + :count,
    last_used_at = max(:at, coalesce(last_used_at, '')),
    last_used_from = CASE WHEN :at >= coalesce(last_used_at, '') THEN :from ELSE last_used_from END
WHERE key_id = (SELECT key_id FROM secrets WHERE prefix = :prefix)
"""
RECORD_USE_OF_SECRET = "UPDATE secrets SET last_used_at = max(:at, coalesce(last_used_at, '')) WHERE prefix = :prefix"

PUT_CLAIM = """
INSERT INTO claims (key_id, lapses_at, invitation_digest, overlap_seconds) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (key_id) DO UPDATE
SET lapses_at = ?2, invitation_digest = ?3, overlap_seconds = ?4, claimed_at = NULL, claimed_from = NULL
"""
SPEND_CLAIM = "UPDATE claims SET claimed_at = ?, claimed_from = ? WHERE key_id = ? AND claimed_at IS NULL"

LAST_EVENT = "SELECT number, digest FROM events ORDER BY number DESC LIMIT 1"
ADD_EVENT = """
INSERT INTO events (number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
LIST_EVENTS = """
SELECT number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest
FROM events
WHERE (:user_id IS NULL OR user_id = :user_id) AND number < :before
ORDER BY number DESC
LIMIT :limit
"""
FOLLOW_EVENTS = """
SELECT number, CAST(kind AS BLOB), CAST(at AS BLOB), CAST(user_id AS BLOB), CAST(key_id AS BLOB),
       CAST(by_means AS BLOB), CAST(by_key_id AS BLOB), CAST(client AS BLOB), CAST(detail AS BLOB), digest
FROM events
WHERE number >= ?
ORDER BY number
LIMIT ?
"""

ADD_SESSION = "INSERT INTO sessions (session_digest, key_id, signed_in_at, seen_at) VALUES (?, ?, ?, ?)"
FORGET_SESSIONS = "DELETE FROM sessions WHERE signed_in_at <= ?"
END_OLDEST_SESSIONS = """
DELETE FROM sessions
WHERE key_id = ?1 AND session_digest NOT IN (
    SELECT session_digest FROM sessions WHERE key_id = ?1 ORDER BY signed_in_at DESC LIMIT ?2
)
"""
END_SESSIONS_OF_KEY = "DELETE FROM sessions WHERE key_id = ?"
END_SESSION = "DELETE FROM sessions WHERE session_digest = ?"
NOTE_VISIT = "UPDATE sessions SET seen_at = max(?, seen_at) WHERE session_digest = ?"
FIND_SESSION = """
SELECT signed_in_at, seen_at, keys.revoked_at IS NOT NULL, keys.disabled_at IS NOT NULL, users.disabled_at IS NOT NULL,
       keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.expires_at
FROM sessions
JOIN keys ON keys.key_id = sessions.key_id
JOIN users ON users.user_id = keys.user_id
WHERE session_digest = ?
"""
