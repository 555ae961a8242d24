-- Rollups: partial states of readings over 5 minutes, an hour, a day. Their tables are made with each kind's.

CREATE SCHEMA rollup;

-- How far each kind's rollups have come; no row before the first refresh.
CREATE TABLE alatau.rollup_progress (
    kind       text PRIMARY KEY,
    -- Whose calendar days the rollups of a day are: the city's, when the first was made.
    zone       text NOT NULL,
    -- Who stores, changes or deletes a reading with a time before this notes it in rollup_dirty.
    logged_to  timestamptz NOT NULL,
    -- Before this the rollups are what the readings say, but for what rollup_dirty names.
    clean_to   timestamptz NOT NULL DEFAULT '-infinity',
    -- Readings before this were dropped; rollups before it stay what they are.
    horizon    timestamptz NOT NULL DEFAULT '-infinity',
    -- The same of each tier of rollups.
    horizon_5m timestamptz NOT NULL DEFAULT '-infinity',
    horizon_1h timestamptz NOT NULL DEFAULT '-infinity',
    horizon_1d timestamptz NOT NULL DEFAULT '-infinity'
);

-- What was stored, changed or deleted since the rollups were made: appended by writers, taken by the refresher.
CREATE TABLE alatau.rollup_dirty (
    rollup_dirty_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL,
    device_id        int NOT NULL,
    start            timestamptz NOT NULL,  -- of the first bucket of 5 minutes, UTC
    stop             timestamptz NOT NULL,  -- the end of the last
    district         text                   -- that the device has left, and whose rollups change with it
);
CREATE INDEX rollup_dirty_by_kind ON alatau.rollup_dirty (kind, rollup_dirty_id);

-- Called by a transaction before it stores, changes or deletes readings; returns what to note for each kind.
-- The lock lasts until it ends: whoever moves logged_to waits for it, so that no write is seen by neither.
CREATE FUNCTION alatau.begin_write() RETURNS TABLE (of_kind text, noted_before timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
    -- Two statements, so that the second sees what was committed while the first waited.
    PERFORM pg_advisory_xact_lock_shared(hashtext('alatau.rollup'));
    RETURN QUERY SELECT kind, logged_to FROM alatau.rollup_progress;
END $$;
REVOKE ALL ON FUNCTION alatau.begin_write() FROM PUBLIC;
