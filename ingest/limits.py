"""Token buckets by device: a device that sends far more than it should is limited, its neighbours notice nothing.

What is charged is density by the readings' own time. A backlog comes fast, but its readings lie as far apart
as they were measured: they are free. Policy and state without clock or I/O, whole columns at a time.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sensors.readings import ReadingBatch
from sensors.times import DAY, SECOND

_Scalar = TypeVar("_Scalar", bound=np.generic)
_LONG_AGO = -(2**61)
_MINUTE = 60 * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class RatePolicy:
    """When a device is limited; rates and spacings are multiples of its registered interval.

    A reading costs a token when it lies closer than ``spacing`` intervals to the one before it. Tokens come back
    ``refill`` times in an interval, or ``per_metric`` times for each metric of the kind, whichever is more: a
    device may send each metric apart. ``burst`` is what a bucket holds; after a pause of ours, and at our
    start, what devices may have sent meanwhile comes on top, for at most ``catch_up`` µs: readings without
    a time of their own then all arrive at once. A large ``burst`` turns the limit off.
    """

    spacing: float = 0.1
    refill: float = 10.0
    per_metric: float = 2.0
    burst: float = 600.0
    repeat_cost: float = 0.1  # of a reading at the time of the one before: sent again, or a part of it
    pause: int = 10 * SECOND
    catch_up: int = 7 * DAY  # as long as the broker keeps our session


class Intervals:
    """Expected µs between two readings, by device number; 0 where no device is known."""

    def __init__(self) -> None:
        self.expected = np.zeros(1024)

    def set(self, device_id: int, seconds: float) -> None:
        """Expect a reading of a device each so many seconds."""
        if device_id >= len(self.expected):
            self.expected = _grown(self.expected, 2 * device_id, 0.0)
        self.expected[device_id] = seconds * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class Excess:
    """Which rows of a batch are too many: ``rows`` (n,), µs to the reading before each, and as expected."""

    rows: npt.NDArray[np.intp]
    gap: npt.NDArray[np.int64]
    expected: npt.NDArray[np.float64]


class RateLimits:
    """The buckets of all devices: some 40 bytes for each."""

    def __init__(self, intervals: Intervals, policy: RatePolicy | None = None) -> None:
        self.policy = policy or RatePolicy()
        self._intervals = intervals
        self._tokens = np.zeros(0)
        self._refilled = np.zeros(0, np.int64)  # Unix µs
        self._last = np.zeros(0, np.int64)  # own time of the last reading seen
        self._limited_at = np.zeros(0, np.int64)
        self._charged_at = 0

    def limited_devices(self, now: int) -> int:
        """Return how many devices were limited within the last minute."""
        return int(np.count_nonzero(self._limited_at > now - _MINUTE))

    def charge(
        self, batch: ReadingBatch, now: int, redelivered: npt.NDArray[np.bool_] | None = None
    ) -> Excess | None:
        """Charge a batch at ``now`` (Unix µs) and return what is too many of it, or None.

        What the broker delivers again, ``redelivered`` (n,), was charged when it came first.
        """
        if not len(batch):
            return None
        self._prepare(now)
        order = _by_device_and_time(batch.device, batch.time)
        device, time = batch.device[order], batch.time[order]
        first = np.flatnonzero(_begins(device))
        gap = np.empty(len(order), np.int64)
        np.subtract(time[1:], time[:-1], out=gap[1:])
        gap[first] = np.abs(time[first] - self._last[device[first]])
        self._last[device[first]] = time[np.append(first[1:], len(time)) - 1]
        close = gap < self._intervals.expected[device] * self.policy.spacing
        if redelivered is not None:
            close &= ~redelivered[order]
        if not close.any():
            return None
        charged = np.flatnonzero(close)
        over = self._spend(device[charged], gap[charged], now, len(batch.kind.columns))
        if not over.any():
            return None
        excess = charged[over]
        self._limited_at[device[excess]] = now
        return Excess(order[excess], gap[excess], self._intervals.expected[device[excess]])

    def _prepare(self, now: int) -> None:
        expected, policy = self._intervals.expected, self.policy
        if len(self._tokens) < len(expected):
            size = len(expected)
            self._tokens = _grown(self._tokens, size, policy.burst)
            self._refilled = _grown(self._refilled, size, now)
            self._last = _grown(self._last, size, _LONG_AGO)
            self._limited_at = _grown(self._limited_at, size, _LONG_AGO)
        away, self._charged_at = now - self._charged_at, now
        if away > policy.pause:
            known = expected > 0
            room = np.maximum(policy.burst, policy.catch_up / expected[known])
            missed = self._tokens[known] + away / expected[known]
            self._tokens[known] = np.maximum(self._tokens[known], np.minimum(room, missed))

    def _spend(
        self, device: npt.NDArray[np.int32], gap: npt.NDArray[np.int64], now: int, metrics: int
    ) -> npt.NDArray[np.bool_]:
        """Take tokens for readings that are sorted by device; return which found none, shape (n,)."""
        policy = self.policy
        is_first = _begins(device)
        first = np.flatnonzero(is_first)
        ids, group = device[first], np.cumsum(is_first) - 1
        rate = max(policy.refill, policy.per_metric * metrics) / self._intervals.expected[ids]
        elapsed = np.maximum(now - self._refilled[ids], 0)
        before = self._tokens[ids]
        # What was credited beyond the burst stays until it is used.
        tokens = np.maximum(before, np.minimum(policy.burst, before + elapsed * rate))
        cost = np.where(gap == 0, policy.repeat_cost, 1.0)
        running = np.cumsum(cost)
        running -= (running[first] - cost[first])[group]
        over: npt.NDArray[np.bool_] = running > tokens[group] + 1e-6
        self._tokens[ids] = tokens - np.maximum.reduceat(np.where(over, 0.0, running), first)
        self._refilled[ids] = now
        return over


def _grown(array: npt.NDArray[_Scalar], size: int, fill: float) -> npt.NDArray[_Scalar]:
    grown = np.full(size, fill, array.dtype)
    grown[: len(array)] = array
    return grown


def _begins(device: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    is_first = np.ones(len(device), dtype=bool)
    np.not_equal(device[1:], device[:-1], out=is_first[1:])
    return is_first


def _by_device_and_time(device: npt.NDArray[np.int32], time: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    # numpy sorts 16 bits by radix, ten times as fast as it merges; and readings mostly come in their order.
    order = np.argsort(device.astype(np.uint16), kind="stable")
    if device.max() >= 2**16:
        order = order[np.argsort((device[order] >> 16).astype(np.uint16), kind="stable")]
    by_device, by_time = device[order], time[order]
    if np.any((by_time[1:] < by_time[:-1]) & (by_device[1:] == by_device[:-1])):
        return np.lexsort((time, device))
    return order
