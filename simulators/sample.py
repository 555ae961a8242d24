"""A sample: some devices at some times, and everything a model may ask about them."""

from __future__ import annotations

import dataclasses

import numpy as np

from simulators.fields import EPOCH, CityFields
from simulators.noise import Floats, Ints, Keys, gaussian, key_of, uniform, warp, wave

_NO_STEP = np.zeros(1, dtype=np.int64)
_PER_DEVICE = np.uint64(0x5DEECE66D)


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Readings to be made: ``key`` (n,) identifies the device, ``time`` (n,) is Unix µs.

    ``since`` (n,) is when each device's counters began, Unix µs, never before 2024.
    """

    fields: CityFields
    key: Keys
    time: Ints
    since: Ints

    def field(self, name: str) -> Floats:
        """Return the city's field at each time."""
        return self.fields.at(name, self.time)

    def trait(self, name: str, low: float, high: float) -> Floats:
        """Return a property that a device keeps for ever, uniform in [low, high)."""
        return low + (high - low) * uniform(self.key ^ key_of(name) ^ _PER_DEVICE, _NO_STEP)

    def choice(self, name: str, count: int) -> Ints:
        """Return one of ``count`` sorts that a device belongs to for ever."""
        return self.trait(name, 0.0, count).astype(np.int64)

    def noise(self, name: str, period: int) -> Floats:
        """Return independent noise for each device and period (µs): mean 0, deviation 1."""
        return gaussian(self.key ^ key_of(name), self.time // period)

    def chance(self, name: str, period: int) -> Floats:
        """Return independent numbers in [0, 1) for each device and period (µs)."""
        return uniform(self.key ^ key_of(name), self.time // period)

    def wave(self, name: str, period: int) -> Floats:
        """Return noise of each device that changes smoothly over a period (µs): mean 0, deviation 1."""
        return wave(self.key ^ key_of(name), self.time, period)

    def city_wave(self, name: str, period: int) -> Floats:
        """Return smooth noise that the whole city shares, such as the frequency of the mains."""
        return wave(self.fields.seed ^ key_of(name), self.time, period)

    def counted(self, name: str, field: str, *, period: int, roughness: float) -> tuple[Floats, Floats]:
        """Return a field integrated since installation, and its present rate, both as one device sees them.

        The integral is in units of the field times hours and never falls; the rate in units of the field.
        """
        moved, speed = warp(self.key ^ key_of(name), self.time, period, roughness)
        began = self.fields.integral(field, np.maximum(self.since, EPOCH))
        total = np.maximum(self.fields.integral(field, moved) - began, 0.0)
        return total, self.fields.at(field, moved) * speed
