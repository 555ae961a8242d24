-- Which numbers of its readings each device is known to have sent, and which it gave up.

CREATE TABLE alatau.sequence (
    device_id      int PRIMARY KEY REFERENCES alatau.device ON DELETE CASCADE,
    received       int8multirange NOT NULL,  -- numbers that were kept, or that can't come any more
    highest        int8 NOT NULL,            -- the highest number seen, entered or not
    oldest         int8 NOT NULL,            -- what the device last called the lowest number it still keeps
    missing_since  timestamptz               -- since when a number up to the highest is missing
) WITH (fillfactor = 70);  -- room beside each row, so that an update stays on its page and touches no index
CREATE INDEX sequence_missing ON alatau.sequence (device_id) WHERE missing_since IS NOT NULL;

-- Numbers that their device gave up before they came. What comes after all is taken out again.
CREATE TABLE alatau.sequence_gap (
    sequence_gap_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id        int NOT NULL REFERENCES alatau.device ON DELETE CASCADE,
    abandoned_at     timestamptz NOT NULL DEFAULT now(),
    missing          int8multirange NOT NULL
);
CREATE INDEX sequence_gap_by_device ON alatau.sequence_gap (device_id);

-- The lowest number, counting from 1, that is not among these.
CREATE FUNCTION alatau.first_missing(received int8multirange) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN lower(int8multirange(int8range(1, NULL)) - received);
