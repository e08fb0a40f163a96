ALTER TABLE keys ADD COLUMN tools TEXT;     -- patterns separated by single spaces; NULL: every tool

DROP VIEW key_records;

-- What is known of a key, its secrets as JSON, the newest first: the one that none replaces, whatever the clock said.
CREATE VIEW key_records AS
SELECT keys.key_id, user_id, name, scopes, aliases, expires_at, parent_key_id, created_at,
       (SELECT json_group_array(json_array(prefix, created_at, ends_at, last_used_at))
        FROM (SELECT * FROM secrets WHERE secrets.key_id = keys.key_id ORDER BY ends_at IS NOT NULL, created_at DESC)
       ) AS secrets,
       disabled_at, revoked_at, revoked_reason, revoked_by, last_used_at, last_used_from, use_count,
       lapses_at, invitation_digest, overlap_seconds, claimed_at, claimed_from, tools
FROM keys
LEFT JOIN claims ON claims.key_id = keys.key_id;

-- What the tools of an upstream looked like when they were first seen.
CREATE TABLE tool_pins (
    alias TEXT NOT NULL,
    tool TEXT NOT NULL,
    digest TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    PRIMARY KEY (alias, tool)
) STRICT, WITHOUT ROWID;
