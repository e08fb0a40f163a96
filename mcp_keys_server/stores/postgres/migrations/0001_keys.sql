-- Ids and e-mails are compared by their bytes, as everywhere else.

CREATE TABLE meta (
    name text PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE users (
    user_id text COLLATE "C" PRIMARY KEY,
    email text COLLATE "C" UNIQUE,
    name text,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz
);

CREATE TABLE keys (
    key_id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES users (user_id),
    name text NOT NULL,
    scopes text NOT NULL,   -- separated by single spaces
    aliases text,           -- the same; NULL: every alias
    parent_key_id text COLLATE "C" REFERENCES keys (key_id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    disabled_at timestamptz,
    revoked_at timestamptz,
    revoked_reason text,
    revoked_by text,
    last_used_at timestamptz,
    last_used_from text,
    use_count bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);   -- room beside each row for its next version: the use of keys is written down all the time

CREATE INDEX keys_of_user ON keys (user_id, created_at, key_id);
CREATE INDEX keys_made_by ON keys (parent_key_id) WHERE parent_key_id IS NOT NULL;

CREATE TABLE secrets (
    prefix text COLLATE "C" PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL REFERENCES keys (key_id),
    key_hash text NOT NULL,
    created_at timestamptz NOT NULL,
    ends_at timestamptz,    -- when a newer one takes its place; NULL: as long as the key
    last_used_at timestamptz
) WITH (fillfactor = 80);

CREATE INDEX secrets_of_key ON secrets (key_id);

-- The right to see a new secret of a key. It stays when it is spent, to say when and from where.
CREATE TABLE claims (
    key_id text COLLATE "C" PRIMARY KEY REFERENCES keys (key_id),
    lapses_at timestamptz NOT NULL,
    invitation_digest bytea UNIQUE,     -- of the code in an invitation; NULL: the key's owner claims it, signed in
    overlap_seconds integer,            -- of the secret before; NULL: there is none
    claimed_at timestamptz,
    claimed_from text
);

CREATE TABLE sessions (
    session_digest bytea PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL REFERENCES keys (key_id),
    signed_in_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);

CREATE INDEX sessions_of_key ON sessions (key_id, signed_in_at);
CREATE INDEX sessions_by_age ON sessions (signed_in_at);

-- What was done, by whom, when and from where, each entry tied to the one before it by its digest.
CREATE TABLE events (
    number bigint PRIMARY KEY,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    key_id text COLLATE "C",
    by_means text NOT NULL,
    by_key_id text COLLATE "C",
    client text,
    detail text NOT NULL,
    digest bytea NOT NULL
);

CREATE INDEX events_of_user ON events (user_id, number);

-- What each process has counted under a name, in the window that ends then, in seconds of Unix time. It may be lost.
CREATE UNLOGGED TABLE counters (
    name text COLLATE "C" NOT NULL,
    process text COLLATE "C" NOT NULL,
    ends_at bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (name, process)
) WITH (fillfactor = 80);

CREATE INDEX counters_by_end ON counters (ends_at);

-- What is known of a key, its secrets as JSON, the newest first: the one that none replaces, whatever the clock said.
CREATE VIEW key_records AS
SELECT keys.key_id, user_id, name, scopes, aliases, expires_at, parent_key_id, created_at,
       coalesce((SELECT json_agg(json_build_array(prefix, created_at, ends_at, last_used_at)
                                 ORDER BY ends_at IS NOT NULL, created_at DESC)
                 FROM secrets WHERE secrets.key_id = keys.key_id)::text, '[]') AS secrets,
       disabled_at, revoked_at, revoked_reason, revoked_by, last_used_at, last_used_from, use_count,
       lapses_at, invitation_digest, overlap_seconds, claimed_at, claimed_from
FROM keys
LEFT JOIN claims ON claims.key_id = keys.key_id;

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0];
END
$$;

CREATE TRIGGER a_revocation_is_never_undone BEFORE UPDATE OF revoked_at ON keys FOR EACH ROW
WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
EXECUTE FUNCTION refuse('a revocation is never undone');

-- A new claim takes the place of a spent one, when the key is rotated; the one to its first secret never comes back.
CREATE TRIGGER a_claim_is_spent_once BEFORE UPDATE ON claims FOR EACH ROW
WHEN (OLD.claimed_at IS NOT NULL AND (NEW.claimed_at IS NOT NULL OR NEW.overlap_seconds IS NULL))
EXECUTE FUNCTION refuse('a claim is spent once');

CREATE TRIGGER an_event_is_never_changed BEFORE UPDATE ON events FOR EACH ROW
EXECUTE FUNCTION refuse('an event is never changed');

CREATE TRIGGER an_event_is_never_removed BEFORE DELETE ON events FOR EACH ROW
EXECUTE FUNCTION refuse('an event is never removed');

CREATE TRIGGER no_event_is_removed BEFORE TRUNCATE ON events FOR EACH STATEMENT
EXECUTE FUNCTION refuse('an event is never removed');
