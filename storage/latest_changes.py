"""What changed of the latest values since somebody last looked: none is missed, and none told twice."""

from __future__ import annotations

import datetime as dt
import functools
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import asyncpg

from storage.kinds import Connection

LATEST_CHANNEL = "alatau_latest"
# What PostgreSQL's -infinity is in a Change's times: the metric has no value.
NEVER = -(2**63)

# PostgreSQL's wire format of an array of one dimension. Source: array_send in its arrayfuncs.c.
_HEADER_BYTES, _ELEMENT_BYTES = 20, 12
_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in Unix µs
_PREFETCH = 5_000


class Sight(NamedTuple):
    """Which transactions a look could see: those before ``end``, but for those that were ``running``.

    All before ``begin`` had ended.
    """

    begin: int
    end: int
    running: tuple[int, ...]


class Change(NamedTuple):
    """The latest values of a device, with the transaction that last ``changed`` them.

    ``times`` (Unix µs, NEVER where there is none) and ``values`` have the places of the kind's metrics.
    """

    device: str
    kind: str
    district: str
    interval_seconds: float
    time: dt.datetime
    received_at: dt.datetime
    changed: int
    times: tuple[int, ...]
    values: tuple[float, ...]


async def announce_latest(connection: Connection) -> None:
    """Wake who waits for changes, once for all that were just merged."""
    await connection.execute("SELECT pg_notify($1, '')", LATEST_CHANNEL)


async def look(connection: asyncpg.Connection) -> Sight:
    """Return what the running transaction sees, which is repeatable read: all its queries see the same."""
    row = await connection.fetchrow(
        """
        SELECT pg_snapshot_xmin(seen)::text::int8 AS begin, pg_snapshot_xmax(seen)::text::int8 AS end,
               ARRAY(SELECT pg_snapshot_xip(seen)::text::int8) AS running
        FROM pg_current_snapshot() AS seen
        """
    )
    if row is None:
        raise LookupError("a query without FROM gave no row")
    return Sight(row["begin"], row["end"], tuple(row["running"]))


async def changes_since(connection: asyncpg.Connection, seen: Sight | None) -> AsyncIterator[Change]:
    """Give the latest values that an earlier look could not see, all without one; in a transaction."""
    # A number of a transaction says when it began, not when it was committed: one that was running then is among those
    # before the end, and is asked for by itself.
    condition = "true" if seen is None else "(l.changed >= $1 OR l.changed = ANY($2::int8[]))"
    rows = connection.cursor(
        f"""
        SELECT device.id, kind, district, interval_seconds, l.time, l.received_at, l.changed,
               array_send(l.times) AS times, array_send(l.values) AS values
        FROM alatau.latest l JOIN alatau.device USING (device_id) WHERE {condition}
        """,
        *(() if seen is None else (seen.end, seen.running)),
        prefetch=_PREFETCH,
    )
    async for id_, kind, district, interval, time, received_at, changed, times, values in rows:
        yield Change(
            id_,
            kind,
            district,
            interval,
            time,
            received_at,
            changed,
            tuple(NEVER if one == NEVER else one + _POSTGRES_EPOCH for one in _elements(times, "q")),
            tuple(_elements(values, "d")),
        )


def _elements(array: bytes, type_: str) -> Sequence[Any]:
    count = max(0, len(array) - _HEADER_BYTES) // _ELEMENT_BYTES
    return _layout(count, type_).unpack(array) if count else ()


@functools.cache
def _layout(count: int, type_: str) -> struct.Struct:
    return struct.Struct(f">{_HEADER_BYTES}x" + f"4x{type_}" * count)
