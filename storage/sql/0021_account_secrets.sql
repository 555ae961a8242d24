-- Who takes telemetry over HTTP compares the secrets of accounts itself: the role of ingest is told the hash of the one
-- that it names, and reads no table of them. Nothing of a secret whose time is over.
CREATE FUNCTION alatau.device_secret(device text, of_slot smallint)
RETURNS TABLE (salt bytea, hash bytea, iterations int, is_disabled boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.salt, c.hash, c.iterations, d.disabled_at IS NOT NULL
    FROM alatau.device d JOIN alatau.device_credential c USING (device_id)
    WHERE d.id = device AND c.slot = of_slot AND (c.until IS NULL OR c.until > now())
$$;
REVOKE ALL ON FUNCTION alatau.device_secret(text, smallint) FROM PUBLIC;

CREATE FUNCTION alatau.gateway_secret(gateway text, of_format text)
RETURNS TABLE (salt bytea, hash bytea, iterations int, is_disabled boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT g.salt, g.hash, g.iterations, g.disabled_at IS NOT NULL
    FROM alatau.gateway g WHERE g.name = gateway AND g.format = of_format
$$;
REVOKE ALL ON FUNCTION alatau.gateway_secret(text, text) FROM PUBLIC;
