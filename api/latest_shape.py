"""The latest values as JSON, device by device."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import orjson
from pydantic import Field, with_config
from typing_extensions import TypedDict

from api.members import (
    ANSWER,
    DeviceId,
    DistrictName,
    KindName,
    MetricName,
    Moment,
    Position,
    Seconds,
    Simulated,
    Unit,
    described_as,
)
from api.responses import as_times, encode
from sensors.catalogue import Catalogue
from sensors.times import SECOND, to_microseconds
from storage.latest_values import LatestReading

# A device may be late once or twice; the third time it is worth a look. Within a minute nobody looks.
_STALE_AFTER_INTERVALS = 3
_STALE_AFTER_SECONDS = 60

Age = Annotated[Seconds, Field(description="Since then, s; below 0 of a clock that is ahead.")]
Stale = Annotated[bool, Field(description="Older than three intervals, and than a minute.", examples=[False])]


@with_config(ANSWER)
class MetricNow(TypedDict):
    """The newest value of a metric of a device."""

    value: Annotated[float, Field(description="In the unit.", examples=[12.5])]
    unit: Unit
    time: Annotated[Moment, Field(description="The device's own, UTC.")]
    age_seconds: Age
    stale: Stale


@with_config(ANSWER)
class DeviceNow(TypedDict):
    """What is newest of a device."""

    device: DeviceId
    kind: KindName
    district: DistrictName
    position: Position | None
    simulated: Simulated
    interval_seconds: Annotated[Seconds, Field(description="Expected between two readings, s.")]
    time: Annotated[Moment, Field(description="The newest of its values' times, UTC.")]
    age_seconds: Age
    stale: Stale
    received_at: Annotated[Moment, Field(description="Of the arrival, UTC.")]
    values: Annotated[
        orjson.Fragment, described_as(dict[MetricName, MetricNow]), Field(description="By metric.")
    ]


def stale_after(interval_seconds: float) -> float:
    """Return at what age, in seconds, a value of a device that keeps an interval is stale."""
    return max(_STALE_AFTER_INTERVALS * interval_seconds, _STALE_AFTER_SECONDS)


def shape_devices(
    readings: Sequence[LatestReading], catalogue: Catalogue, now: dt.datetime
) -> list[DeviceNow]:
    """Return devices as they are answered, with their ``values`` as JSON already."""
    values = iter(_values(readings, catalogue, to_microseconds(now)))
    return [
        _shape(reading, now, ",".join(itertools.islice(values, len(reading.metrics)))) for reading in readings
    ]


def _shape(reading: LatestReading, now: dt.datetime, values: str) -> DeviceNow:
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
