ALTER TABLE keys ADD COLUMN disabled_at TEXT;
ALTER TABLE keys ADD COLUMN revoked_by TEXT;
ALTER TABLE secrets ADD COLUMN ends_at TEXT;        -- when a newer one takes its place; NULL: as long as the key
ALTER TABLE secrets ADD COLUMN last_used_at TEXT;
ALTER TABLE claims ADD COLUMN overlap_seconds INTEGER;  -- of the secret before; NULL: there is none

CREATE INDEX keys_made_by ON keys (parent_key_id) WHERE parent_key_id IS NOT NULL;

-- What was done, by whom, when and from where, each entry tied to the one before it by its digest.
CREATE TABLE events (
    number INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    user_id TEXT NOT NULL,
    key_id TEXT,
    by_means TEXT NOT NULL,
    by_key_id TEXT,
    client TEXT,
    detail TEXT NOT NULL,
    digest BLOB NOT NULL
) STRICT;

CREATE INDEX events_of_user ON events (user_id, number);

CREATE TRIGGER an_event_is_never_changed
BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'an event is never changed');
END;

CREATE TRIGGER an_event_is_never_removed
BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'an event is never removed');
END;

DROP VIEW key_records;

-- What is known of a key, its secrets as JSON, the newest first: the one that none replaces, whatever the clock said.
CREATE VIEW key_records AS
SELECT keys.key_id, user_id, name, scopes, aliases, expires_at, parent_key_id, created_at,
       (SELECT json_group_array(json_array(prefix, created_at, ends_at, last_used_at))
        FROM (SELECT * FROM secrets WHERE secrets.key_id = keys.key_id ORDER BY ends_at IS NOT NULL, created_at DESC)
       ) AS secrets,
       disabled_at, revoked_at, revoked_reason, revoked_by, last_used_at, last_used_from, use_count,
       lapses_at, invitation_digest, overlap_seconds, claimed_at, claimed_from
FROM keys
LEFT JOIN claims ON claims.key_id = keys.key_id;

-- A new claim takes the place of a spent one, when the key is rotated; the one to its first secret never comes back.
DROP TRIGGER a_claim_is_spent_once;

CREATE TRIGGER a_claim_is_spent_once
BEFORE UPDATE ON claims
WHEN OLD.claimed_at IS NOT NULL AND (NEW.claimed_at IS NOT NULL OR NEW.overlap_seconds IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'a claim is spent once');
END;
