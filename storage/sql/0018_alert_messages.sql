-- What an alert says, as data, of which each reader's language is made: beside the English of title and sentence.
-- NULL: said before there was one.

ALTER TABLE alatau.alert ADD COLUMN message jsonb;
ALTER TABLE alatau.alert_event ADD COLUMN message jsonb;

-- In which language a destination is told.
ALTER TABLE alatau.destination ADD COLUMN language text NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'ru', 'kk'));
