"""API keys: 256 random bits shown once, of which only the SHA-256 is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from storage.kinds import Connection

_KEY = re.compile(r"alatau_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


def _digest(key: str) -> bytes:
    # A plain hash is enough: nobody guesses 256 random bits, however fast each guess is.
    return hashlib.sha256(key.encode()).digest()


def generate_key() -> str:
    """Return a new key, ``alatau_<prefix>_<secret>``."""
    return f"alatau_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


async def store_key(connection: Connection, key: str, name: str) -> None:
    """Keep the hash of a key under a name for people; storing the same key again changes nothing."""
    if (match := _KEY.fullmatch(key)) is None:
        raise ValueError("an API key is alatau_<12 hex digits>_<43 characters>; make one with generate_key()")
    await connection.execute(
        "INSERT INTO alatau.api_key (prefix, hash, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        match[1],
        _digest(key),
        name,
    )


async def find_key_name(connection: Connection, key: str) -> str | None:
    """Return the name under which a key was stored, or None when it was not or has expired."""
    if (match := _KEY.fullmatch(key)) is None:
        return None
    stored = await connection.fetchrow(
        """
        SELECT hash, name FROM alatau.api_key
        WHERE prefix = $1 AND (expires_at IS NULL OR expires_at > now())
        """,
        match[1],
    )
    if stored is None or not hmac.compare_digest(stored["hash"], _digest(key)):
        return None
    name: str = stored["name"]
    return name
