-- Files that the API makes in the background; each row is a job, and goes with its file.

CREATE TABLE alatau.export (
    export_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    kind            text NOT NULL,
    start           timestamptz NOT NULL,
    stop            timestamptz NOT NULL,
    districts       text[] NOT NULL,  -- empty: all
    devices         text[] NOT NULL,
    simulated       boolean,
    format          text NOT NULL,
    state           text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'ready', 'failed')),
    -- Counts the starts, so that a process that was taken for dead changes nothing any more.
    attempt         int NOT NULL DEFAULT 0,
    seen_at         timestamptz,  -- when its process last said that it lives
    finished_at     timestamptz,
    expires_at      timestamptz,
    rows_done       bigint NOT NULL DEFAULT 0,
    rows_estimated  bigint NOT NULL,
    bytes           bigint NOT NULL DEFAULT 0,
    sha256          bytea,
    problem         text,  -- why it failed
    -- What alatau.data_version said of the range when the file was begun.
    data_version    bigint
);
CREATE INDEX export_by_state ON alatau.export (state, export_id);
