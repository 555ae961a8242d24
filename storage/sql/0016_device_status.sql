-- What devices last said of themselves, or their last wills said for them, and when that was heard.
CREATE TABLE alatau.device_status (
    device_id  int PRIMARY KEY REFERENCES alatau.device ON DELETE CASCADE,
    said       text NOT NULL CHECK (said IN ('online', 'offline')),
    at         timestamptz NOT NULL,
    changed    bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint  -- as that of alatau.latest
);
CREATE INDEX device_status_by_change ON alatau.device_status USING brin (changed)
    WITH (pages_per_range = 8, autosummarize = on);
-- Few devices are, and every question about what they are doing asks which.
CREATE INDEX device_status_offline ON alatau.device_status (device_id) WHERE said = 'offline';
