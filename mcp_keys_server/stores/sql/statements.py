"""Every statement that all databases understand, whole."""

READ_META = "SELECT value FROM meta WHERE name = $1"
READ_TWO_OF_META = "SELECT name, value FROM meta WHERE name IN ($1, $2)"
PUT_META = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2"
ADD_META = "INSERT INTO meta (name, value) VALUES ($1, $2)"

REPLACE_KEY_HASH = "UPDATE secrets SET key_hash = $1, proof = $2 WHERE prefix = $3 AND key_hash = $4"
ANY_SECRET = "SELECT 1 FROM secrets LIMIT 1"
ADD_SECRET = """
INSERT INTO secrets (key_id, prefix, key_hash, created_at, proof, made_with) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (prefix) DO NOTHING
RETURNING prefix
"""
END_SECRET = "UPDATE secrets SET ends_at = $1 WHERE prefix = $2"
# One that was imported has no checksum, and its hash another beginning.
IS_SECRET_NEEDED = """
SELECT 1
FROM secrets JOIN keys ON keys.key_id = secrets.key_id
WHERE (made_with = $1 OR CAST($3 AS BOOLEAN) AND made_with IS NULL AND key_hash LIKE '$%')
  AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $2) AND (expires_at IS NULL OR expires_at > $2)
LIMIT 1
"""
# In the order of an index, because the first of very many are found at once so.
NEEDS_UNTIL_ROTATED = """
SELECT key_id, NULL
FROM keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
  AND EXISTS (
      SELECT 1 FROM secrets
      WHERE secrets.key_id = keys.key_id AND ends_at IS NULL
        AND (made_with <> $1 OR made_with IS NULL AND key_hash LIKE '$%')
  )
ORDER BY key_id
LIMIT $3
"""
NEEDS_UNTIL_ENDED = """
SELECT keys.key_id, max(ends_at)
FROM secrets JOIN keys ON keys.key_id = secrets.key_id
WHERE ends_at > $2 AND (made_with <> $1 OR made_with IS NULL AND key_hash LIKE '$%')
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
  AND NOT EXISTS (
      SELECT 1 FROM secrets AS newest
      WHERE newest.key_id = keys.key_id AND newest.ends_at IS NULL
        AND (newest.made_with <> $1 OR newest.made_with IS NULL AND newest.key_hash LIKE '$%')
  )
GROUP BY keys.key_id
ORDER BY keys.key_id
LIMIT $3
"""
REMOVE_SECRET = "DELETE FROM secrets WHERE prefix = $1"

ADD_USER = """
INSERT INTO users (user_id, email, name, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
RETURNING user_id
"""
DISABLE_USER = "UPDATE users SET disabled_at = $1 WHERE user_id = $2"
FIND_USER = "SELECT user_id, email, name, created_at, disabled_at FROM users WHERE user_id = $1 OR email = $1"
GET_USER = "SELECT user_id, email, name, created_at, disabled_at FROM users WHERE user_id = $1"
LIST_USERS = "SELECT user_id, email, name, created_at, disabled_at FROM users ORDER BY user_id"

ADD_KEY = """
INSERT INTO keys (key_id, user_id, name, parent_key_id, created_at, scopes, aliases, tools, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
KEEP_KEY = """
UPDATE keys SET name = $1, scopes = $2, aliases = $3, tools = $4, expires_at = $5, disabled_at = $6 WHERE key_id = $7
"""
REVOKE_KEY = """
UPDATE keys SET revoked_at = $1, revoked_reason = $2, revoked_by = $3 WHERE key_id = $4 AND revoked_at IS NULL
"""
FIND_KEY = "SELECT * FROM key_records WHERE user_id = $1 AND key_id = $2"
FIND_INVITATION = "SELECT * FROM key_records WHERE invitation_digest = $1"
HELD_KEYS = "SELECT * FROM key_records WHERE user_id = $1 AND revoked_at IS NULL"
MAKERS = "SELECT key_id, parent_key_id FROM keys WHERE user_id = $1 AND parent_key_id IS NOT NULL"
FIND_OWNER = "SELECT user_id FROM keys WHERE key_id = $1"
LIST_KEYS = """
SELECT * FROM key_records
WHERE user_id = $1
  AND (CAST($2 AS BOOLEAN) OR revoked_at IS NULL AND (secrets <> '[]' OR lapses_at > $3))
  AND (CAST($4 AS TEXT) IS NULL OR (created_at, key_id) <
       (SELECT created_at, key_id FROM keys WHERE user_id = $1 AND key_id = $4))
ORDER BY created_at DESC, key_id DESC
LIMIT $5
"""
LIST_ALL_KEYS = """
SELECT * FROM key_records
WHERE (CAST($1 AS TEXT) IS NULL OR user_id = $1)
  AND (CAST($2 AS BOOLEAN) OR revoked_at IS NULL AND (secrets <> '[]' OR lapses_at > $3))
ORDER BY user_id, created_at DESC, key_id DESC
"""

PUT_CLAIM = """
INSERT INTO claims (key_id, lapses_at, invitation_digest, overlap_seconds) VALUES ($1, $2, $3, $4)
ON CONFLICT (key_id) DO UPDATE
SET lapses_at = $2, invitation_digest = $3, overlap_seconds = $4, claimed_at = NULL, claimed_from = NULL
"""
SPEND_CLAIM = """
UPDATE claims SET claimed_at = $1, claimed_from = $2 WHERE key_id = $3 AND claimed_at IS NULL
RETURNING key_id
"""

LAST_EVENT = "SELECT number, digest FROM events ORDER BY number DESC LIMIT 1"
ADD_EVENT = """
INSERT INTO events (number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
LIST_EVENTS = """
SELECT number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest
FROM events
WHERE (CAST($1 AS TEXT) IS NULL OR user_id = $1) AND number < $2
ORDER BY number DESC
LIMIT $3
"""

ADD_SESSION = "INSERT INTO sessions (session_digest, key_id, signed_in_at, seen_at) VALUES ($1, $2, $3, $3)"
FORGET_SESSIONS = "DELETE FROM sessions WHERE signed_in_at <= $1"
END_OLDEST_SESSIONS = """
DELETE FROM sessions
WHERE key_id = $1 AND session_digest NOT IN (
    SELECT session_digest FROM sessions WHERE key_id = $1 ORDER BY signed_in_at DESC LIMIT $2
)
"""
END_SESSIONS_OF_KEY = "DELETE FROM sessions WHERE key_id = $1"
END_SESSIONS_OF_USER = "DELETE FROM sessions WHERE key_id IN (SELECT key_id FROM keys WHERE user_id = $1)"
END_SESSION = "DELETE FROM sessions WHERE session_digest = $1"
NOTE_VISIT = "UPDATE sessions SET seen_at = $1 WHERE session_digest = $2 AND seen_at < $1"
FIND_SESSION = """
SELECT signed_in_at, seen_at, keys.revoked_at IS NOT NULL, keys.disabled_at IS NOT NULL, users.disabled_at IS NOT NULL,
       keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.tools, keys.expires_at
FROM sessions
JOIN keys ON keys.key_id = sessions.key_id
JOIN users ON users.user_id = keys.user_id
WHERE session_digest = $1
"""

PINNED_TOOLS = "SELECT tool, digest FROM tool_pins WHERE alias = $1"
PIN_TOOL = "INSERT INTO tool_pins (alias, tool, digest, seen_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
FORGET_TOOLS = "DELETE FROM tool_pins WHERE alias = $1 RETURNING tool"
