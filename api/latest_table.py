"""The latest values as a table: a row for each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from api.tables import Batch, Column, Type
from sensors.times import to_microseconds

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


def latest_batch(devices: Sequence[Mapping[str, Any]]) -> Batch:
    """Return the rows of some devices, as the JSON answer describes them."""
    rows = [_row(device, metric, value) for device in devices for metric, value in device["values"].items()]
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS]
    return [
        np.array(list(map(to_microseconds, values)), dtype=np.int64) if column.type is Type.TIME else values
        for column, values in zip(COLUMNS, columns, strict=True)
    ]


def _row(device: Mapping[str, Any], metric: str, value: Mapping[str, Any]) -> tuple[Any, ...]:
    longitude, latitude = device["position"] or (None, None)
    return (
        device["device"],
        device["kind"],
        device["district"],
        longitude,
        latitude,
        device["simulated"],
        metric,
        value["unit"],
        value["value"],
        value["time"],
        value["age_seconds"],
        value["stale"],
    )
