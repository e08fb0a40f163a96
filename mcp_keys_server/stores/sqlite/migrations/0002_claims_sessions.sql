ALTER TABLE keys ADD COLUMN last_used_from TEXT;

-- The right to see the secret of a key that has none yet. It stays when it is spent, to say when and from where.
CREATE TABLE claims (
    key_id TEXT NOT NULL PRIMARY KEY REFERENCES keys (key_id),
    lapses_at TEXT NOT NULL,
    invitation_digest BLOB UNIQUE,  -- of the code in an invitation; NULL: the key's owner claims it, signed in
    claimed_at TEXT,
    claimed_from TEXT
) STRICT, WITHOUT ROWID;

CREATE TRIGGER a_claim_is_spent_once
BEFORE UPDATE ON claims
WHEN OLD.claimed_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a claim is spent once');
END;

CREATE TABLE sessions (
    session_digest BLOB NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys (key_id),
    signed_in_at TEXT NOT NULL,
    seen_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_of_key ON sessions (key_id, signed_in_at);

-- What is known of a key. Its prefix is NULL while it is unclaimed.
CREATE VIEW key_records AS
SELECT keys.key_id, user_id, name, prefix, scopes, aliases, expires_at, parent_key_id, keys.created_at,
       revoked_at, revoked_reason, last_used_at, last_used_from, use_count,
       lapses_at, invitation_digest, claimed_at, claimed_from
FROM keys
LEFT JOIN secrets ON secrets.key_id = keys.key_id
LEFT JOIN claims ON claims.key_id = keys.key_id;
