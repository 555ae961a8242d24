"""Batches of devices that register themselves, and the claims of such devices."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import hashlib
from typing import Any

from sensors.catalogue import Catalogue
from sensors.claims import batch_users
from sensors.kinds import DeviceSpec
from storage.devices import Credential, change_accounts, compare_accounts, register_devices
from storage.kinds import Connection


class BatchState(enum.StrEnum):
    """Whether devices can be claimed with it, or why not."""

    OPEN = "open"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Verdict(enum.StrEnum):
    """What became of a claim."""

    CLAIMED = "claimed"
    AGAIN = "again"  # the same device with the same secret: its answer was lost
    TAKEN = "taken"  # a device of this id is registered, with another secret
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """``places`` devices of one kind and district may be claimed with its token until ``expires_at``."""

    name: str
    kind: str
    district: str
    places: int
    used: int
    created_at: dt.datetime
    created_by: str
    expires_at: dt.datetime
    revoked_at: dt.datetime | None
    state: BatchState


_STATE = """
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN used >= places THEN 'exhausted'
         WHEN expires_at <= now() THEN 'expired' ELSE 'open' END
"""
_SELECT = f"""
    SELECT name, kind, district, places, used, created_at, created_by, expires_at, revoked_at, {_STATE} AS state
    FROM alatau.claim_batch
"""


def _batch(row: Any) -> Batch:
    return Batch(**{**row, "state": BatchState(row["state"])})


async def add_batch(
    connection: Connection,
    name: str,
    device: tuple[str, str],
    places: int,
    lasting: dt.timedelta,
    token: Credential,
    who: str,
) -> bool:
    """Add a batch of a kind and district, ``device``; return False if there is one of this name."""
    await change_accounts(connection)
    added = await connection.fetchval(
        "SELECT alatau.add_batch($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        name,
        *device,
        places,
        lasting,
        token.salt,
        token.hash,
        token.iterations,
        who,
    )
    return bool(added)


async def list_batches(connection: Connection) -> list[Batch]:
    """Return all batches, the newest first."""
    return [_batch(row) for row in await connection.fetch(f"{_SELECT} ORDER BY created_at DESC, name")]


async def find_batch(connection: Connection, name: str) -> Batch | None:
    """Return a batch by its name."""
    row = await connection.fetchrow(f"{_SELECT} WHERE name = $1", name)
    return None if row is None else _batch(row)


async def revoke_batch(connection: Connection, name: str) -> None:
    """Let nobody claim with a batch any more; once more changes nothing."""
    await change_accounts(connection)
    await connection.execute("SELECT alatau.revoke_batch($1)", name)


async def end_batches(connection: Connection) -> list[str]:
    """Close batches that are exhausted or expired, and return their user names. In a transaction."""
    await compare_accounts(connection)
    rows = await connection.fetch("SELECT alatau.end_batches() AS name")
    return [user for row in rows for user in batch_users(row["name"])]


async def next_end_of_batch(connection: Connection) -> float | None:
    """Return in how many seconds a batch is to be closed, None without any; 0 or below when one is."""
    seconds = await connection.fetchval(
        """
        SELECT min(CASE WHEN used >= places THEN 0 ELSE extract(epoch FROM expires_at - now()) END)::float8
        FROM alatau.claim_batch WHERE closed_at IS NULL
        """
    )
    return None if seconds is None else float(seconds)


async def load_batch_credentials(connection: Connection) -> dict[str, Credential]:
    """Return the tokens of open batches, by user name at the broker; only the owner's role may."""
    rows = await connection.fetch(
        f"SELECT name, salt, hash, iterations FROM alatau.claim_batch WHERE {_STATE} = 'open'"
    )
    return {
        user: Credential(row["salt"], row["hash"], row["iterations"])
        for row in rows
        for user in batch_users(row["name"])
    }


async def hold_batch_accounts(connection: Connection) -> dict[str, bool]:
    """Return the user names of open batches, none of which is kept out, as ``hold_accounts`` does."""
    await compare_accounts(connection)
    rows = await connection.fetch(f"SELECT name FROM alatau.claim_batch WHERE {_STATE} = 'open'")
    return dict.fromkeys((user for row in rows for user in batch_users(row["name"])), False)


class ClaimRaceError(Exception):
    """Somebody else has just registered the device; the same claim again says what is so now."""


async def claim_device(
    connection: Connection,
    batch: str,
    spec: DeviceSpec,
    catalogue: Catalogue,
    secret: str,
    stored: Credential,
) -> Verdict:
    """Register a device with a place of its batch, in the caller's transaction.

    Raises CatalogueError for a device that is not valid, ClaimRaceError; the transaction is then to be undone.
    """
    # Before the batch is locked, as whoever closes batches does.
    await change_accounts(connection)
    digest = hashlib.sha256(secret.encode()).digest()
    is_same = await connection.fetchval("SELECT alatau.is_claimed($1, $2)", spec.id, digest)
    if is_same is not None:
        return Verdict.AGAIN if is_same else Verdict.TAKEN
    place = await connection.fetchval("SELECT alatau.take_place($1)", batch)
    if place != "taken":
        return Verdict(place)
    added = await register_devices(connection, [spec], catalogue, {spec.id: stored})
    if spec.id not in added:
        raise ClaimRaceError
    await connection.execute("SELECT alatau.note_claim($1, $2, $3)", batch, added[spec.id], digest)
    return Verdict.CLAIMED
