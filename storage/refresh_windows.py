"""What to make again: the notes of writers, gathered to windows of time and the devices in them."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import zoneinfo
from collections.abc import Iterable, Sequence

from storage.rollup_tables import HOUR, Tier, edges_of, floor_to


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """One note: a device's readings from ``start`` to before ``stop`` (Unix µs) have changed; it may have left a
    district."""

    device: int
    start: int
    stop: int
    district: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Buckets from ``start`` to before ``stop`` (Unix µs) of ``devices``, all if None, and of districts left."""

    start: int
    stop: int
    devices: frozenset[int] | None = None
    left: frozenset[str] = frozenset()


def windows_of(marks: Sequence[Mark], low: int, high: int, zone: zoneinfo.ZoneInfo) -> list[Window]:
    """Return windows that cover marks as far as they lie between two times; whole hours, of one local day each.

    Whole hours, because an hour of a few devices is made as fast as a part of it, and neighbours with the same
    devices become one.
    """
    devices: dict[int, set[int]] = collections.defaultdict(set)
    left: dict[int, set[str]] = collections.defaultdict(set)
    for mark in marks:
        first = max(mark.start, low)
        for hour in range(first - first % HOUR, min(mark.stop, high), HOUR):
            devices[hour].add(mark.device)
            if mark.district is not None:
                left[hour].add(mark.district)
    windows: list[Window] = []
    for hour in sorted(devices):
        window = Window(
            max(hour, low), min(hour + HOUR, high), frozenset(devices[hour]), frozenset(left[hour])
        )
        before = windows[-1] if windows else None
        if before is not None and _joins(before, window, zone):
            windows[-1] = dataclasses.replace(before, stop=window.stop)
        else:
            windows.append(window)
    return windows


def _joins(before: Window, window: Window, zone: zoneinfo.ZoneInfo) -> bool:
    return (before.stop, before.devices, before.left) == (
        window.start,
        window.devices,
        window.left,
    ) and floor_to(Tier.DAY, before.start, zone) == floor_to(Tier.DAY, window.start, zone)


def day_windows(windows: Iterable[Window], zone: zoneinfo.ZoneInfo) -> list[Window]:
    """Return the local days that windows touch, each with all devices that have changed in it."""
    days: dict[tuple[int, int], Window] = {}
    for window in windows:
        edges = edges_of(Tier.DAY, window.start, window.stop, zone).tolist()
        for day in itertools.pairwise(edges):
            known = days.get(day, Window(*day, frozenset()))
            days[day] = Window(
                *day,
                (known.devices or frozenset()) | (window.devices or frozenset()),
                known.left | window.left,
            )
    return list(days.values())
