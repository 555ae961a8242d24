-- Who may ask what: keys with a role and a scope, rows that a scope hides, and the record of what was done.

ALTER TABLE alatau.api_key
    ADD COLUMN owner         text NOT NULL DEFAULT '',
    -- What was there before could do everything.
    ADD COLUMN role          text NOT NULL DEFAULT 'admin' CHECK (role IN ('viewer', 'analyst', 'operator', 'admin')),
    ADD COLUMN districts     text[] CHECK (districts <> '{}'),  -- NULL: all
    ADD COLUMN kinds         text[] CHECK (kinds <> '{}'),
    ADD COLUMN created_by    text,
    ADD COLUMN last_used_at  timestamptz,
    ADD COLUMN revoked_at    timestamptz,
    -- Who sees a part of the city changes nothing of the whole.
    ADD CHECK (role <> 'admin' OR (districts IS NULL AND kinds IS NULL));
ALTER TABLE alatau.api_key ALTER COLUMN role DROP DEFAULT;

-- Administrative acts, refused requests and what was outside of a scope. The services' roles only add to it.
CREATE TABLE alatau.audit (
    audit_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text NOT NULL,   -- a key's prefix and name, or who used the command line
    address     text,            -- from where
    action      text NOT NULL,
    subject     text,            -- of what
    outcome     text NOT NULL CHECK (outcome IN ('done', 'refused')),
    times       int NOT NULL DEFAULT 1,  -- refusals of one kind are counted together
    detail      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_action ON alatau.audit (action, audit_id);
CREATE INDEX audit_by_actor ON alatau.audit (actor, audit_id);

-- Its file holds what the key that asked for it sees.
ALTER TABLE alatau.export
    ADD COLUMN requested_by     text NOT NULL DEFAULT '',
    ADD COLUMN scope_districts  text[],
    ADD COLUMN scope_kinds      text[];

-- Of all keys: a scope sees its own only.
CREATE FUNCTION alatau.waiting_exports() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT count(*) FROM alatau.export WHERE state = 'waiting'
$$;
REVOKE ALL ON FUNCTION alatau.waiting_exports() FROM PUBLIC;

-- The API reads as alatau_scoped for a key that has a scope, and says before which: names with commas between, or
-- '*' for all. What is not said is nothing. The hypertables have no policies (TimescaleDB refuses them together with
-- the columnstore), and need none: a reading is found by the number of its device, and that by alatau.device.
CREATE FUNCTION alatau.within(value text, what text) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    -- Subqueries, so that the setting is read once and not for each row.
    SELECT format('((SELECT current_setting(%2$L, true)) = ''*'' OR '
                  '%1$s = ANY ((SELECT string_to_array(current_setting(%2$L, true), '',''))::text[]))',
                  value, 'alatau.' || what)
$$;
REVOKE ALL ON FUNCTION alatau.within(text, text) FROM PUBLIC;

-- Lets alatau_scoped see those rows of a table that a condition holds for. Repeating it changes nothing.
CREATE FUNCTION alatau.protect(place regclass, condition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- In a database with one role for everything nobody reads as another.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'alatau_scoped')
       OR EXISTS (SELECT FROM pg_policy WHERE polrelid = place) THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE POLICY in_scope ON %s TO alatau_scoped USING (%s)', place, condition);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', place);
END $$;
REVOKE ALL ON FUNCTION alatau.protect(regclass, text) FROM PUBLIC;

-- A table of rollups of districts; its kind is in its name.
CREATE FUNCTION alatau.protect_districts(place regclass, of_kind text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT alatau.protect(place, alatau.within('district', 'districts') || ' AND '
                                 || alatau.within(quote_literal(of_kind), 'kinds'))
$$;
REVOKE ALL ON FUNCTION alatau.protect_districts(regclass, text) FROM PUBLIC;
