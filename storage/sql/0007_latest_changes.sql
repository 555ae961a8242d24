-- Which transaction last changed a device's latest values: who asks for changes misses none by it, also not one
-- that was under way when it last asked. A bigint, because xid8 has no operator class of BRIN.
ALTER TABLE alatau.latest
    ADD COLUMN changed bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint;

-- BRIN, because an update that changes only what it summarises stays on its page and touches no other index.
CREATE INDEX latest_by_change ON alatau.latest USING brin (changed) WITH (pages_per_range = 8, autosummarize = on);
