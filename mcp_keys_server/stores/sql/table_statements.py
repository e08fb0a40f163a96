"""How the rows of every table are read, ordered by the first column, and put down again as they are."""

ANYTHING = "SELECT 1 FROM users UNION ALL SELECT 1 FROM events LIMIT 1"
REMOVE_META = "DELETE FROM meta WHERE name = $1"
ANY_COUNTER = "SELECT 1 FROM counters LIMIT 1"
HOLD_META = "UPDATE meta SET value = value WHERE name = $1 AND value = $2 RETURNING name"
ALL_META = "SELECT name, value FROM meta"

READ_USERS = """
SELECT user_id, email, name, created_at, disabled_at
FROM users WHERE user_id > $1 AND user_id <= $2 ORDER BY user_id LIMIT $3
"""
PUT_USER = """
INSERT INTO users (user_id, email, name, created_at, disabled_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id) DO UPDATE SET email = $2, name = $3, created_at = $4, disabled_at = $5
"""
COUNT_USERS = "SELECT count(*) FROM users"

READ_KEYS = """
SELECT key_id, user_id, name, scopes, aliases, created_at, expires_at, disabled_at, revoked_at, revoked_reason,
       revoked_by, last_used_at, last_used_from, use_count, tools
FROM keys WHERE key_id > $1 AND key_id <= $2 ORDER BY key_id LIMIT $3
"""
PUT_KEY = """
INSERT INTO keys (key_id, user_id, name, scopes, aliases, created_at, expires_at, disabled_at, revoked_at,
                  revoked_reason, revoked_by, last_used_at, last_used_from, use_count, tools)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (key_id) DO UPDATE
SET user_id = $2, name = $3, scopes = $4, aliases = $5, created_at = $6, expires_at = $7, disabled_at = $8,
    revoked_at = $9, revoked_reason = $10, revoked_by = $11, last_used_at = $12, last_used_from = $13, use_count = $14,
    tools = $15
"""
COUNT_KEYS = "SELECT count(*) FROM keys"

READ_MAKERS = """
SELECT key_id, parent_key_id
FROM keys WHERE parent_key_id IS NOT NULL AND key_id > $1 AND key_id <= $2 ORDER BY key_id LIMIT $3
"""
PUT_MAKER = "UPDATE keys SET parent_key_id = $2 WHERE key_id = $1"
COUNT_MAKERS = "SELECT count(*) FROM keys WHERE parent_key_id IS NOT NULL"

READ_SECRETS = """
SELECT prefix, key_id, key_hash, created_at, ends_at, last_used_at, proof, made_with
FROM secrets WHERE prefix > $1 AND prefix <= $2 ORDER BY prefix LIMIT $3
"""
PUT_SECRET = """
INSERT INTO secrets (prefix, key_id, key_hash, created_at, ends_at, last_used_at, proof, made_with)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
REMOVE_SECRETS = "DELETE FROM secrets WHERE prefix > $1 AND prefix <= $2"
COUNT_SECRETS = "SELECT count(*) FROM secrets"

READ_CLAIMS = """
SELECT key_id, lapses_at, invitation_digest, overlap_seconds, claimed_at, claimed_from
FROM claims WHERE key_id > $1 AND key_id <= $2 ORDER BY key_id LIMIT $3
"""
PUT_CLAIM = """
INSERT INTO claims (key_id, lapses_at, invitation_digest, overlap_seconds, claimed_at, claimed_from)
VALUES ($1, $2, $3, $4, $5, $6)
"""
REMOVE_CLAIMS = "DELETE FROM claims WHERE key_id > $1 AND key_id <= $2"
COUNT_CLAIMS = "SELECT count(*) FROM claims"

READ_SESSIONS = """
SELECT session_digest, key_id, signed_in_at, seen_at
FROM sessions WHERE session_digest > $1 AND session_digest <= $2 ORDER BY session_digest LIMIT $3
"""
PUT_SESSION = "INSERT INTO sessions (session_digest, key_id, signed_in_at, seen_at) VALUES ($1, $2, $3, $4)"
REMOVE_SESSIONS = "DELETE FROM sessions WHERE session_digest > $1 AND session_digest <= $2"
COUNT_SESSIONS = "SELECT count(*) FROM sessions"

# By both parts of their key in one, of which the alias holds no colon.
READ_TOOL_PINS = """
SELECT alias || ':' || tool, alias, digest, seen_at
FROM tool_pins WHERE alias || ':' || tool > $1 AND alias || ':' || tool <= $2 ORDER BY alias || ':' || tool LIMIT $3
"""
PUT_TOOL_PIN = """
INSERT INTO tool_pins (alias, tool, digest, seen_at)
VALUES (CAST($2 AS TEXT), substr(CAST($1 AS TEXT), length(CAST($2 AS TEXT)) + 2), $3, $4)
"""
REMOVE_TOOL_PINS = "DELETE FROM tool_pins WHERE alias || ':' || tool > $1 AND alias || ':' || tool <= $2"
COUNT_TOOL_PINS = "SELECT count(*) FROM tool_pins"

READ_EVENTS = """
SELECT number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest
FROM events WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3
"""
PUT_EVENT = """
INSERT INTO events (number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (number) DO NOTHING
"""
COUNT_EVENTS = "SELECT count(*) FROM events"

LOST_CHECKSUMS = """
SELECT DISTINCT keys.key_id
FROM secrets JOIN keys ON keys.key_id = secrets.key_id
WHERE made_with NOT IN ($2, $3, $4, $5)
  AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $1) AND (expires_at IS NULL OR expires_at > $1)
ORDER BY keys.key_id
LIMIT 100
"""
COUNT_LIVE_KEYS = """
SELECT count(*)
FROM keys
JOIN users ON users.user_id = keys.user_id
WHERE revoked_at IS NULL AND keys.disabled_at IS NULL AND users.disabled_at IS NULL
  AND (expires_at IS NULL OR expires_at > $1)
  AND EXISTS (SELECT 1 FROM secrets WHERE secrets.key_id = keys.key_id)
"""
