"""The latest values as JSON, device by device."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from api.responses import as_times, encode
from sensors.catalogue import Catalogue
from sensors.times import SECOND, to_microseconds
from storage.latest_values import LatestReading

# A device may be late once or twice; the third time it is worth a look. Within a minute nobody looks.
_STALE_AFTER_INTERVALS = 3
_STALE_AFTER_SECONDS = 60


def stale_after(interval_seconds: float) -> float:
    """Return at what age, in seconds, a value of a device that keeps an interval is stale."""
    return max(_STALE_AFTER_INTERVALS * interval_seconds, _STALE_AFTER_SECONDS)


def shape_devices(
    readings: Sequence[LatestReading], catalogue: Catalogue, now: dt.datetime
) -> list[dict[str, Any]]:
    """Return devices as they are answered, with their ``values`` as JSON already."""
    values = iter(_values(readings, catalogue, to_microseconds(now)))
    return [
        _shape(reading, now, ",".join(itertools.islice(values, len(reading.metrics)))) for reading in readings
    ]


def _shape(reading: LatestReading, now: dt.datetime, values: str) -> dict[str, Any]:
    age = (now - reading.time).total_seconds()
    return {
        "device": reading.device,
        "kind": reading.kind,
        "district": reading.district,
        "position": reading.position,
        "simulated": reading.simulated,
        "interval_seconds": reading.interval_seconds,
        "time": reading.time,
        "age_seconds": age,
        "stale": age > stale_after(reading.interval_seconds),
        "received_at": reading.received_at,
        "values": orjson.Fragment(f"{{{values}}}"),
    }


def _values(readings: Sequence[LatestReading], catalogue: Catalogue, now: int) -> list[str]:
    """Return the JSON of each value of each device, in their order.

    A city has ten thousand: written like this they take half the time of a dict for each.
    """
    heads = {
        name: f'"{name}":{{"unit":{orjson.dumps(metric.unit).decode()},"value":'
        for name, metric in catalogue.metric_of.items()
    }
    times = np.array([time for reading in readings for time in reading.times], np.int64)
    ages = (now - times) / SECOND
    limits = np.repeat(
        [stale_after(reading.interval_seconds) for reading in readings],
        [len(reading.metrics) for reading in readings],
    )
    columns = (
        [heads[metric] for reading in readings for metric in reading.metrics],
        _texts([value for reading in readings for value in reading.values]),
        _texts(as_times(times)),
        _texts(ages),
        _texts(ages > limits),
    )
    return [
        f'{head}{value},"time":{time},"age_seconds":{age},"stale":{is_stale}}}'
        for head, value, time, age, is_stale in zip(*columns, strict=True)
    ]


def _texts(values: Any) -> list[str]:
    """Return the JSON of each of some values, none of which has a comma in it."""
    return encode(values).decode()[1:-1].split(",") if len(values) else []
