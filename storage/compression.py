"""Compression of old readings, which the Community edition of TimescaleDB has."""

from __future__ import annotations

import datetime as dt

import asyncpg

from storage.database import Edition
from storage.errors import BusyError
from storage.kinds import Connection


def can_compress(edition: Edition) -> bool:
    """Return whether this edition compresses."""
    return edition.licence == "timescale"


async def compress_oldest(connection: Connection, kind: str, after: dt.timedelta) -> str | None:
    """Compress the oldest chunk of a kind's readings that ended longer ago than ``after`` and is not compressed.

    Return its name, or None when there is none. Raises BusyError where somebody uses it for long.
    """
    try:
        chunk: str | None = await connection.fetchval("SELECT alatau.compress_oldest($1, $2)", kind, after)
    except asyncpg.LockNotAvailableError as error:
        raise BusyError(
            f"the oldest readings of {kind} are in use; they are compressed the next time"
        ) from error
    return chunk
