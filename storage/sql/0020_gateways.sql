-- Servers and gateways that speak for devices in another format: each has one account at the broker.

CREATE TABLE alatau.gateway (
    name        text PRIMARY KEY COLLATE "C",
    format      text NOT NULL,
    salt        bytea NOT NULL,
    hash        bytea NOT NULL,  -- of the secret, PBKDF2-HMAC-SHA512, as the broker wants it
    iterations  int NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text NOT NULL,
    disabled_at timestamptz
);
