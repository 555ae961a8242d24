-- A device's life: it may be kept out of the broker, let in again, given another secret, and deleted while it has no
-- readings. The functions run as their owner: the API's role reads tables and writes none.

ALTER TABLE alatau.device ADD COLUMN disabled_at timestamptz;  -- NULL: it may connect

CREATE FUNCTION alatau.disable_device(device text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE alatau.device d SET disabled_at = now() WHERE d.id = device AND d.disabled_at IS NULL
$$;
REVOKE ALL ON FUNCTION alatau.disable_device(text) FROM PUBLIC;

CREATE FUNCTION alatau.enable_device(device text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE alatau.device d SET disabled_at = NULL WHERE d.id = device
$$;
REVOKE ALL ON FUNCTION alatau.enable_device(text) FROM PUBLIC;

-- Gives a device another password; the old one is no longer stored.
CREATE FUNCTION alatau.replace_credential(device text, new_salt bytea, new_hash bytea, new_iterations int) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO alatau.device_credential (device_id, salt, hash, iterations)
    SELECT d.device_id, new_salt, new_hash, new_iterations FROM alatau.device d WHERE d.id = device
    ON CONFLICT (device_id) DO UPDATE SET salt = EXCLUDED.salt, hash = EXCLUDED.hash,
        iterations = EXCLUDED.iterations, created_at = now()
$$;
REVOKE ALL ON FUNCTION alatau.replace_credential(text, bytea, bytea, int) FROM PUBLIC;

-- Deletes a device that never had a reading, and says whether it did. What has been measured keeps its device.
CREATE FUNCTION alatau.delete_device(device text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found alatau.device;
    is_needed boolean;
BEGIN
    -- No reading is being written from here on.
    PERFORM pg_advisory_xact_lock(hashtext('alatau.rollup'));
    SELECT * INTO STRICT found FROM alatau.device d WHERE d.id = device FOR UPDATE;
    EXECUTE format('SELECT EXISTS (SELECT FROM reading.%I WHERE device_id = $1)', found.kind)
        INTO is_needed USING found.device_id;
    -- Latest values stay when readings are too old to be kept, and corrections when they deleted them.
    IF is_needed
       OR EXISTS (SELECT FROM alatau.latest l WHERE l.device_id = found.device_id)
       OR EXISTS (SELECT FROM alatau.correction c WHERE c.device_id = found.device_id) THEN
        RETURN false;
    END IF;
    DELETE FROM alatau.device d WHERE d.device_id = found.device_id;
    PERFORM pg_notify('alatau_devices', 'changed');
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION alatau.delete_device(text) FROM PUBLIC;
