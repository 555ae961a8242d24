-- Exports of devices by place and tag; empty and NULL are all, as of the other columns.
ALTER TABLE alatau.export
    ADD COLUMN bbox    float8[],                      -- west, south, east, north
    ADD COLUMN near    float8[],                      -- longitude, latitude, metres
    ADD COLUMN polygon float8[] NOT NULL DEFAULT '{}',  -- longitude, latitude of each vertex
    ADD COLUMN tags    text[]   NOT NULL DEFAULT '{}';  -- name, value of each
