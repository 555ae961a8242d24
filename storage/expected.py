"""How many readings devices would make, by the interval each is known to keep."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from sensors.times import SECOND
from storage.selection import Devices


class By(enum.StrEnum):
    """What is told apart."""

    DEVICE = "device"
    DISTRICT = "district"
    KIND = "kind"


def expected_of(devices: Devices, start: int, end: int) -> npt.NDArray[np.int64]:
    """Return how many readings each device would make from ``start`` to ``end``, Unix µs.

    Nothing is expected of a device before it was installed, and since it was disabled.
    """
    span = np.maximum(0, np.minimum(end, devices.until) - np.maximum(start, devices.since)) / SECOND
    counts: npt.NDArray[np.int64] = np.floor(span / devices.interval_seconds).astype(np.int64)
    return counts
