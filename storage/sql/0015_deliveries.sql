-- Where alerts are delivered to, and the outbox: what is to be delivered is written in the transaction of the event
-- that it is about, so that neither is there without the other.

CREATE TABLE alatau.destination (
    destination_id    int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name              text NOT NULL UNIQUE COLLATE "C",
    type              text NOT NULL CHECK (type IN ('webhook', 'mqtt', 'email')),
    url               text,
    recipients        text[] NOT NULL DEFAULT '{}',
    severity          text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),  -- the least
    districts         text[] CHECK (districts <> '{}'),  -- NULL: all
    kinds             text[] CHECK (kinds <> '{}'),
    per_minute        int NOT NULL CHECK (per_minute > 0),
    enabled           boolean NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    created_by        text NOT NULL,
    changed_at        timestamptz NOT NULL DEFAULT now(),
    -- What a webhook's messages are signed with: who makes it may write it and can't read it. The old one is still
    -- signed with until its end.
    secret            text,
    old_secret        text,
    old_secret_until  timestamptz,
    CHECK ((type = 'webhook') = (url IS NOT NULL)),
    CHECK ((type = 'webhook') = (secret IS NOT NULL)),
    CHECK ((type = 'email') = (recipients <> '{}'))
);

CREATE TABLE alatau.delivery (
    delivery_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id      uuid NOT NULL DEFAULT gen_random_uuid(),  -- the same in each attempt
    destination_id  int NOT NULL REFERENCES alatau.destination ON DELETE CASCADE,
    alert_id        bigint REFERENCES alatau.alert ON DELETE CASCADE,  -- NULL: a test
    alert_event_id  bigint REFERENCES alatau.alert_event ON DELETE CASCADE,
    state           text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts        int NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    waiting_since   timestamptz NOT NULL DEFAULT clock_timestamp(),  -- later than created where it is replayed
    next_attempt    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    last_error      text,
    CHECK ((state = 'waiting') = (finished_at IS NULL)),
    CHECK ((alert_id IS NULL) = (alert_event_id IS NULL))
);
CREATE INDEX delivery_waiting ON alatau.delivery (destination_id, delivery_id) WHERE state = 'waiting';
CREATE INDEX delivery_by_state ON alatau.delivery (state, delivery_id);
CREATE INDEX delivery_by_event ON alatau.delivery (alert_event_id);
CREATE INDEX delivery_by_alert ON alatau.delivery (alert_id);
CREATE INDEX delivery_finished ON alatau.delivery (finished_at) WHERE state <> 'waiting';

-- What did not come to fire is nobody's business, nor is its end.
CREATE FUNCTION alatau.enter_deliveries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO alatau.delivery (destination_id, alert_id, alert_event_id)
    SELECT d.destination_id, e.alert_id, e.id
    FROM added e JOIN alatau.alert a ON a.id = e.alert_id JOIN alatau.destination d ON d.enabled
    LEFT JOIN alatau.device v ON v.device_id = a.device_id
    WHERE e.state <> 'pending'
          AND EXISTS (SELECT FROM alatau.alert_event f WHERE f.alert_id = e.alert_id AND f.state = 'firing')
          AND array_position('{info,warning,critical}'::text[], a.severity)
              >= array_position('{info,warning,critical}'::text[], d.severity)
          AND (d.districts IS NULL OR coalesce(v.district, a.district) = ANY (d.districts))
          AND (d.kinds IS NULL OR a.kind = ANY (d.kinds))
    ORDER BY e.id, d.destination_id;
    IF FOUND THEN
        PERFORM pg_notify('alatau_deliveries', '');
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION alatau.enter_deliveries() FROM PUBLIC;
CREATE TRIGGER enter_deliveries AFTER INSERT ON alatau.alert_event
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION alatau.enter_deliveries();

-- Has a webhook's messages signed with another secret, and with the old one, too, for the grace. Returns whether there
-- is such a webhook.
CREATE FUNCTION alatau.replace_destination_secret(of_name text, new_secret text, grace interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE alatau.destination d
    SET secret = new_secret, old_secret = d.secret, old_secret_until = now() + grace, changed_at = now()
    WHERE d.name = of_name AND d.type = 'webhook';
    RETURN FOUND;
END $$;
REVOKE ALL ON FUNCTION alatau.replace_destination_secret(text, text, interval) FROM PUBLIC;

-- Has a message sent that says it is a test; returns its number, NULL of no such destination.
CREATE FUNCTION alatau.test_destination(of_name text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH told AS (SELECT pg_notify('alatau_deliveries', ''))
    INSERT INTO alatau.delivery (destination_id)
    SELECT d.destination_id FROM alatau.destination d, told WHERE d.name = of_name
    RETURNING delivery_id
$$;
REVOKE ALL ON FUNCTION alatau.test_destination(text) FROM PUBLIC;

-- Alerts are told at the broker without anybody asking for it; this costs nobody anything.
INSERT INTO alatau.destination (name, type, severity, per_minute, enabled, created_by)
VALUES ('mqtt', 'mqtt', 'info', 1200, true, 'alatau');
