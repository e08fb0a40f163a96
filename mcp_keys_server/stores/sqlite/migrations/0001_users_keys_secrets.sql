-- Times are UTC in ISO 8601, all of one width, so that text order is time order.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    user_id TEXT NOT NULL PRIMARY KEY,
    email TEXT UNIQUE,
    name TEXT,
    created_at TEXT NOT NULL,
    disabled_at TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (user_id),
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,   -- separated by single spaces
    aliases TEXT,           -- the same; NULL: every alias
    parent_key_id TEXT REFERENCES keys (key_id),
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    revoked_reason TEXT,
    last_used_at TEXT,
    use_count INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_of_user ON keys (user_id, created_at, key_id);

CREATE TABLE secrets (
    prefix TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys (key_id),
    key_hash TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX secrets_of_key ON secrets (key_id);

CREATE TRIGGER a_revocation_is_never_undone
BEFORE UPDATE OF revoked_at ON keys
WHEN OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NOT OLD.revoked_at
BEGIN
    SELECT RAISE(ABORT, 'a revocation is never undone');
END;
