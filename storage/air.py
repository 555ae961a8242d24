"""What the air index is made of: averages of whole hours back from now, district by district."""

from __future__ import annotations

import math

from sensors.air_index import HOURS, UNITS
from sensors.catalogue import Catalogue
from sensors.times import SECOND
from storage.kinds import Connection
from storage.rollup_tables import HOUR, MINUTES
from storage.selection import Selection
from storage.series import read_series
from storage.series_query import Aggregate, GroupBy, SeriesQuery

# Stations that are read more seldom than they could be still say how the air is; a single reading of an hour does not.
_LEAST_SHARE = 0.05


async def read_hours(
    connection: Connection, catalogue: Catalogue, now: int
) -> dict[str, dict[str, list[float | None]]]:
    """Return by district and metric the averages of the last hours, the newest last; ``now`` is Unix µs.

    The newest one ends now, and so is a few minutes longer: the others begin where rollups do. None is an hour with
    hardly any of the readings that were expected.
    """
    metrics = tuple(
        name
        for name, unit in UNITS.items()
        if name in catalogue.metric_of and catalogue.metric_of[name].unit == unit
    )
    if not metrics:
        return {}
    last = now // MINUTES * MINUTES
    start = last - HOURS * HOUR
    boundaries = [*range(start, last, HOUR), now + SECOND]
    query = SeriesQuery(
        metrics=metrics,
        aggregates=frozenset({Aggregate.AVG}),
        start=start,
        end=now + SECOND,
        boundaries=boundaries,
        group_by=GroupBy.DISTRICT,
        kinds=tuple(kind for kind in catalogue.kinds if set(metrics) & set(kind.columns)),
        selection=Selection(),
        now=now,
    )
    found: dict[str, dict[str, list[float | None]]] = {}
    for series in await read_series(connection, query):
        average = series.values[Aggregate.AVG]
        enough = series.count >= _LEAST_SHARE * series.expected
        found.setdefault(series.group or "", {})[series.metric] = [
            float(value) if is_enough and math.isfinite(value) else None
            for value, is_enough in zip(average, enough, strict=True)
        ]
    return found
