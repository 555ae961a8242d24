-- People: who signs in with a name, and their sessions. Of a password an argon2id hash is kept, of a session's token its
-- SHA-256; neither can be used by who reads them.

CREATE TABLE alatau.user_account (
    user_id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- never given twice, so that no name inherits
    name             text NOT NULL UNIQUE CHECK (name = lower(name)),
    password_hash    text,           -- NULL: signs in elsewhere
    role             text NOT NULL CHECK (role IN ('viewer', 'analyst', 'operator', 'admin')),
    districts        text[] CHECK (districts <> '{}'),  -- NULL: all
    kinds            text[] CHECK (kinds <> '{}'),
    issuer           text,           -- who vouches for them elsewhere, and under which name
    subject          text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    created_by       text,
    last_sign_in_at  timestamptz,
    known_addresses  text[] NOT NULL DEFAULT '{}',  -- where they signed in before, the newest first
    disabled_at      timestamptz,
    UNIQUE (issuer, subject),
    CHECK ((issuer IS NULL) = (subject IS NULL)),
    -- Who sees a part of the city changes nothing of the whole.
    CHECK (role <> 'admin' OR (districts IS NULL AND kinds IS NULL))
);

CREATE TABLE alatau.user_session (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id     int NOT NULL REFERENCES alatau.user_account ON DELETE CASCADE,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz NOT NULL,  -- to some minutes
    address     text NOT NULL
);
CREATE INDEX user_session_of_user ON alatau.user_session (user_id, created_at);
