-- What each service's role may do. Run after every migration; the roles exist by then.

GRANT USAGE ON SCHEMA alatau, reading TO alatau_ingest, alatau_api, alatau_maintenance;

-- /readyz compares the revision with the code's.
GRANT SELECT ON public.alembic_version TO alatau_ingest, alatau_api, alatau_maintenance;
GRANT SELECT ON alatau.catalogue_version, alatau.district, alatau.device
    TO alatau_ingest, alatau_api, alatau_maintenance;
GRANT SELECT, INSERT ON alatau.dead_letter TO alatau_ingest;
GRANT DELETE, UPDATE (repeats) ON alatau.dead_letter TO alatau_ingest;
GRANT SELECT, INSERT, UPDATE ON alatau.ingest_arrivals TO alatau_ingest;
GRANT SELECT, INSERT, UPDATE ON alatau.latest, alatau.device_status TO alatau_ingest;
GRANT SELECT, INSERT, UPDATE ON alatau.sequence TO alatau_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON alatau.sequence_gap TO alatau_ingest;
GRANT EXECUTE ON FUNCTION alatau.device_secret(text, smallint), alatau.gateway_secret(text, text) TO alatau_ingest;
GRANT SELECT ON alatau.sequence, alatau.sequence_gap TO alatau_api;
GRANT SELECT ON alatau.dead_letter, alatau.latest, alatau.device_status, alatau.api_key TO alatau_api;
GRANT EXECUTE ON FUNCTION alatau.register_devices(jsonb) TO alatau_api;
GRANT EXECUTE ON FUNCTION alatau.disable_device(text), alatau.enable_device(text), alatau.delete_device(text),
    alatau.replace_credential(text, bytea, bytea, int, interval) TO alatau_api, alatau_scoped;
-- Who has an account at the broker, and until when; not its password.
GRANT SELECT (device_id, slot, until) ON alatau.device_credential TO alatau_api, alatau_scoped;
GRANT EXECUTE ON FUNCTION alatau.end_rotations(int), alatau.end_batches(), alatau.is_claimed(text, bytea),
    alatau.take_place(text), alatau.note_claim(text, int, bytea) TO alatau_api;
-- Not the hash of its token.
GRANT SELECT (name, kind, district, places, used, created_at, created_by, expires_at, revoked_at, closed_at)
    ON alatau.claim_batch TO alatau_api, alatau_scoped;
GRANT EXECUTE ON FUNCTION alatau.revoke_batch(text),
    alatau.add_batch(text, text, text, int, interval, bytea, bytea, int, text) TO alatau_api, alatau_scoped;
-- Who adds a gateway can't read the hash of its secret.
GRANT SELECT (name, format, created_at, created_by, disabled_at), INSERT, DELETE ON alatau.gateway TO alatau_api;

GRANT SELECT ON alatau.rollup_progress TO alatau_ingest, alatau_api;
GRANT INSERT ON alatau.rollup_dirty TO alatau_ingest;
GRANT SELECT ON alatau.rollup_dirty TO alatau_api;
GRANT EXECUTE ON FUNCTION alatau.begin_write() TO alatau_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON alatau.rollup_progress, alatau.rollup_dirty TO alatau_maintenance;

GRANT EXECUTE ON FUNCTION alatau.apply_retention(text, text), alatau.compress_oldest(text, interval)
    TO alatau_maintenance;
GRANT SELECT ON alatau.correction TO alatau_api;
GRANT EXECUTE ON FUNCTION alatau.correct(
    text, timestamptz, timestamptz, jsonb, text, text, text[], float8, float8) TO alatau_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON alatau.export TO alatau_api;

GRANT USAGE ON SCHEMA rollup TO alatau_api, alatau_maintenance;
GRANT SELECT ON ALL TABLES IN SCHEMA rollup TO alatau_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA rollup GRANT SELECT ON TABLES TO alatau_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA rollup TO alatau_maintenance;
ALTER DEFAULT PRIVILEGES IN SCHEMA rollup GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO alatau_maintenance;

GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA reading TO alatau_ingest;
GRANT SELECT ON ALL TABLES IN SCHEMA reading TO alatau_api, alatau_maintenance;
ALTER DEFAULT PRIVILEGES IN SCHEMA reading GRANT SELECT, INSERT, UPDATE ON TABLES TO alatau_ingest;
ALTER DEFAULT PRIVILEGES IN SCHEMA reading GRANT SELECT ON TABLES TO alatau_api, alatau_maintenance;

