-- A device's secret is replaced while both, the old and the new one, are good for a time.

-- Each is of an account of its own at the broker, its slot.
ALTER TABLE alatau.device_credential
    ADD COLUMN slot smallint NOT NULL DEFAULT 1 CHECK (slot IN (1, 2)),
    ADD COLUMN until timestamptz,  -- NULL: the newest, good until it is replaced
    DROP CONSTRAINT device_credential_pkey,
    ADD PRIMARY KEY (device_id, slot);
CREATE UNIQUE INDEX device_credential_newest ON alatau.device_credential (device_id) WHERE until IS NULL;
CREATE INDEX device_credential_by_end ON alatau.device_credential (until) WHERE until IS NOT NULL;

-- Gives a device another password, and returns its slot. The old one stays good for the grace. Without one it is no
-- longer stored, and the slot is the first. Returns NULL, and changes nothing, while both slots are in use.
DROP FUNCTION alatau.replace_credential(text, bytea, bytea, int);
CREATE FUNCTION alatau.replace_credential(
    device text, new_salt bytea, new_hash bytea, new_iterations int, grace interval) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number int;
    free smallint := 1;
BEGIN
    -- One rotation after the other.
    SELECT d.device_id INTO STRICT number FROM alatau.device d WHERE d.id = device FOR NO KEY UPDATE;
    IF grace <= interval '0' THEN
        DELETE FROM alatau.device_credential c WHERE c.device_id = number;
    ELSE
        DELETE FROM alatau.device_credential c WHERE c.device_id = number AND c.until <= now();
        IF EXISTS (SELECT FROM alatau.device_credential c WHERE c.device_id = number AND c.until IS NOT NULL) THEN
            RETURN NULL;
        END IF;
        UPDATE alatau.device_credential c SET until = now() + grace WHERE c.device_id = number
        RETURNING 3 - c.slot INTO free;
        free := coalesce(free, 1);
    END IF;
    INSERT INTO alatau.device_credential (device_id, slot, salt, hash, iterations)
    VALUES (number, free, new_salt, new_hash, new_iterations);
    PERFORM pg_notify('alatau_rotations', '');
    RETURN free;
END $$;
REVOKE ALL ON FUNCTION alatau.replace_credential(text, bytea, bytea, int, interval) FROM PUBLIC;

-- Deletes passwords whose time is over, and returns whose they were.
CREATE FUNCTION alatau.end_rotations(most int) RETURNS TABLE (device text, ended smallint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH due AS (
        SELECT c.device_id, c.slot FROM alatau.device_credential c WHERE c.until <= now() ORDER BY c.until LIMIT most
    )
    DELETE FROM alatau.device_credential c USING due, alatau.device d
    WHERE (c.device_id, c.slot) = (due.device_id, due.slot) AND d.device_id = c.device_id
    RETURNING d.id, c.slot
$$;
REVOKE ALL ON FUNCTION alatau.end_rotations(int) FROM PUBLIC;
