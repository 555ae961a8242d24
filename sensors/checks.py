"""What is wrong with a reading: the closed set of reasons, and the vectorised checks."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import DAY, SECOND


class Reason(enum.StrEnum):
    """Why a message, or a part of it, became a dead letter. ``docs/devices/contract.md`` explains each."""

    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_DEVICE = "unknown_device"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    NO_METRICS = "no_metrics"
    UNCLAIMED = "unclaimed"
    WRONG_UNIT = "wrong_unit"
    UNKNOWN_METRIC = "unknown_metric"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    DUPLICATE = "duplicate"
    TIME_UNREADABLE = "time_unreadable"
    TIME_TOO_OLD = "time_too_old"
    TIME_IN_FUTURE = "time_in_future"
    BAD_SEQUENCE = "bad_sequence"
    BAD_STATUS = "bad_status"
    NO_BIRTH = "no_birth"
    RATE_EXCEEDED = "rate_exceeded"
    SIMULATED = "simulated"
    REFUSED_BY_DATABASE = "refused_by_database"


@dataclasses.dataclass(frozen=True, slots=True)
class TimeWindow:
    """How far from now a reading's own time may lie, in microseconds."""

    past: int = 400 * DAY
    future: int = 300 * SECOND


def too_old(time: npt.NDArray[np.int64], now: int, window: TimeWindow) -> npt.NDArray[np.bool_]:
    """Return which times (Unix µs) lie further back than the window."""
    return time < now - window.past


def in_future(time: npt.NDArray[np.int64], now: int, window: TimeWindow) -> npt.NDArray[np.bool_]:
    """Return which times (Unix µs) lie further ahead than the window."""
    return time > now + window.future


def out_of_range(values: npt.NDArray[np.float64], kind: Kind) -> npt.NDArray[np.bool_]:
    """Return which values, shape (n, metrics), are infinite or implausible; absent ones (NaN) are not."""
    return (values < kind.minimum) | (values > kind.maximum)
