-- Who was told that an alert began is told how it ends, whatever they ask for by then; a severity is part of an alert's
-- history; and what is only said anew is no change.

-- When what it says was last said: later with each change, and with each rewording. Streams go by it.
ALTER TABLE alatau.alert ADD COLUMN said_at timestamptz NOT NULL DEFAULT now();
UPDATE alatau.alert SET said_at = changed_at;
DROP INDEX alatau.alert_by_change;
CREATE INDEX alert_by_saying ON alatau.alert (said_at) INCLUDE (id);

ALTER TABLE alatau.alert_event ADD COLUMN severity text CHECK (severity IN ('info', 'warning', 'critical'));
UPDATE alatau.alert_event e SET severity = a.severity FROM alatau.alert a WHERE a.id = e.alert_id;
ALTER TABLE alatau.alert_event ALTER COLUMN severity SET NOT NULL;

-- Which is the oldest of an alert, which is the next, and how it goes with a destination: each is found, not looked for.
CREATE INDEX delivery_heads ON alatau.delivery (destination_id, alert_id, delivery_id) WHERE state = 'waiting';
CREATE INDEX delivery_next ON alatau.delivery (destination_id, next_attempt) WHERE state = 'waiting';
CREATE INDEX delivery_delivered ON alatau.delivery (destination_id, finished_at DESC) WHERE state = 'delivered';
CREATE INDEX delivery_dead ON alatau.delivery (destination_id, delivery_id) WHERE state = 'dead';

-- What did not come to fire is nobody's business, nor is its end. What was told to a destination is told to its end there,
-- also when the device has moved, the severity has changed, or the destination asks for something else by now. One that
-- is disabled is told of ends alone: at the broker at once, elsewhere when it is enabled again.
CREATE OR REPLACE FUNCTION alatau.enter_deliveries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO alatau.delivery (destination_id, alert_id, alert_event_id)
    SELECT d.destination_id, e.alert_id, e.id
    FROM added e JOIN alatau.alert a ON a.id = e.alert_id CROSS JOIN alatau.destination d
    LEFT JOIN alatau.device v ON v.device_id = a.device_id
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM alatau.delivery b
                       WHERE b.alert_id = e.alert_id AND b.destination_id = d.destination_id) AS has_heard) h
    WHERE e.state <> 'pending'
          AND EXISTS (SELECT FROM alatau.alert_event f WHERE f.alert_id = e.alert_id AND f.state = 'firing')
          AND (h.has_heard AND (d.enabled OR e.state = 'resolved')
               OR d.enabled
                  AND array_position('{info,warning,critical}'::text[], e.severity)
                      >= array_position('{info,warning,critical}'::text[], d.severity)
                  AND (d.districts IS NULL OR coalesce(v.district, a.district) = ANY (d.districts))
                  AND (d.kinds IS NULL OR a.kind = ANY (d.kinds)))
    ORDER BY e.id, d.destination_id;
    IF FOUND THEN
        PERFORM pg_notify('alatau_deliveries', '');
    END IF;
    RETURN NULL;
END $$;
