ALTER TABLE keys ADD COLUMN tools text;     -- patterns separated by single spaces; NULL: every tool

-- Replaced and not made anew, so that whoever may read it still may: therefore the new column is the last.
CREATE OR REPLACE VIEW key_records AS
SELECT keys.key_id, user_id, name, scopes, aliases, expires_at, parent_key_id, created_at,
       coalesce((SELECT json_agg(json_build_array(prefix, created_at, ends_at, last_used_at)
                                 ORDER BY ends_at IS NOT NULL, created_at DESC)
                 FROM secrets WHERE secrets.key_id = keys.key_id)::text, '[]') AS secrets,
       disabled_at, revoked_at, revoked_reason, revoked_by, last_used_at, last_used_from, use_count,
       lapses_at, invitation_digest, overlap_seconds, claimed_at, claimed_from, tools
FROM keys
LEFT JOIN claims ON claims.key_id = keys.key_id;

-- What the tools of an upstream looked like when they were first seen.
CREATE TABLE tool_pins (
    alias text COLLATE "C" NOT NULL,
    tool text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (alias, tool)
);
