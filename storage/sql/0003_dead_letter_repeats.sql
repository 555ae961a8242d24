-- Refused messages beyond the bound are counted in the last letter of their topic and reason.

ALTER TABLE alatau.dead_letter ADD COLUMN repeats bigint NOT NULL DEFAULT 0;
-- Room beside each row, so that an update stays on its page and touches no index.
ALTER TABLE alatau.dead_letter SET (fillfactor = 70);

-- A numbered message that comes again is found by its bytes.
CREATE INDEX dead_letter_by_content ON alatau.dead_letter (md5(payload), md5(topic));
