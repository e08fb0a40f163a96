"""The statements that are SQLite's own, and the shared ones as it takes them."""

import re
from functools import cache

from mcp_keys_server.stores.sql import statements as sql


@cache
def numbered(statement: str) -> str:
    """The shared statement with its parameters written as SQLite numbers them."""
    return re.sub(r"\$(\d+)", r"?\1", statement)


READ_META = numbered(sql.READ_META)
ADD_META = numbered(sql.ADD_META)

DATA_VERSION = "PRAGMA data_version"
READ_SECRET = """
SELECT secrets.key_hash, secrets.proof,
       keys.revoked_at IS NOT NULL, keys.disabled_at IS NOT NULL, users.disabled_at IS NOT NULL,
       secrets.ends_at, keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.tools, keys.expires_at
FROM secrets
JOIN keys ON keys.key_id = secrets.key_id
JOIN users ON users.user_id = keys.user_id
WHERE secrets.prefix = ?
"""
RECORD_USE = """
UPDATE keys
SET use_count = use_count + $1,
    last_used_at = max($2, coalesce(last_used_at, '')),
    last_used_from = CASE WHEN $2 >= coalesce(last_used_at, '') THEN $3 ELSE last_used_from END
WHERE key_id = (SELECT key_id FROM secrets WHERE prefix = $4)
"""
RECORD_USE_OF_SECRET = "UPDATE secrets SET last_used_at = max($1, coalesce(last_used_at, '')) WHERE prefix = $2"
RECORD_PROOF = "UPDATE secrets SET proof = $1 WHERE prefix = $2 AND key_hash = $3"
# As they are in the file, where somebody may have put what is no text.
FOLLOW_EVENTS = """
SELECT number, CAST(kind AS BLOB), CAST(at AS BLOB), CAST(user_id AS BLOB), CAST(key_id AS BLOB),
       CAST(by_means AS BLOB), CAST(by_key_id AS BLOB), CAST(client AS BLOB), CAST(detail AS BLOB), digest
FROM events
WHERE number >= $1
ORDER BY number
LIMIT $2
"""

FORGET_COUNTS = "DELETE FROM counters WHERE ends_at <= $1"
PUT_COUNT = """
INSERT INTO counters (name, process, ends_at, count) VALUES ($1, $2, $3, $4)
ON CONFLICT (name, process) DO UPDATE SET ends_at = $3, count = $4
"""
SUM_COUNTS = """
SELECT name, ends_at, sum(count) FROM counters WHERE name IN (SELECT value FROM json_each($1)) GROUP BY name, ends_at
"""
