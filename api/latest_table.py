"""The latest values as a table: a row for each value."""

from __future__ import annotations

import datetime as dt

from api.latest_shape import ages_of
from api.tables import Batch, Column, Type
from sensors.catalogue import Catalogue
from sensors.times import to_microseconds
from storage.latest_values import LatestValues

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


def latest_batch(latest: LatestValues, catalogue: Catalogue, now: dt.datetime) -> Batch:
    """Return the rows of some devices' latest values."""
    owners = [latest.devices[place] for place in latest.owner.tolist()]
    places = [device.position or (None, None) for device in owners]
    metrics = latest.metric.tolist()
    ages, is_stale = ages_of(latest, to_microseconds(now))
    return [
        [device.device for device in owners],
        [device.kind for device in owners],
        [device.district for device in owners],
        [longitude for longitude, _ in places],
        [latitude for _, latitude in places],
        [device.simulated for device in owners],
        metrics,
        [catalogue.metric_of[metric].unit for metric in metrics],
        latest.value,
        latest.time,
        ages,
        is_stale,
    ]
