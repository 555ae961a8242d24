-- What is kept for how long, what goes by that; and corrections of what was stored.

CREATE TABLE alatau.retention (
    kind  text NOT NULL,  -- '*': every kind that has no row of its own
    tier  text NOT NULL CHECK (tier IN ('raw', '5m', '1h', '1d')),
    keep  interval CHECK (keep BETWEEN interval '2 days' AND interval '1000 years'),  -- NULL: for ever
    PRIMARY KEY (kind, tier)
);
INSERT INTO alatau.retention (kind, tier, keep) VALUES
    ('*', 'raw', interval '30 days'), ('*', '5m', interval '180 days'), ('*', '1h', NULL), ('*', '1d', NULL);

-- Before which time a tier of a kind may go now, NULL for nothing. A reading stays until the rollups hold it; below
-- the horizon they are never made again, so what came late there stays for nothing. Rollups stay as long as the
-- readings, and those of a day more: the first day of which there are readings is made of its hours.
CREATE FUNCTION alatau.retention_limit(of_kind text, of_tier text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE of_tier
        WHEN 'raw' THEN greatest(
            least(now() - policy.keep, progress.clean_to,
                  (SELECT min(dirty.start) FROM alatau.rollup_dirty dirty
                   WHERE dirty.kind = of_kind AND dirty.stop > progress.horizon)),
            least(now() - policy.keep, progress.horizon))
        ELSE least(now() - policy.keep, progress.horizon - interval '25 hours') END
    FROM alatau.rollup_progress progress
    CROSS JOIN LATERAL (
        SELECT r.keep FROM alatau.retention r WHERE r.kind IN (of_kind, '*') AND r.tier = of_tier
        ORDER BY r.kind = '*' LIMIT 1) policy
    WHERE progress.kind = of_kind AND policy.keep IS NOT NULL
$$;

-- What would go: whole chunks, and (start NULL) the rows before stop of tables that have none.
CREATE FUNCTION alatau.retention_plan(of_kind text, of_tier text)
RETURNS TABLE (place text, start timestamptz, stop timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH bound AS (
        SELECT alatau.retention_limit(of_kind, of_tier) AS time
    ), chunk AS (
        SELECT format('%I.%I', c.chunk_schema, c.chunk_name) AS place, c.range_start, c.range_end
        FROM timescaledb_information.chunks c CROSS JOIN bound
        WHERE c.hypertable_schema = CASE of_tier WHEN 'raw' THEN 'reading' ELSE 'rollup' END
              AND c.hypertable_name = of_kind || CASE of_tier WHEN 'raw' THEN '' ELSE '_' || of_tier END
              AND c.range_end <= bound.time
    ), cut AS (
        -- Districts' rows go with the devices'. A day that began so long ago is over, whatever the zone.
        SELECT CASE of_tier WHEN '1d' THEN (SELECT bound.time - interval '25 hours' FROM bound)
                            ELSE (SELECT max(chunk.range_end) FROM chunk) END AS time
    ), plain AS (
        SELECT format('rollup.%I', of_kind || '_' || of_tier || suffix) AS place
        FROM unnest(CASE of_tier WHEN 'raw' THEN '{}'::text[] WHEN '1d' THEN '{"",_district}'::text[]
                                 ELSE '{_district}'::text[] END) AS suffix
    )
    SELECT chunk.* FROM chunk
    UNION ALL
    SELECT plain.place, NULL, cut.time FROM plain CROSS JOIN cut
    WHERE cut.time > '-infinity' AND to_regclass(plain.place) IS NOT NULL
    ORDER BY 2 NULLS LAST, 1
$$;

-- Drops what the plan says and moves the horizon along. ``gone`` counts rows that were deleted; of a dropped chunk
-- it is the database's estimate. Runs as its owner: maintenance can drop by the policy, and nothing else.
CREATE FUNCTION alatau.apply_retention(of_kind text, of_tier text)
RETURNS TABLE (place text, start timestamptz, stop timestamptz, gone bigint, bytes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    hypertable text := CASE of_tier WHEN 'raw' THEN format('reading.%I', of_kind)
                                    ELSE format('rollup.%I', of_kind || '_' || of_tier) END;
    horizon text := CASE of_tier WHEN 'raw' THEN 'horizon' ELSE 'horizon_' || of_tier END;
    doomed record;
    chunks_to timestamptz;
    moved_to timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('alatau.retention'));
    -- The chunks first: while somebody reads one for long, we wait here, and no writer waits with us.
    FOR doomed IN SELECT p.* FROM alatau.retention_plan(of_kind, of_tier) p WHERE p.start IS NOT NULL LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', doomed.place);
    END LOOP;
    -- From here on nobody stores or changes a reading until we are done; what they have noted since is seen below.
    PERFORM pg_advisory_xact_lock(hashtext('alatau.rollup'));
    FOR doomed IN SELECT p.* FROM alatau.retention_plan(of_kind, of_tier) p LOOP
        moved_to := greatest(moved_to, doomed.stop);
        place := doomed.place;
        start := doomed.start;
        stop := doomed.stop;
        IF doomed.start IS NULL THEN
            EXECUTE format('DELETE FROM %s WHERE bucket < $1', doomed.place) USING doomed.stop;
            GET DIAGNOSTICS gone = ROW_COUNT;
            bytes := 0;
            CONTINUE WHEN gone = 0;
        ELSE
            chunks_to := greatest(chunks_to, doomed.stop);
            SELECT greatest(c.reltuples, 0), pg_total_relation_size(c.oid) INTO gone, bytes
            FROM pg_class c WHERE c.oid = doomed.place::regclass;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF chunks_to IS NOT NULL THEN
        PERFORM public.drop_chunks(hypertable::regclass, older_than => chunks_to);
    END IF;
    EXECUTE format('UPDATE alatau.rollup_progress SET %1$I = $1 WHERE kind = $2 AND %1$I < $1', horizon)
    USING moved_to, of_kind;
END $$;
REVOKE ALL ON FUNCTION alatau.apply_retention(text, text) FROM PUBLIC;

-- Compresses the oldest chunk of readings that is not yet and ended longer ago than ``after``; returns its name, or
-- NULL when there is none. Of the Community edition.
CREATE FUNCTION alatau.compress_oldest(of_kind text, after interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    chunk text;
BEGIN
    SELECT format('%I.%I', c.chunk_schema, c.chunk_name) INTO chunk
    FROM timescaledb_information.chunks c
    WHERE c.hypertable_schema = 'reading' AND c.hypertable_name = of_kind AND NOT c.is_compressed
          AND c.range_end <= now() - after
    ORDER BY c.range_start LIMIT 1;
    IF chunk IS NULL THEN
        RETURN NULL;
    END IF;
    IF NOT (SELECT h.compression_enabled FROM timescaledb_information.hypertables h
            WHERE h.hypertable_schema = 'reading' AND h.hypertable_name = of_kind) THEN
        EXECUTE format('ALTER TABLE reading.%I SET (timescaledb.enable_columnstore = true, '
                       'timescaledb.segmentby = ''device_id'', timescaledb.orderby = ''time'')', of_kind);
    END IF;
    EXECUTE format('CALL public.convert_to_columnstore(%L::regclass)', chunk);
    RETURN chunk;
END $$;
REVOKE ALL ON FUNCTION alatau.compress_oldest(text, interval) FROM PUBLIC;

-- Every correction that changed something, in the order of their commits.
CREATE TABLE alatau.correction (
    correction_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corrected_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    corrected_by   text NOT NULL,
    why            text NOT NULL CHECK (why <> ''),
    device_id      int NOT NULL REFERENCES alatau.device,
    kind           text NOT NULL,
    start          timestamptz NOT NULL,
    stop           timestamptz NOT NULL CHECK (start < stop),
    action         jsonb NOT NULL,
    rows_changed   bigint NOT NULL,
    rows_deleted   bigint NOT NULL
);
CREATE INDEX correction_by_device ON alatau.correction (device_id, correction_id);
CREATE INDEX correction_by_range ON alatau.correction USING gist (tstzrange(start, stop));

-- The highest number of a correction that touched a range of a kind; 0 when none has. While it stays the same,
-- only what comes late changes the range.
CREATE FUNCTION alatau.data_version(of_kind text, range_start timestamptz, range_stop timestamptz) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(c.correction_id), 0) FROM alatau.correction c
    WHERE c.kind = of_kind AND tstzrange(c.start, c.stop) && tstzrange(range_start, range_stop)
$$;

-- Makes the latest values of a device anew where they were of a range that was corrected.
CREATE FUNCTION alatau.heal_latest(device int, of_kind text, columns text[], range_start timestamptz,
                                   range_stop timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    healed alatau.latest;
    newest record;
BEGIN
    -- Locked before the readings are read: what ingest merges meanwhile is newer, and merges after us.
    SELECT * INTO healed FROM alatau.latest l WHERE l.device_id = device FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR n IN 1 .. least(cardinality(columns), cardinality(healed.times)) LOOP
        CONTINUE WHEN healed.times[n] < range_start OR healed.times[n] >= range_stop;
        EXECUTE format('SELECT r.time, r.%1$I AS value FROM reading.%2$I r WHERE r.device_id = $1 '
                       'AND r.%1$I IS NOT NULL ORDER BY r.time DESC LIMIT 1', columns[n], of_kind)
        INTO newest USING device;
        healed.times[n] := coalesce(newest.time, '-infinity');
        healed.values[n] := coalesce(newest.value, 'NaN');
    END LOOP;
    SELECT max(t) INTO healed.time FROM unnest(healed.times) t;
    IF healed.time = '-infinity' THEN
        DELETE FROM alatau.latest l WHERE l.device_id = device;
        RETURN;
    END IF;
    EXECUTE format('SELECT r.received_at FROM reading.%I r WHERE r.device_id = $1 AND r.time = $2', of_kind)
    INTO newest USING device, healed.time;
    UPDATE alatau.latest l
    SET time = healed.time, received_at = coalesce(newest.received_at, l.received_at), times = healed.times,
        -- A column of revision 0007.
        values = healed.values, changed = pg_current_xact_id()::text::bigint
    WHERE l.device_id = device;
END $$;
REVOKE ALL ON FUNCTION alatau.heal_latest(int, text, text[], timestamptz, timestamptz) FROM PUBLIC;

-- Corrects the readings of a device in a range, whole or not at all; ``columns`` are the metrics of its kind in the
-- order of the catalogue. ``action`` is one of
--     {"delete": null}                                whole readings
--     {"delete": metric}                              its values; a reading left without any value goes, too
--     {"amend": metric, "set": x}                     its values become x
--     {"amend": metric, "scale": a, "offset": b}      its values become a * value + b
-- Refuses (SQLSTATE P0A01) what begins before the horizon, which would change readings and not their rollups, and
-- (P0A02) values outside of ``lowest`` to ``highest``; their number, least and greatest are in the detail.
-- ``number`` is NULL when nothing was to be changed. Runs as its owner: the API's role writes no readings.
CREATE FUNCTION alatau.correct(
    of_device text, range_start timestamptz, range_stop timestamptz, action jsonb, why text, who text,
    columns text[], lowest float8, highest float8)
RETURNS TABLE (number bigint, changed bigint, deleted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- In compressed chunks it would be 100,000.
SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0 AS $$
DECLARE
    device alatau.device;
    noted timestamptz;
    horizon timestamptz;
    metric text := coalesce(action ->> 'amend', action ->> 'delete');
    result text := CASE WHEN action ? 'set' THEN '$4' WHEN action ? 'amend' THEN format('%I * $4 + $5', metric)
                        ELSE 'NULL' END;
    condition text;
    outside bigint;
    least_value float8;
    greatest_value float8;
    touched tstzmultirange;
    emptied tstzmultirange;
BEGIN
    IF NOT action ?| '{delete,amend}' OR NOT coalesce(metric = ANY (columns), action ? 'delete')
       OR columns && '{time,received_at,device_id}' THEN
        RAISE EXCEPTION 'no such correction: %', action USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO STRICT device FROM alatau.device d WHERE d.id = of_device;
    -- One at a time, so that their numbers rise in the order in which they are seen.
    PERFORM pg_advisory_xact_lock(hashtext('alatau.correction'));
    SELECT w.noted_before INTO noted FROM alatau.begin_write() w WHERE w.of_kind = device.kind;
    SELECT p.horizon INTO horizon FROM alatau.rollup_progress p WHERE p.kind = device.kind;
    IF range_start < horizon THEN
        RAISE EXCEPTION 'readings before % are gone', horizon
        USING ERRCODE = 'P0A01', DETAIL = ((extract(epoch FROM horizon) * 1000000)::bigint)::text;
    END IF;
    changed := 0;
    deleted := 0;
    IF metric IS NOT NULL THEN
        EXECUTE format($statement$
            WITH changed AS (
                UPDATE reading.%1$I SET %2$I = %3$s
                WHERE device_id = $1 AND time >= $2 AND time < $3 AND %2$I IS NOT NULL
                      AND %2$I IS DISTINCT FROM (%3$s)::float8
                RETURNING time, %2$I AS value)
            SELECT count(*), count(*) FILTER (WHERE value < $6 OR value > $7), min(value), max(value),
                   range_agg(tstzrange(date_bin('5 minutes', time, 'epoch'),
                                       date_bin('5 minutes', time, 'epoch') + interval '5 minutes'))
                   FILTER (WHERE time < $8)
            FROM changed$statement$, device.kind, metric, result)
        INTO changed, outside, least_value, greatest_value, touched
        USING device.device_id, range_start, range_stop,
              coalesce(action ->> 'set', action ->> 'scale')::float8, (action ->> 'offset')::float8,
              coalesce(lowest, '-infinity'), coalesce(highest, 'infinity'), noted;
        IF outside > 0 THEN
            RAISE EXCEPTION '% values would lie outside of % to %', outside, lowest, highest
            USING ERRCODE = 'P0A02', DETAIL = format('%s %s %s', outside, least_value, greatest_value);
        END IF;
    END IF;
    IF action ? 'delete' THEN
        condition := CASE WHEN metric IS NULL THEN 'true' ELSE (
            SELECT format('num_nonnulls(%s) = 0', string_agg(format('%I', c), ', ')) FROM unnest(columns) c) END;
        EXECUTE format($statement$
            WITH deleted AS (
                DELETE FROM reading.%1$I
                WHERE device_id = $1 AND time >= $2 AND time < $3 AND %2$s
                RETURNING time)
            SELECT count(*), range_agg(tstzrange(date_bin('5 minutes', time, 'epoch'),
                                                 date_bin('5 minutes', time, 'epoch') + interval '5 minutes'))
                   FILTER (WHERE time < $4)
            FROM deleted$statement$, device.kind, condition)
        INTO deleted, emptied USING device.device_id, range_start, range_stop, noted;
        changed := greatest(changed - deleted, 0);
    END IF;
    IF changed + deleted > 0 THEN
        INSERT INTO alatau.rollup_dirty (kind, device_id, start, stop)
        SELECT device.kind, device.device_id, lower(bucket), upper(bucket)
        FROM unnest(coalesce(touched, '{}') + coalesce(emptied, '{}')) AS bucket;
        PERFORM alatau.heal_latest(device.device_id, device.kind, columns, range_start, range_stop);
        INSERT INTO alatau.correction
            (corrected_by, why, device_id, kind, start, stop, action, rows_changed, rows_deleted)
        VALUES (who, why, device.device_id, device.kind, range_start, range_stop, action, changed, deleted)
        RETURNING correction_id INTO number;
    END IF;
    RETURN NEXT;
END $$;
REVOKE ALL ON FUNCTION alatau.correct(
    text, timestamptz, timestamptz, jsonb, text, text, text[], float8, float8) FROM PUBLIC;
