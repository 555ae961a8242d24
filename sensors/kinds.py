"""What a sensor kind is: its metrics, their units, plausible ranges and behaviour."""

from __future__ import annotations

import enum
import functools
import re

import msgspec
import numpy as np
import numpy.typing as npt

from sensors.times import parse_duration

METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
KIND_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

# Fields of the payload and columns of the table that a metric must not be called.
RESERVED_NAMES = frozenset(
    {"ts", "values", "seq", "oldest", "time", "received_at", "device_id", "device", "kind"}
)


class Behaviour(enum.StrEnum):
    """How a metric's values follow each other; decides which aggregates make sense."""

    GAUGE = "gauge"
    COUNTER = "counter"
    STATE = "state"


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measured quantity; ``unit`` is a UCUM code, ``minimum``/``maximum`` bound the plausible values."""

    name: str
    title: str
    unit: str
    minimum: float
    maximum: float
    resolution: float
    behaviour: Behaviour = Behaviour.GAUGE


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True, rename={"metrics": "metric"}):
    """A sensor kind: the ordered metrics of one reading and its expected interval, ISO 8601."""

    name: str
    title: str
    interval: str
    metrics: tuple[Metric, ...]

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of a batch's value columns."""
        return tuple(metric.name for metric in self.metrics)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Metric name to its column."""
        return {name: column for column, name in enumerate(self.columns)}

    @functools.cached_property
    def minimum(self) -> npt.NDArray[np.float64]:
        """Lowest plausible value of each column, shape (metrics,)."""
        return np.array([metric.minimum for metric in self.metrics])

    @functools.cached_property
    def maximum(self) -> npt.NDArray[np.float64]:
        """Highest plausible value of each column, shape (metrics,)."""
        return np.array([metric.maximum for metric in self.metrics])

    @functools.cached_property
    def interval_seconds(self) -> float:
        """Expected time between two readings of one device."""
        return parse_duration(self.interval) / 1e6


class District(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the city; ``outline`` is a ring of (longitude, latitude) in WGS 84, not closed."""

    name: str
    title: str
    outline: tuple[tuple[float, float], ...]


class City(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The city itself; ``timezone`` is the IANA zone of its calendar days."""

    name: str
    title: str
    timezone: str


class DeviceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device as a city file or an operator describes it; ``position`` is (longitude, latitude)."""

    id: str
    kind: str
    district: str
    position: tuple[float, float] | None = None
    interval: str | None = None
    installed: str | None = None
    simulated: bool = False
    metadata: dict[str, str | float | bool] = {}
