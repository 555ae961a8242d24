-- The fixed tables. Kinds' tables live in the schema "reading" and are made from the catalogue.

CREATE SCHEMA alatau;
CREATE SCHEMA reading;

CREATE TABLE alatau.catalogue_version (
    version     int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    document    jsonb NOT NULL
);

CREATE TABLE alatau.district (
    name     text PRIMARY KEY,
    title    text NOT NULL,
    outline  jsonb NOT NULL  -- ring of [longitude, latitude], WGS 84, not closed
);

CREATE TABLE alatau.device (
    device_id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                text NOT NULL UNIQUE COLLATE "C",
    kind              text NOT NULL,
    district          text NOT NULL REFERENCES alatau.district (name),
    longitude         float8,
    latitude          float8,
    interval_seconds  float8 NOT NULL CHECK (interval_seconds > 0),
    installed         timestamptz,
    simulated         boolean NOT NULL DEFAULT false,
    metadata          jsonb NOT NULL DEFAULT '{}',
    registered_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX device_by_kind ON alatau.device (kind, id);
CREATE INDEX device_by_district ON alatau.device (district, id);

-- Apart from alatau.device, so that who may read devices does not read hashes.
CREATE TABLE alatau.device_credential (
    device_id   int PRIMARY KEY REFERENCES alatau.device ON DELETE CASCADE,
    salt        bytea NOT NULL,
    hash        bytea NOT NULL,  -- PBKDF2-HMAC-SHA512, as the broker's dynamic security wants it
    iterations  int NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE alatau.api_key (
    prefix      text PRIMARY KEY,
    hash        bytea NOT NULL,  -- SHA-256 of a key with 256 random bits
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz
);

CREATE TABLE alatau.dead_letter (
    dead_letter_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at     timestamptz NOT NULL,
    topic           text NOT NULL,
    payload         bytea NOT NULL,
    reason          text NOT NULL,
    detail          text NOT NULL,
    device_id       int REFERENCES alatau.device ON DELETE SET NULL,
    replayed_at     timestamptz,
    replay_verdict  text
);
CREATE INDEX dead_letter_by_reason ON alatau.dead_letter (reason, dead_letter_id);
CREATE INDEX dead_letter_by_device ON alatau.dead_letter (device_id, dead_letter_id);
CREATE INDEX dead_letter_by_topic ON alatau.dead_letter (md5(topic), received_at);

-- Newest value of each metric by event time, positions as in the kind's list of metrics.
CREATE TABLE alatau.latest (
    device_id    int PRIMARY KEY REFERENCES alatau.device ON DELETE CASCADE,
    time         timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    times        timestamptz[] NOT NULL,
    values       float8[] NOT NULL
) WITH (fillfactor = 70);  -- room beside each row, so that an update stays on its page and touches no index

-- Registers the devices of a JSON array and announces them; returns those that are new.
-- Runs as its owner: the API's role reads tables and writes none.
CREATE FUNCTION alatau.register_devices(document jsonb)
RETURNS TABLE (new_device_id int, new_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(document) AS d (
            id text, kind text, district text, longitude float8, latitude float8, interval_seconds float8,
            installed timestamptz, simulated boolean, metadata jsonb,
            salt text, hash text, iterations int)
    ), added AS (
        INSERT INTO alatau.device
            (id, kind, district, longitude, latitude, interval_seconds, installed, simulated, metadata)
        SELECT g.id, g.kind, g.district, g.longitude, g.latitude, g.interval_seconds, g.installed,
               g.simulated, g.metadata
        FROM given g
        ON CONFLICT (id) DO NOTHING
        RETURNING device_id, id
    ), credentials AS (
        INSERT INTO alatau.device_credential (device_id, salt, hash, iterations)
        SELECT a.device_id, decode(g.salt, 'base64'), decode(g.hash, 'base64'), g.iterations
        FROM added a JOIN given g USING (id)
        WHERE g.hash IS NOT NULL
    )
    SELECT a.device_id, a.id FROM added a;
    PERFORM pg_notify('alatau_devices', '');
END $$;

REVOKE ALL ON FUNCTION alatau.register_devices(jsonb) FROM PUBLIC;

-- When the readings of the last cuts arrived, for those without a time of their own: a redelivered one keeps
-- the time it had, and is stored once. Written in the transaction that stores them; a ring of slots a worker.
CREATE TABLE alatau.ingest_arrivals (
    worker      text NOT NULL,
    slot        int NOT NULL,
    written_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    records     bytea NOT NULL,
    PRIMARY KEY (worker, slot)
);
