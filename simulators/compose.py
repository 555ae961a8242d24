"""From the clock to payloads: which readings are due, what they say, how they are packed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from simulators.city import City
from simulators.encode import KindEncoder, encode_array
from simulators.faults import FaultInjector
from simulators.noise import Ints
from simulators.outgoing import Outgoing
from simulators.schedule import Rows, Schedule, readings_between

READINGS_PER_ARRAY = 50
_DEVICES_AT_ONCE = 400  # times 50 readings: some megabytes of values, whatever the size of the fleet


class Composer:
    """Writes a city's messages: single readings for live, arrays of one device's readings for history."""

    def __init__(self, city: City) -> None:
        self.city = city
        self._encoders = [KindEncoder(kind) for kind in city.catalogue.kinds]

    def live(self, schedule: Schedule, injector: FaultInjector, start: int, end: int) -> list[Outgoing]:
        """Return the messages of [start, end) in the order they are due."""
        rows, times = schedule.due(start, end)
        numbers = self.city.kind_number[rows]
        outgoing: list[Outgoing] = []
        for number in np.unique(numbers).tolist():
            kind, of_kind = self.city.catalogue.kinds[number], numbers == number
            kind_rows, kind_times = rows[of_kind], times[of_kind]
            values = self.city.values(kind.name, kind_rows, kind_times)
            payloads = self._encoders[number].encode(kind_times, values)
            outgoing += injector.messages(kind, kind_rows, kind_times, values, payloads)
        outgoing.sort(key=_due)
        return outgoing

    def history(self, interval: Ints, start: int, end: int) -> Iterator[tuple[float, Outgoing]]:
        """Yield the readings of [start, end) as arrays, oldest first, with the fraction done before each.

        ``interval`` (devices,) in µs is a multiple of each device's own, so that no time is sent twice.
        """
        total = float(np.sum((end - start) / interval)) or 1.0
        done = 0
        for slab, number, length in self._slabs(interval, start, end):
            chosen = np.flatnonzero((self.city.kind_number == number) & (interval == length))
            for at in range(0, len(chosen), _DEVICES_AT_ONCE):
                part = chosen[at : at + _DEVICES_AT_ONCE]
                for message in self._arrays(
                    number, part, interval, slab, min(slab + length * READINGS_PER_ARRAY, end)
                ):
                    yield min(done / total, 1.0), message
                    done += message.readings

    def _slabs(self, interval: Ints, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return (start, kind number, interval) of every stretch of fifty readings, oldest first."""
        groups = np.unique(np.stack((self.city.kind_number, interval), axis=1), axis=0).tolist()
        return sorted(
            (slab, number, length)
            for number, length in groups
            for slab in range(start, end, length * READINGS_PER_ARRAY)
        )

    def _arrays(self, number: int, chosen: Rows, interval: Ints, start: int, end: int) -> Iterator[Outgoing]:
        kind, phase = self.city.catalogue.kinds[number], self.city.phase[chosen]
        rows, times = readings_between(chosen, interval[chosen], phase, start, end)
        payloads = self._encoders[number].encode(times, self.city.values(kind.name, rows, times))
        bounds = [0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
        for low, high in itertools.pairwise(bounds):
            if high > low:
                array = encode_array(payloads[low:high])
                yield Outgoing(int(times[high - 1]), int(rows[low]), array, high - low)


def history_interval(city: City, step: int | None) -> Ints:
    """Return each device's interval in history (µs): its own, or its next multiple from ``step`` on."""
    if step is None:
        return city.interval
    result: Ints = np.maximum(-(-step // city.interval), 1) * city.interval
    return result


def _due(message: Outgoing) -> int:
    return message.due
