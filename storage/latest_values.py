"""The latest values, read: of each device the newest of each metric by event time."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sensors.catalogue import Catalogue
from storage.kinds import Connection
from storage.selection import Selection, condition


class LatestValue(NamedTuple):
    """The newest value of one metric and its own event time."""

    value: float
    time: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class LatestReading:
    """What is newest of one device; ``time`` is the newest of its values' times."""

    device: str
    kind: str
    district: str
    position: tuple[float, float] | None
    interval_seconds: float
    simulated: bool
    time: dt.datetime
    received_at: dt.datetime
    values: dict[str, LatestValue]


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
               l.time, l.received_at, l.times, l.values
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
            device=row["id"],
            kind=row["kind"],
            district=row["district"],
            position=None if row["longitude"] is None else (row["longitude"], row["latitude"]),
            interval_seconds=row["interval_seconds"],
            simulated=row["simulated"],
            time=row["time"],
            received_at=row["received_at"],
            values={
                name: LatestValue(value, time)
                # The arrays are shorter than the columns where metrics were added since.
                for name, time, value in zip(
                    catalogue.kind_of[row["kind"]].columns, row["times"], row["values"], strict=False
                )
                if time != _NEVER and (not metrics or name in metrics)
            },
        )
        for row in rows
    ]


# What asyncpg makes of '-infinity', the one time that it gives no zone.
_NEVER = dt.datetime.min  # noqa: DTZ901
