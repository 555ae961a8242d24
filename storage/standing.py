"""Whether keys and sessions that were valid still are, many at once, and without that being a use of them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection

from storage.api_keys import Role, Scope, prefix_of
from storage.kinds import Connection
from storage.sessions import Lifetimes, token_hash
from storage.users import scope_of

Standing = tuple[Role, Scope]


async def standing_of_keys(connection: Connection, keys: Collection[str]) -> dict[str, Standing]:
    """Return what those of the keys that are valid may do and see."""
    rows = await connection.fetch(
        """
        SELECT prefix, hash, role, districts, kinds FROM alatau.api_key
        WHERE prefix = ANY($1::text[]) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        """,
        [prefix for key in keys if (prefix := prefix_of(key)) is not None],
    )
    found = {bytes(row["hash"]): (Role(row["role"]), scope_of(row)) for row in rows}
    digests = {key: hashlib.sha256(key.encode(errors="surrogatepass")).digest() for key in keys}
    return {key: found[digest] for key, digest in digests.items() if digest in found}


async def standing_of_sessions(
    connection: Connection, tokens: Collection[str], now: dt.datetime, lifetimes: Lifetimes
) -> dict[str, Standing]:
    """Return what the people may do and see whose sessions go on, by their tokens."""
    rows = await connection.fetch(
        """
        SELECT s.token_hash, u.role, u.districts, u.kinds
        FROM alatau.user_session s JOIN alatau.user_account u USING (user_id)
        WHERE s.token_hash = ANY($1::bytea[]) AND s.expires_at > $2 AND s.used_at > $3 AND u.disabled_at IS NULL
        """,
        list(map(token_hash, tokens)),
        now,
        now - lifetimes.idle,
    )
    found = {bytes(row["token_hash"]): (Role(row["role"]), scope_of(row)) for row in rows}
    hashes = {token: token_hash(token) for token in tokens}
    return {token: found[digest] for token, digest in hashes.items() if digest in found}
