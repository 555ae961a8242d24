"""The latest values as a table: a row for each value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from api.latest_shape import stale_after
from api.tables import Batch, Column, Type, of_rows
from sensors.catalogue import Catalogue
from sensors.times import SECOND, to_microseconds
from storage.latest_values import LatestReading

COLUMNS = (
    Column("device", Type.TEXT),
    Column("kind", Type.TEXT),
    Column("district", Type.TEXT),
    Column("longitude", Type.NUMBER, "deg"),
    Column("latitude", Type.NUMBER, "deg"),
    Column("simulated", Type.FLAG),
    Column("metric", Type.TEXT),
    Column("unit", Type.TEXT),
    Column("value", Type.NUMBER),
    Column("time", Type.TIME),
    Column("age_seconds", Type.NUMBER, "s"),
    Column("stale", Type.FLAG),
)


def latest_batch(readings: Sequence[LatestReading], catalogue: Catalogue, now: dt.datetime) -> Batch:
    """Return the rows of some devices' latest values."""
    moment = to_microseconds(now)
    return of_rows([row for reading in readings for row in _rows(reading, catalogue, moment)], COLUMNS)


def _rows(reading: LatestReading, catalogue: Catalogue, now: int) -> Iterator[tuple[Any, ...]]:
    longitude, latitude = reading.position or (None, None)
    limit = stale_after(reading.interval_seconds)
    for metric, value, time in zip(reading.metrics, reading.values, reading.times, strict=True):
        age = (now - time) / SECOND
        yield (
            reading.device,
            reading.kind,
            reading.district,
            longitude,
            latitude,
            reading.simulated,
            metric,
            catalogue.metric_of[metric].unit,
            value,
            time,
            age,
            age > limit,
        )
