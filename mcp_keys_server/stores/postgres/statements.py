"""The statements that are PostgreSQL's own."""

from mcp_keys_server.stores.sql.statements import GET_USER

READ_SECRETS = """
SELECT secrets.prefix, clock_timestamp(),
       secrets.key_hash, secrets.proof,
       keys.revoked_at IS NOT NULL, keys.disabled_at IS NOT NULL, users.disabled_at IS NOT NULL,
       secrets.ends_at, keys.user_id, keys.key_id, keys.scopes, keys.aliases, keys.tools, keys.expires_at
FROM secrets
JOIN keys ON keys.key_id = secrets.key_id
JOIN users ON users.user_id = keys.user_id
WHERE secrets.prefix = ANY($1::text[])
"""
# One plan for all, by the primary keys whatever the tables hold: to plan a look-up takes longer than to do it.
PLAN_LOOKUPS = """
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""

# Of one user after the other, whoever changes them, and of all who add to the ledger.
HOLD_USER = f"{GET_USER} FOR NO KEY UPDATE"
HOLD_LEDGER = "SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext('ledger'))"
TELL_PROCESSES = "SELECT pg_notify(current_schema(), '')"

# In one order, so that two processes that write down something of the same keys never wait for each other.
HOLD_KEYS_OF_SECRETS = """
SELECT 1 FROM keys
WHERE key_id IN (SELECT key_id FROM secrets WHERE prefix = ANY($1::text[]))
ORDER BY key_id
FOR NO KEY UPDATE
"""
RECORD_USE = """
UPDATE keys
SET use_count = use_count + used.count,
    last_used_at = greatest(used.at, last_used_at),
    last_used_from = CASE WHEN last_used_at > used.at THEN last_used_from ELSE used.address END
FROM (
    SELECT key_id, sum(count)::bigint AS count, max(at) AS at, (array_agg(address ORDER BY at DESC))[1] AS address
    FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[]) AS use (prefix, count, at, address)
    JOIN secrets USING (prefix)
    GROUP BY key_id
) AS used
WHERE keys.key_id = used.key_id
"""
RECORD_USE_OF_SECRETS = """
UPDATE secrets
SET last_used_at = greatest(used.at, last_used_at)
FROM unnest($1::text[], $2::timestamptz[]) AS used (prefix, at)
WHERE secrets.prefix = used.prefix
"""
RECORD_PROOFS = """
UPDATE secrets
SET proof = proven.proof
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS proven (prefix, key_hash, proof)
WHERE secrets.prefix = proven.prefix AND secrets.key_hash = proven.key_hash
"""
FOLLOW_EVENTS = """
SELECT number, kind, at, user_id, key_id, by_means, by_key_id, client, detail, digest
FROM events
WHERE number >= $1
ORDER BY number
LIMIT $2
"""

# Those that others are forgetting at this moment are left to them.
FORGET_COUNTS = """
DELETE FROM counters
WHERE (name, process) IN (SELECT name, process FROM counters WHERE ends_at <= $1 FOR UPDATE SKIP LOCKED)
"""
PUT_COUNTS = """
INSERT INTO counters (name, process, ends_at, count)
SELECT name, $1, ends_at, count FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS counted (name, ends_at, count)
ON CONFLICT (name, process) DO UPDATE SET ends_at = excluded.ends_at, count = excluded.count
"""
SUM_COUNTS = """
SELECT name, ends_at, sum(count)::bigint FROM counters WHERE name = ANY($1::text[]) GROUP BY name, ends_at
"""

ROLE_AND_SERVER = """
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
       current_setting('synchronous_commit'), current_setting('fsync'), current_user
"""
CLOCK = "SELECT clock_timestamp()"

HOLD_SCHEMA = "SELECT pg_advisory_xact_lock(hashtext($1), hashtext('schema'))"
HAS_SCHEMA = "SELECT 1 FROM pg_namespace WHERE nspname = $1"
TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1"

GUARDS_AT_WORK = """
SELECT tgname::text
FROM pg_trigger
JOIN pg_class ON pg_class.oid = tgrelid
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = current_schema() AND tgenabled IN ('O', 'A') AND NOT tgisinternal
"""
SERVER = """
SELECT current_setting('server_version'), current_user::text, current_setting('synchronous_commit'),
       current_setting('fsync')
"""