-- A key with a scope is served as alatau_scoped: it reads what the policies let it see. They come first.
SELECT alatau.protect('alatau.device',
                      alatau.within('district', 'districts') || ' AND ' || alatau.within('kind', 'kinds'));
-- What is of a device is seen by who sees the device; a refused message of no device by nobody with a scope.
SELECT alatau.protect(place::regclass, format(
    'EXISTS (SELECT FROM alatau.device d WHERE d.device_id = %s.device_id)', place))
FROM unnest('{alatau.latest,alatau.device_status,alatau.dead_letter,alatau.sequence,alatau.sequence_gap,
              alatau.correction,alatau.rollup_dirty,alatau.device_credential}'::text[]) AS place;
SELECT alatau.protect('alatau.claim_batch',
                      alatau.within('district', 'districts') || ' AND ' || alatau.within('kind', 'kinds'));
SELECT alatau.protect('alatau.export', $$requested_by = nullif(current_setting('alatau.caller', true), '')$$);
-- Of districts; what is made later is protected where it is made.
SELECT alatau.protect_districts(format('%I.%I', schemaname, tablename)::regclass,
                                regexp_replace(tablename, '_(5m|1h|1d)_district$', ''))
FROM pg_tables WHERE schemaname = 'rollup' AND tablename ~ '_(5m|1h|1d)_district$';
GRANT USAGE ON SCHEMA alatau, reading, rollup TO alatau_scoped;
GRANT SELECT ON alatau.district, alatau.device, alatau.latest, alatau.device_status, alatau.dead_letter,
    alatau.sequence, alatau.sequence_gap, alatau.correction, alatau.rollup_progress, alatau.rollup_dirty
    TO alatau_scoped;
GRANT SELECT, INSERT, DELETE ON alatau.export TO alatau_scoped;
GRANT SELECT ON ALL TABLES IN SCHEMA reading, rollup TO alatau_scoped;
ALTER DEFAULT PRIVILEGES IN SCHEMA reading GRANT SELECT ON TABLES TO alatau_scoped;
ALTER DEFAULT PRIVILEGES IN SCHEMA rollup GRANT SELECT ON TABLES TO alatau_scoped;
GRANT EXECUTE ON FUNCTION alatau.register_devices(jsonb), alatau.correct(
    text, timestamptz, timestamptz, jsonb, text, text, text[], float8, float8) TO alatau_scoped;

GRANT EXECUTE ON FUNCTION alatau.waiting_exports() TO alatau_api, alatau_scoped;
GRANT INSERT, UPDATE (last_used_at, revoked_at) ON alatau.api_key TO alatau_api;
GRANT SELECT, INSERT ON alatau.audit TO alatau_api;
GRANT INSERT ON alatau.audit TO alatau_scoped;

-- The API makes people and keeps their sessions; what names them elsewhere is set once, when they are made.
GRANT SELECT, INSERT, DELETE,
    UPDATE (name, password_hash, role, districts, kinds, last_sign_in_at, known_addresses, disabled_at)
    ON alatau.user_account TO alatau_api;
GRANT SELECT, INSERT, DELETE, UPDATE (used_at) ON alatau.user_session TO alatau_api;

-- The alerts' role reads what was measured, and writes what is wrong; people only say of an alert that they know.
GRANT USAGE ON SCHEMA alatau, reading, rollup TO alatau_alerts;
GRANT SELECT ON public.alembic_version, alatau.catalogue_version, alatau.district, alatau.device, alatau.latest,
    alatau.device_status, alatau.dead_letter, alatau.rollup_progress, alatau.maintenance_window TO alatau_alerts;
GRANT SELECT ON ALL TABLES IN SCHEMA reading, rollup TO alatau_alerts;
ALTER DEFAULT PRIVILEGES IN SCHEMA reading GRANT SELECT ON TABLES TO alatau_alerts;
ALTER DEFAULT PRIVILEGES IN SCHEMA rollup GRANT SELECT ON TABLES TO alatau_alerts;
GRANT SELECT, INSERT, UPDATE ON alatau.alert_rule TO alatau_alerts;
GRANT SELECT, INSERT, UPDATE, DELETE ON alatau.alert TO alatau_alerts;
GRANT SELECT, INSERT ON alatau.alert_event TO alatau_alerts;
GRANT SELECT, INSERT, UPDATE, DELETE ON alatau.alert_rule TO alatau_api;
GRANT SELECT, INSERT, DELETE ON alatau.maintenance_window TO alatau_api, alatau_scoped;
GRANT SELECT, UPDATE (state, changed_at, said_at, acknowledged_by, acknowledged_at, acknowledged_note) ON alatau.alert
    TO alatau_api, alatau_scoped;
