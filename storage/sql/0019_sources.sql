-- Devices that speak another firmware's format: what names itself how in which format, and which fields are which
-- metric. What nobody has claimed is kept too, with what it said.

CREATE TABLE alatau.profile (
    name        text PRIMARY KEY COLLATE "C",
    version     int NOT NULL DEFAULT 1,
    definition  jsonb NOT NULL,
    origin      text NOT NULL CHECK (origin IN ('builtin', 'file', 'api')),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    changed_by  text NOT NULL
);

CREATE TABLE alatau.profile_version (
    name        text COLLATE "C",
    version     int,
    definition  jsonb NOT NULL,
    changed_at  timestamptz NOT NULL,
    changed_by  text NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE alatau.source (
    format      text NOT NULL COLLATE "C",
    name        text NOT NULL COLLATE "C" CHECK (length(name) BETWEEN 1 AND 256),
    device_id   int REFERENCES alatau.device ON DELETE SET NULL,  -- NULL: nobody has claimed it
    profile     text REFERENCES alatau.profile,  -- NULL: the one called format-kind, else fields are metrics of the same name
    first_seen  timestamptz NOT NULL DEFAULT now(),
    last_seen   timestamptz NOT NULL DEFAULT now(),
    messages    bigint NOT NULL DEFAULT 0,  -- that nobody had claimed
    fields      jsonb NOT NULL DEFAULT '{}',  -- what it said last, and in which unit
    topics      text[] NOT NULL DEFAULT '{}',  -- where
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (format, name)
);

-- The last of those messages of each topic without which later ones can't be read: births, descriptions.
CREATE TABLE alatau.lesson (
    topic        text PRIMARY KEY COLLATE "C",
    payload      bytea NOT NULL,
    received_at  timestamptz NOT NULL
);

CREATE INDEX source_of_device ON alatau.source (device_id) WHERE device_id IS NOT NULL;
CREATE INDEX source_unclaimed ON alatau.source (last_seen) WHERE device_id IS NULL;
