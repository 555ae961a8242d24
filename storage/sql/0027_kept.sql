-- What was kept of a source is read again once it is claimed, by whoever may write readings.

ALTER TABLE alatau.source ADD COLUMN kept_after bigint;  -- up to which dead letter that was done; NULL: nothing is left
CREATE INDEX source_with_kept ON alatau.source (format, name) WHERE kept_after IS NOT NULL;