GRANT SELECT, INSERT ON alatau.alert_event TO alatau_api, alatau_scoped;
GRANT SELECT (id, name) ON alatau.alert_rule TO alatau_scoped;
-- What is of a device is where the device is now; what is of no district or kind is of the whole city.
SELECT alatau.protect(place::regclass, format(
    'CASE WHEN device_id IS NULL THEN %s AND %s
          ELSE EXISTS (SELECT FROM alatau.device d WHERE d.device_id = %s.device_id) END',
    alatau.within('district', 'districts'), alatau.within('kind', 'kinds'), place))
FROM unnest('{alatau.alert,alatau.maintenance_window}'::text[]) AS place;
SELECT alatau.protect('alatau.alert_event',
                      'EXISTS (SELECT FROM alatau.alert a WHERE a.id = alert_event.alert_id)');
-- Only the name of a rule that something visible comes from.
SELECT alatau.protect('alatau.alert_rule',
                      'EXISTS (SELECT FROM alatau.alert a WHERE a.rule_id = alert_rule.id)');

-- Who makes a destination of alerts can't read what its messages are signed with; who delivers can.
GRANT SELECT (destination_id, name, type, url, recipients, severity, districts, kinds, per_minute, enabled, language,
              created_at, created_by, changed_at), INSERT, DELETE,
    UPDATE (url, recipients, severity, districts, kinds, per_minute, enabled, language, changed_at)
    ON alatau.destination TO alatau_api;
GRANT SELECT ON alatau.delivery TO alatau_api;
GRANT EXECUTE ON FUNCTION alatau.replace_destination_secret(text, text, interval), alatau.test_destination(text)
    TO alatau_api;
GRANT SELECT ON alatau.destination TO alatau_alerts;
GRANT SELECT, UPDATE, DELETE ON alatau.delivery TO alatau_alerts;

-- Dashboards that speak SQL themselves: what was measured, what is late, what is wrong. No payloads, which may hold
-- anything; nobody's account, key or secret.
GRANT USAGE ON SCHEMA alatau, reading, rollup TO alatau_reader;
GRANT SELECT ON alatau.district, alatau.device, alatau.latest, alatau.device_status, alatau.sequence,
    alatau.sequence_gap, alatau.rollup_progress, alatau.rollup_dirty TO alatau_reader;
-- Not who has seen an alert, nor what they said of it.
GRANT SELECT (id, rule_id, kind_of_rule, fingerprint, severity, state, title, sentence, since, changed_at, fired_at,
              gone_since, clear_seconds, resolved_at, device_id, district, kind, metric, value, low, high, evidence)
    ON alatau.alert TO alatau_reader;
GRANT SELECT (dead_letter_id, received_at, topic, reason, detail, device_id, repeats, replayed_at, replay_verdict)
    ON alatau.dead_letter TO alatau_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA reading, rollup TO alatau_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA reading GRANT SELECT ON TABLES TO alatau_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA rollup GRANT SELECT ON TABLES TO alatau_reader;

-- What speaks other formats: ingest notes who is seen, people claim it.
GRANT SELECT ON alatau.profile, alatau.source TO alatau_ingest, alatau_api;
-- Not the topics: FIWARE's have a secret of devices in them.
GRANT SELECT ON alatau.profile TO alatau_reader;
GRANT SELECT (format, name, device_id, profile, first_seen, last_seen, messages, fields, changed_at)
    ON alatau.source TO alatau_reader;
GRANT INSERT (format, name, first_seen, last_seen, messages, fields, topics), DELETE,
    UPDATE (last_seen, messages, fields, topics, kept_after) ON alatau.source TO alatau_ingest;
-- What was kept of a source that somebody has claimed since is read again.
GRANT UPDATE (replayed_at, replay_verdict) ON alatau.dead_letter TO alatau_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON alatau.lesson TO alatau_ingest;
GRANT SELECT ON alatau.profile_version TO alatau_api;
GRANT INSERT, UPDATE, DELETE ON alatau.profile TO alatau_api;
GRANT INSERT ON alatau.profile_version TO alatau_api;
GRANT INSERT, UPDATE (device_id, profile, kept_after, changed_at) ON alatau.source TO alatau_api;
GRANT SELECT ON alatau.source, alatau.profile, alatau.profile_version TO alatau_scoped;
SELECT alatau.protect('alatau.source', 'EXISTS (SELECT FROM alatau.device d WHERE d.device_id = source.device_id)');
