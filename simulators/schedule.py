"""When each device reads. Every time is aligned to the epoch, so that whoever asks gets the same ones."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from simulators.errors import SimulatorError
from simulators.noise import Ints

Rows = npt.NDArray[np.int64]


class Schedule(Protocol):
    """Says which device reads when; pure, so asking twice answers the same."""

    @property
    def spacing(self) -> Ints:
        """Time between two readings of each device, µs, shape (devices,)."""
        ...

    def due(self, start: int, end: int) -> tuple[Rows, Ints]:
        """Return devices (n,) and times (n,) in Unix µs of all readings in [start, end), by time."""
        ...


class IntervalSchedule:
    """Each device at its own interval: time = k * interval + phase."""

    def __init__(self, interval: Ints, phase: Ints) -> None:
        self.spacing = interval
        self._phase = phase

    def due(self, start: int, end: int) -> tuple[Rows, Ints]:
        """Return devices and times in [start, end), by time."""
        every = np.arange(len(self.spacing), dtype=np.int64)
        rows, times = readings_between(every, self.spacing, self._phase, start, end)
        order = np.argsort(times, kind="stable")
        return rows[order], times[order]


class RateSchedule:
    """All devices in turn, so many readings a second altogether."""

    def __init__(self, devices: int, rate: float) -> None:
        if not 0 < rate <= 1000 * devices:
            raise SimulatorError(
                f"rate {rate:g} is not possible with {devices} devices: a device's time has milliseconds, "
                f"so one gives at most 1000 readings/s; take at most {1000 * devices}, or more devices"
            )
        self._devices = devices
        self._period = 1e6 / rate
        self.spacing = np.full(devices, max(1, round(self._period * devices)), dtype=np.int64)

    def due(self, start: int, end: int) -> tuple[Rows, Ints]:
        """Return devices and times in [start, end), by time, in whole milliseconds."""
        numbers = np.arange(
            int(start / self._period) - 1, int((end + 1000) / self._period) + 2, dtype=np.int64
        )
        times = np.floor(numbers * self._period / 1000.0).astype(np.int64) * 1000
        inside = (times >= start) & (times < end)
        return numbers[inside] % self._devices, times[inside]


def readings_between(rows: Rows, interval: Ints, phase: Ints, start: int, end: int) -> tuple[Rows, Ints]:
    """Return rows and times of all k * interval + phase in [start, end), by row, then time.

    ``rows`` (n,) are repeated as often as they read; ``interval`` and ``phase`` (n,) are theirs in µs.
    """
    first = -((phase - start) // interval)
    stop = -((phase - end) // interval)
    count = np.maximum(stop - first, 0)
    within = np.arange(int(count.sum()), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
    number = np.repeat(first, count) + within
    return np.repeat(rows, count), number * np.repeat(interval, count) + np.repeat(phase, count)
