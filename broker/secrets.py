"""Secrets of broker accounts: generated, shown once, stored as Mosquitto's dynamic security hashes them."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets

# Mosquitto's own default. More would slow every connect of a fleet down and add nothing: nobody guesses
# 192 random bits.
_ITERATIONS = 101
_SALT_BYTES = 12


@dataclasses.dataclass(frozen=True, slots=True)
class HashedSecret:
    """PBKDF2-HMAC-SHA512 of a secret, 64 bytes."""

    salt: bytes
    hash: bytes
    iterations: int


def generate_secret() -> str:
    """Return a new secret of 192 random bits, safe in URLs and shells."""
    return secrets.token_urlsafe(24)


def hash_secret(secret: str) -> HashedSecret:
    """Return what is stored of a secret."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, _ITERATIONS)
    return HashedSecret(salt, digest, _ITERATIONS)
