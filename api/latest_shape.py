"""The latest values as JSON, device by device."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
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
from storage.latest_values import LatestDevice, LatestValues

# A device may be late once or twice; the third time it is worth a look. Within a minute nobody looks.
STALE_AFTER_INTERVALS = 3
STALE_AFTER_SECONDS = 60

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
    return max(STALE_AFTER_INTERVALS * interval_seconds, STALE_AFTER_SECONDS)


def shape_devices(latest: LatestValues, catalogue: Catalogue, now: dt.datetime) -> list[DeviceNow]:
    """Return devices as they are answered, with their ``values`` as JSON already."""
    values = iter(_values(latest, catalogue, to_microseconds(now)))
    counts = np.bincount(latest.owner, minlength=len(latest.devices)).tolist()
    return [
        _shape(device, now, ",".join(itertools.islice(values, count)))
        for device, count in zip(latest.devices, counts, strict=True)
    ]


def _shape(device: LatestDevice, now: dt.datetime, values: str) -> DeviceNow:
    age = (now - device.time).total_seconds()
    return {
        "device": device.device,
        "kind": device.kind,
        "district": device.district,
        "position": device.position,
        "simulated": device.simulated,
        "interval_seconds": device.interval_seconds,
        "time": device.time,
        "age_seconds": age,
        "stale": age > stale_after(device.interval_seconds),
        "received_at": device.received_at,
        "values": orjson.Fragment(f"{{{values}}}"),
    }


def ages_of(latest: LatestValues, now: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return how old each value is at a time (Unix µs), in seconds, and whether that is stale."""
    ages = (now - latest.time) / SECOND
    limits = np.array([stale_after(device.interval_seconds) for device in latest.devices])
    return ages, ages > limits[latest.owner]


def _values(latest: LatestValues, catalogue: Catalogue, now: int) -> list[str]:
    """Return the JSON of each value.

    A city has ten thousand: written like this they take half the time of a dict for each.
    """
    heads = {
        name: f'"{name}":{{"unit":{orjson.dumps(metric.unit).decode()},"value":'
        for name, metric in catalogue.metric_of.items()
    }
    ages, is_stale = ages_of(latest, now)
    columns = (
        [heads[metric] for metric in latest.metric.tolist()],
        *(_texts(column) for column in (latest.value, as_times(latest.time), ages, is_stale)),
    )
    return [
        f'{head}{value},"time":{time},"age_seconds":{age},"stale":{stale}}}'
        for head, value, time, age, stale in zip(*columns, strict=True)
    ]


def _texts(values: npt.NDArray[Any]) -> list[str]:
    """Return the JSON of each of some values, none of which has a comma in it."""
    return encode(values).decode()[1:-1].split(",") if len(values) else []
