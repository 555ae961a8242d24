-- Which certificates were issued to devices. What is valid no more is kept until it would have expired, also when its
-- device is deleted: the broker is told of it by its serial number.

CREATE TABLE alatau.device_certificate (
    serial       text PRIMARY KEY,  -- hex
    device       text NOT NULL,     -- the id, which is in the certificate
    device_id    int REFERENCES alatau.device ON DELETE SET NULL,
    fingerprint  text NOT NULL,     -- SHA-256
    issued_at    timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz
);
CREATE INDEX ON alatau.device_certificate (device_id);
