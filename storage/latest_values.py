"""The latest values, read: of each device the newest of each metric by event time."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from sensors.catalogue import Catalogue
from storage.kinds import Connection
from storage.selection import Selection


@dataclasses.dataclass(frozen=True, slots=True)
class LatestValue:
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


async def list_latest(
    connection: Connection,
    catalogue: Catalogue,
    selection: Selection,
    metrics: Sequence[str] = (),
    *,
    after: str = "",
    limit: int = 100,
) -> list[LatestReading]:
    """Return the latest values of devices in the order of their ids: a keyset, never an offset.

    With ``metrics``, only devices that have a value of one of them, and only these values.
    """
    # PostgreSQL counts from one.
    places = [
        (kind.name, kind.index[metric] + 1)
        for kind in catalogue.kinds
        for metric in metrics
        if metric in kind.index
    ]
    rows = await connection.fetch(
        """
        SELECT d.id, d.kind, d.district, d.longitude, d.latitude, d.interval_seconds, d.simulated,
               l.time, l.received_at, l.times, l.values
        FROM alatau.device d JOIN alatau.latest l USING (device_id)
        WHERE d.id > $1 AND (cardinality($2::text[]) = 0 OR d.kind = ANY($2))
              AND (cardinality($3::text[]) = 0 OR d.district = ANY($3))
              AND (cardinality($4::text[]) = 0 OR d.id = ANY($4))
              AND ($5::boolean IS NULL OR d.simulated = $5)
              AND ($6 OR EXISTS (
                  SELECT FROM unnest($7::text[], $8::int[]) AS place (kind, position)
                  WHERE place.kind = d.kind AND l.times[place.position] > '-infinity'))
        ORDER BY d.id LIMIT $9
        """,
        after,
        selection.kinds,
        selection.districts,
        selection.devices,
        selection.simulated,
        not metrics,
        [kind for kind, _ in places],
        [position for _, position in places],
        limit,
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
