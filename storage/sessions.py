"""Sessions of people: 256 random bits in a cookie, of which only the SHA-256 is stored."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import secrets

from storage.api_keys import KEYS_CHANNEL, Role, Scope
from storage.kinds import Connection
from storage.users import scope_of

# How many one person has at once; a new one ends the oldest.
_MOST = 50
# A use is noted when the one on record is older than this: reading is not to write each time.
_NOTED_EVERY = dt.timedelta(minutes=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session lasts, whatever is done with it, and how long without being used."""

    whole: dt.timedelta = dt.timedelta(hours=12)
    idle: dt.timedelta = dt.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """A session that goes on, and whose it is."""

    user_id: int
    name: str
    role: Role
    scope: Scope
    expires_at: dt.datetime
    used_at: dt.datetime

    def left(self, now: dt.datetime, lifetimes: Lifetimes) -> dt.timedelta:
        """Return how long it goes on if it isn't used any more."""
        return min(self.expires_at, self.used_at + lifetimes.idle) - now


def token_hash(token: str) -> bytes:
    """Return what is stored of a token."""
    # A plain hash is enough: nobody guesses 256 random bits, however fast each guess is.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


async def open_session(
    connection: Connection, user_id: int, address: str, now: dt.datetime, lifetimes: Lifetimes
) -> str:
    """Open a session of somebody who may (``storage.users.note_sign_in``); return its token, which is stored nowhere.

    In a transaction: what has ended of all sessions is deleted along with it.
    """
    await connection.execute(
        "DELETE FROM alatau.user_session WHERE expires_at <= $1 OR used_at <= $2", now, now - lifetimes.idle
    )
    await connection.execute(
        """
        DELETE FROM alatau.user_session WHERE token_hash IN (
            SELECT token_hash FROM alatau.user_session WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2)
        """,
        user_id,
        _MOST - 1,
    )
    token = secrets.token_urlsafe(32)
    await connection.execute(
        """
        INSERT INTO alatau.user_session (token_hash, user_id, created_at, expires_at, used_at, address)
        VALUES ($1, $2, $3, $4, $3, $5)
        """,
        token_hash(token),
        user_id,
        now,
        now + lifetimes.whole,
        address,
    )
    return token


async def find_session(
    connection: Connection, token: str, now: dt.datetime, lifetimes: Lifetimes
) -> Session | None:
    """Return a session that goes on, and note that it was used; None of one that was never there, or has ended."""
    row = await connection.fetchrow(
        """
        SELECT u.user_id, u.name, u.role, u.districts, u.kinds, s.expires_at, s.used_at
        FROM alatau.user_session s JOIN alatau.user_account u USING (user_id)
        WHERE s.token_hash = $1 AND s.expires_at > $2 AND s.used_at > $3 AND u.disabled_at IS NULL
        """,
        token_hash(token),
        now,
        now - lifetimes.idle,
    )
    if row is None:
        return None
    used_at = row["used_at"]
    if used_at <= now - _NOTED_EVERY:
        used_at = now
        await connection.execute(
            "UPDATE alatau.user_session SET used_at = $2 WHERE token_hash = $1", token_hash(token), now
        )
    return Session(row["user_id"], row["name"], Role(row["role"]), scope_of(row), row["expires_at"], used_at)


async def close_session(connection: Connection, token: str) -> None:
    """End a session; the API that was asked has to forget it, and the others are told."""
    await connection.execute(
        """
        WITH ended AS (DELETE FROM alatau.user_session WHERE token_hash = $1 RETURNING 1)
        SELECT pg_notify($2, '') FROM ended
        """,
        token_hash(token),
        KEYS_CHANNEL,
    )
