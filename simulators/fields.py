"""Fields: what the whole city shares at a time, tabulated once and then only looked up.

A field is linear between points of a ten-minute grid that begins with 2024 and grows by whole years as later
times are asked for; its integral is exact, so a counter read at any time continues one read years before.
"""

from __future__ import annotations

import dataclasses
import zoneinfo

import numpy as np

from sensors.times import DAY
from simulators.activity import parked, rates, traffic
from simulators.calendars import HOUR, MINUTE, calendar
from simulators.climate import pollution, weather
from simulators.noise import Floats, Ints

EPOCH = 19_723 * DAY  # 2024-01-01T00:00:00Z, when the simulated city came to be
END = 47_482 * DAY  # 2100-01-01T00:00:00Z
STEP = 10 * MINUTE
_CHUNK = 366 * DAY // STEP
_STEP_HOURS = STEP / HOUR

# The fields that counters integrate.
INTEGRATED = (
    "rain",
    "traffic",
    "homes",
    "offices",
    "taps",
    "heat",
    "shops",
    "online",
    "riders",
    "waste",
    "lights",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the city is: degrees east and north, and its zone."""

    longitude: float
    latitude: float
    zone: zoneinfo.ZoneInfo


class CityFields:
    """All fields of one city and seed; the same for everyone who asks, in any order."""

    def __init__(self, place: Place, seed: np.uint64) -> None:
        self.place = place
        self.seed = seed
        self._steps = 0
        self._tables: dict[str, Floats] = {}
        self._totals: dict[str, Floats] = {}

    def cover(self, time: Ints) -> None:
        """Tabulate as far as the latest of these times; ValueError outside the years 2024 to 2099."""
        if not len(time):
            return
        if time.min() < EPOCH or time.max() >= END:
            raise ValueError(
                "the simulated city exists from 2024-01-01 to 2099-12-31; ask for a time in between"
            )
        while EPOCH + (self._steps - 4) * STEP <= time.max():
            self._extend()

    def at(self, name: str, time: Ints) -> Floats:
        """Return the field at each time, between grid points linearly."""
        table = self._tables[name]
        index, part = self._locate(time)
        result: Floats = table[index] * (1.0 - part) + table[index + 1] * part
        return result

    def local(self, time: Ints) -> Ints:
        """Return µs of the local wall clock since the local epoch at each time."""
        index, _ = self._locate(time)
        return time + self._tables["offset"][index].astype(np.int64)

    def integral(self, name: str, time: Ints) -> Floats:
        """Return the field integrated from 2024 to each time, in units of the field times hours."""
        table, total = self._tables[name], self._totals[name]
        index, part = self._locate(time)
        low, high = table[index], table[index + 1]
        result: Floats = total[index] + (low * part + 0.5 * (high - low) * part * part) * _STEP_HOURS
        return result

    def _locate(self, time: Ints) -> tuple[Ints, Floats]:
        # A device's own clock strays a few minutes from the times that were covered; the margins of the
        # grid absorb that everywhere but at its very beginning.
        past = np.maximum(time - EPOCH, 0)
        index = past // STEP
        return index, (past - index * STEP) / STEP

    def _extend(self) -> None:
        start = self._steps
        # One point more than the chunk: the slopes at its edge and the totals join without a seam.
        time = EPOCH + np.arange(start, start + _CHUNK + 1, dtype=np.int64) * STEP
        cal = calendar(time, self.place.zone, self.place.longitude, self.place.latitude)
        fields = weather(cal, self.seed)
        fields["traffic"] = traffic(cal, fields, self.seed)
        fields |= pollution(cal, fields, fields["traffic"], self.seed)
        fields |= rates(cal, fields, self.seed)
        fields |= parked(cal)
        fields["offset"] = (cal.local - cal.time).astype(np.float64)
        fields["workday"] = cal.workday
        fields["season"] = cal.season
        for name, values in fields.items():
            known = self._tables[name][:start] if name in self._tables else np.empty(0)
            self._tables[name] = np.concatenate((known, values))
        for name in INTEGRATED:
            values = fields[name]
            areas = (values[:-1] + values[1:]) * (0.5 * _STEP_HOURS)
            before = self._totals[name] if name in self._totals else np.zeros(1)
            self._totals[name] = np.concatenate((before, before[-1] + np.cumsum(areas)))
        self._steps = start + _CHUNK
