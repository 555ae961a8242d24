"""API keys: 256 random bits shown once, of which only the SHA-256 is stored; what each may do, and see."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from storage.kinds import Connection

KEYS_CHANNEL = "alatau_keys"
_KEY = re.compile(r"alatau_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
PREFIX = re.compile(r"[0-9a-f]{12}")


class Role(enum.StrEnum):
    """What a key may do; each may what those before it may."""

    VIEWER = "viewer"  # aggregates, latest values, quality
    ANALYST = "analyst"  # also readings, exports, gaps, corrections on record
    OPERATOR = "operator"  # also devices, corrections, refused messages
    ADMIN = "admin"  # also keys, and the audit

    def includes(self, other: Role) -> bool:
        """Return whether it may what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclasses.dataclass(frozen=True, slots=True)
class Scope:
    """Which part of the city a key sees: districts and kinds by name, None for all."""

    districts: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self.districts is None and self.kinds is None

    def holds(self, district: str, kind: str) -> bool:
        """Return whether a device of a district and kind is within."""
        return (self.districts is None or district in self.districts) and (
            self.kinds is None or kind in self.kinds
        )


WHOLE = Scope()


@dataclasses.dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key; ``prefix`` names it."""

    prefix: str
    name: str
    owner: str
    role: Role
    scope: Scope
    created_at: dt.datetime
    created_by: str | None
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None


def _digest(key: str) -> bytes:
    # A plain hash is enough: nobody guesses 256 random bits, however fast each guess is.
    return hashlib.sha256(key.encode()).digest()


def generate_key() -> str:
    """Return a new key, ``alatau_<prefix>_<secret>``."""
    return f"alatau_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def prefix_of(key: str) -> str | None:
    """Return the prefix that names a key and may be shown, None of what is no key."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


async def store_key(
    connection: Connection,
    key: str,
    name: str,
    *,
    role: Role = Role.ADMIN,
    scope: Scope = WHOLE,
    owner: str = "",
    created_by: str | None = None,
    expires_at: dt.datetime | None = None,
) -> ApiKey:
    """Keep the hash of a key, under a name for people; storing the same key again changes nothing. Returns what is
    kept."""
    if (prefix := prefix_of(key)) is None:
        raise ValueError("an API key is alatau_<12 hex digits>_<43 characters>; make one with generate_key()")
    row = await connection.fetchrow(
        """
        WITH made AS (
            INSERT INTO alatau.api_key
                (prefix, hash, name, role, districts, kinds, owner, created_by, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING *)
        SELECT * FROM made UNION ALL SELECT * FROM alatau.api_key WHERE prefix = $1 LIMIT 1
        """,
        prefix,
        _digest(key),
        name,
        role.value,
        scope.districts,
        scope.kinds,
        owner,
        created_by,
        expires_at,
    )
    return _key(row)


async def find_key(connection: Connection, key: str) -> ApiKey | None:
    """Return what is kept of a key, or None when it was never stored, was revoked or has expired."""
    if (prefix := prefix_of(key)) is None:
        return None
    row = await connection.fetchrow(
        """
        SELECT * FROM alatau.api_key
        WHERE prefix = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        """,
        prefix,
    )
    # Compared whether there is one or not, and in constant time: nothing is learnt from how long it takes.
    is_the_same = hmac.compare_digest(row["hash"] if row else b"\0" * 32, _digest(key))
    return _key(row) if row and is_the_same else None


async def list_keys(connection: Connection) -> list[ApiKey]:
    """Return all keys in the order in which they were made, revoked and expired ones too."""
    rows = await connection.fetch("SELECT * FROM alatau.api_key ORDER BY created_at, prefix")
    return [_key(row) for row in rows]


async def revoke_key(connection: Connection, prefix: str) -> ApiKey | None:
    """Let a key do nothing any more, and tell every API; returns it, or None where there is no valid one."""
    async with connection.transaction():
        row = await connection.fetchrow(
            "UPDATE alatau.api_key SET revoked_at = now() WHERE prefix = $1 AND revoked_at IS NULL RETURNING *",
            prefix,
        )
        if row:
            await connection.execute("SELECT pg_notify($1, '')", KEYS_CHANNEL)
    return _key(row) if row else None


async def note_use(connection: Connection, prefixes: Collection[str]) -> None:
    """Note that keys were used now."""
    await connection.execute(
        "UPDATE alatau.api_key SET last_used_at = now() WHERE prefix = ANY($1::text[])", list(prefixes)
    )


def _key(row: Any) -> ApiKey:
    scope = Scope(*(_names(row[name]) for name in ("districts", "kinds")))
    return ApiKey(
        row["prefix"],
        row["name"],
        row["owner"],
        Role(row["role"]),
        scope,
        row["created_at"],
        row["created_by"],
        row["expires_at"],
        row["last_used_at"],
        row["revoked_at"],
    )


def _names(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
