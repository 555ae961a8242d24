-- Alerts: rules as data, windows in which nothing new is raised, what is wrong now, and what became of it.

CREATE TABLE alatau.alert_rule (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    kind        text NOT NULL,  -- what its definition is of: alerts/rules.py
    definition  jsonb NOT NULL,
    severity    text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    enabled     boolean NOT NULL DEFAULT true,
    origin      text NOT NULL CHECK (origin IN ('builtin', 'file', 'api')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE alatau.maintenance_window (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    starts      timestamptz NOT NULL,
    ends        timestamptz NOT NULL CHECK (ends > starts),
    -- Of what; all that are NULL: of the whole city.
    device_id   int REFERENCES alatau.device ON DELETE CASCADE,
    district    text REFERENCES alatau.district (name),
    kind        text,
    reason      text NOT NULL,
    created_by  text NOT NULL
);
CREATE INDEX maintenance_window_by_end ON alatau.maintenance_window (ends);

CREATE TABLE alatau.alert (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id            int REFERENCES alatau.alert_rule ON DELETE SET NULL,
    kind_of_rule       text NOT NULL,
    fingerprint        text NOT NULL,
    severity           text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state              text NOT NULL CHECK (state IN ('pending', 'firing', 'acknowledged', 'resolved')),
    title              text NOT NULL,
    sentence           text NOT NULL,
    since              timestamptz NOT NULL,  -- by the readings
    changed_at         timestamptz NOT NULL,
    fired_at           timestamptz,           -- NULL: it was over before it counted
    gone_since         timestamptz,           -- since when it no longer holds, while it is not yet over
    clear_seconds      float8 NOT NULL,       -- how long it must be gone until it is over
    resolved_at        timestamptz CHECK ((resolved_at IS NULL) = (state <> 'resolved')),
    device_id          int REFERENCES alatau.device ON DELETE SET NULL,
    district           text,
    kind               text,
    metric             text,
    value              float8,
    low                float8,
    high               float8,
    evidence           jsonb NOT NULL DEFAULT '{}',
    acknowledged_by    text,
    acknowledged_at    timestamptz,
    acknowledged_note  text
);
CREATE UNIQUE INDEX alert_once ON alatau.alert (fingerprint) WHERE state <> 'resolved';
CREATE INDEX alert_again ON alatau.alert (fingerprint, since);
CREATE INDEX alert_by_change ON alatau.alert (changed_at);
CREATE INDEX alert_by_device ON alatau.alert (device_id, id);
CREATE INDEX alert_by_rule ON alatau.alert (rule_id);
CREATE INDEX alert_by_end ON alatau.alert (resolved_at) WHERE state = 'resolved';
CREATE INDEX alert_unheard ON alatau.alert (resolved_at) WHERE state = 'resolved' AND fired_at IS NULL;

-- The history of each alert; only ever added to.
CREATE TABLE alatau.alert_event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id  bigint NOT NULL REFERENCES alatau.alert ON DELETE CASCADE,
    time      timestamptz NOT NULL,
    state     text NOT NULL CHECK (state IN ('pending', 'firing', 'acknowledged', 'resolved')),
    value     float8,
    sentence  text NOT NULL,
    by        text  -- NULL: nobody, it came about
);
CREATE INDEX alert_event_of_alert ON alatau.alert_event (alert_id, id);

-- Whoever shows alerts hears of a change once it is committed.
CREATE FUNCTION alatau.announce_alerts() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('alatau_alerts', '');
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION alatau.announce_alerts() FROM PUBLIC;
CREATE TRIGGER announced AFTER INSERT OR UPDATE OR DELETE ON alatau.alert
    FOR EACH STATEMENT EXECUTE FUNCTION alatau.announce_alerts();
