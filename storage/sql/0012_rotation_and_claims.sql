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
-- longer stored, and the slot is the first. Returns NULL, and changes nothing, while both slots are in
-- use, and 0 of a device with a certificate.
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
    ELSIF EXISTS (SELECT FROM alatau.device_certificate c
                  WHERE c.device_id = number AND c.revoked_at IS NULL AND c.expires_at > now()) THEN
        -- A certificate is of the first account, which has to stay.
        RETURN 0;
    ELSE
        DELETE FROM alatau.device_credential c WHERE c.device_id = number AND c.until <= now();
        IF EXISTS (SELECT FROM alatau.device_credential c WHERE c.device_id = number AND c.until IS NOT NULL) THEN
            RETURN NULL;
        END IF;
        UPDATE alatau.device_credential c SET until = now() + grace WHERE c.device_id = number
        RETURNING 3 - c.slot INTO free;
        free := coalesce(free, 1);
    END IF;
    UPDATE alatau.claim c SET secret_hash = NULL WHERE c.device_id = number;
    INSERT INTO alatau.device_credential (device_id, slot, salt, hash, iterations)
    VALUES (number, free, new_salt, new_hash, new_iterations);
    PERFORM pg_notify('alatau_endings', '');
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

-- Devices that were all flashed with one image register themselves: with the token of a batch, each with a secret that
-- it has made.
CREATE TABLE alatau.claim_batch (
    name        text PRIMARY KEY COLLATE "C",
    kind        text NOT NULL,
    district    text NOT NULL REFERENCES alatau.district (name),
    salt        bytea NOT NULL,
    hash        bytea NOT NULL,  -- of the token, PBKDF2-HMAC-SHA512, as the broker wants it
    iterations  int NOT NULL,
    places      int NOT NULL CHECK (places > 0),
    used        int NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND places),
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL,
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz,
    closed_at   timestamptz  -- its accounts at the broker are gone
);

CREATE TABLE alatau.claim (
    device_id    int PRIMARY KEY REFERENCES alatau.device ON DELETE CASCADE,
    batch        text NOT NULL REFERENCES alatau.claim_batch,
    secret_hash  bytea,  -- SHA-256: the same claim again is told from another's; NULL: it was given another secret
    claimed_at   timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION alatau.add_batch(
    batch text, of_kind text, in_district text, count int, lasting interval,
    new_salt bytea, new_hash bytea, new_iterations int, who text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_new boolean;
BEGIN
    INSERT INTO alatau.claim_batch
        (name, kind, district, places, expires_at, salt, hash, iterations, created_by)
    VALUES (batch, of_kind, in_district, count, now() + lasting, new_salt, new_hash, new_iterations, who)
    ON CONFLICT (name) DO NOTHING;
    is_new := FOUND;
    PERFORM pg_notify('alatau_endings', '');
    RETURN is_new;
END $$;
REVOKE ALL ON FUNCTION alatau.add_batch(text, text, text, int, interval, bytea, bytea, int, text) FROM PUBLIC;

CREATE FUNCTION alatau.revoke_batch(batch text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE alatau.claim_batch b
    SET revoked_at = coalesce(b.revoked_at, now()), closed_at = coalesce(b.closed_at, now()) WHERE b.name = batch
$$;
REVOKE ALL ON FUNCTION alatau.revoke_batch(text) FROM PUBLIC;

-- Whether a device was claimed with the secret of this hash; NULL when there is no such device.
CREATE FUNCTION alatau.is_claimed(device text, given bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(c.secret_hash = given, false)
    FROM alatau.device d LEFT JOIN alatau.claim c USING (device_id) WHERE d.id = device
$$;
REVOKE ALL ON FUNCTION alatau.is_claimed(text, bytea) FROM PUBLIC;

-- Takes a place of a batch until the transaction ends, and says 'taken', or why there is none.
CREATE FUNCTION alatau.take_place(batch text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE alatau.claim_batch b SET used = b.used + 1
    WHERE b.name = batch AND b.revoked_at IS NULL AND b.expires_at > clock_timestamp() AND b.used < b.places;
    IF FOUND THEN
        RETURN 'taken';
    END IF;
    RETURN (SELECT CASE WHEN b.revoked_at IS NOT NULL THEN 'revoked'
                        WHEN b.used >= b.places THEN 'exhausted' ELSE 'expired' END
            FROM alatau.claim_batch b WHERE b.name = batch);
END $$;
REVOKE ALL ON FUNCTION alatau.take_place(text) FROM PUBLIC;

CREATE FUNCTION alatau.note_claim(of_batch text, device int, given bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO alatau.claim (device_id, batch, secret_hash) VALUES (device, of_batch, given)
$$;
REVOKE ALL ON FUNCTION alatau.note_claim(text, int, bytea) FROM PUBLIC;

-- Closes batches that nobody can claim with any more, and returns their names.
CREATE FUNCTION alatau.end_batches() RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE alatau.claim_batch b SET closed_at = now()
    WHERE b.closed_at IS NULL AND (b.used >= b.places OR b.expires_at <= now())
    RETURNING b.name
$$;
REVOKE ALL ON FUNCTION alatau.end_batches() FROM PUBLIC;
