"""The latest values, read: of each device the newest of each metric by event time."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import struct
from collections.abc import Sequence
from typing import NamedTuple

from sensors.catalogue import Catalogue
from storage.kinds import Connection
from storage.selection import Selection, condition

# PostgreSQL's wire format of an array of one dimension begins with as much. Source: array_send in its arrayfuncs.c.
_HEADER_BYTES, _ELEMENT_BYTES = 20, 12
_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in Unix µs
_NEVER = -(2**63)  # -infinity


class LatestReading(NamedTuple):
    """What is newest of one device; ``time`` is the newest of its values' ``times``, which are Unix µs.

    ``metrics``, ``values`` and ``times`` are columns: an object for each value of a whole city would take longer than
    to read it.
    """

    device: str
    kind: str
    district: str
    position: tuple[float, float] | None
    interval_seconds: float
    simulated: bool
    time: dt.datetime
    received_at: dt.datetime
    metrics: Sequence[str]
    values: Sequence[float]
    times: Sequence[int]


async def now_changing(connection: Connection) -> int:
    """Return a number that no change of a latest value is below which is not yet visible.

    Ask before reading: every transaction under way has this number or a higher one, and so has every later one.
    """
    number = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8")
    return int(number)


async def list_latest(
    connection: Connection,
    catalogue: Catalogue,
    selection: Selection,
    metrics: Sequence[str] = (),
    *,
    since: int | None = None,
    after: str = "",
    limit: int = 100,
) -> list[LatestReading]:
    """Return the latest values of devices in the order of their ids: a keyset, never an offset.

    With ``metrics``, only devices that have a value of one of them, and only these values. With ``since``, a
    number of ``now_changing``, all that have changed since it was asked for, and perhaps some before.
    """
    # PostgreSQL counts from one.
    places = [
        (kind.name, kind.index[metric] + 1)
        for kind in catalogue.kinds
        for metric in metrics
        if metric in kind.index
    ]
    selected, arguments = condition(selection, 7)
    rows = await connection.fetch(
        f"""
        SELECT device.id, kind, district, longitude, latitude, interval_seconds, simulated,
               l.time, l.received_at, array_send(l.times) AS times, l.values
        FROM alatau.device JOIN alatau.latest l USING (device_id)
        WHERE device.id > $1 AND {selected} AND l.changed >= $2
              AND ($3 OR EXISTS (
                  SELECT FROM unnest($4::text[], $5::int[]) AS place (kind, position)
                  WHERE place.kind = device.kind AND l.times[place.position] > '-infinity'))
        ORDER BY device.id LIMIT $6
        """,
        after,
        0 if since is None else since,
        not metrics,
        [kind for kind, _ in places],
        [position for _, position in places],
        limit,
        *arguments,
    )
    return [
        LatestReading(
            row["id"],
            row["kind"],
            row["district"],
            None if row["longitude"] is None else (row["longitude"], row["latitude"]),
            row["interval_seconds"],
            row["simulated"],
            row["time"],
            row["received_at"],
            *_present(catalogue.kind_of[row["kind"]].columns, row["values"], _times(row["times"]), metrics),
        )
        for row in rows
    ]


def _present(
    columns: Sequence[str], values: Sequence[float], times: Sequence[int], metrics: Sequence[str]
) -> tuple[Sequence[str], Sequence[float], Sequence[int]]:
    """Return the columns, their values and times (Unix µs) of which there is a value, and that are asked for."""
    # The arrays are shorter than the columns where metrics were added since.
    present = [time != _NEVER for time in times]
    if metrics:
        present = [is_there and name in metrics for name, is_there in zip(columns, present, strict=False)]
    return (
        list(itertools.compress(columns, present)),
        list(itertools.compress(values, present)),
        [time + _POSTGRES_EPOCH for time in itertools.compress(times, present)],
    )


def _times(array: bytes) -> tuple[int, ...]:
    """Return the timestamps of an array as they are sent, µs since 2000.

    To make a datetime of each, in asyncpg, took as long as all the rest of reading a whole city.
    """
    return _layout((len(array) - _HEADER_BYTES) // _ELEMENT_BYTES).unpack(array)


@functools.cache
def _layout(elements: int) -> struct.Struct:
    return struct.Struct(f">{_HEADER_BYTES}x{'4xq' * elements}")
