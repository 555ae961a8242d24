"""What was learned, by kind and metric; each device's is found again when others come, go or move."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from alerts.arrivals import Usual
from alerts.baseline import Baseline
from alerts.layout import Part
from alerts.neighbours import Ints
from sensors.times import DAY
from storage.anomaly_inputs import Watched

_LONG_AGO = 10**18


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    devices: tuple[str, ...]
    districts: tuple[str, ...]
    at: int
    baseline: Baseline
    usual: Usual


class Learned:
    """Baselines by kind and metric. Of a device that came later nothing is known until its kind is learned again."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}

    def put(self, part: Part, watched: Watched, at: int, baseline: Baseline, usual: Usual) -> None:
        """Keep what was learned of a part at ``at``, Unix µs."""
        devices = tuple(watched.id[place] for place in part.devices.tolist())
        districts = tuple(sorted(set(part.districts(watched))))
        self._known[part.key] = _Known(devices, districts, at, baseline, usual)

    def due(self, parts: Sequence[Part], watched: Watched, until: int) -> list[Part]:
        """Return the parts that are to be learned, the oldest first: once a day, at once where no device is known."""

        def age(part: Part) -> int:
            known = self._known.get(part.key)
            if known is None or not set(known.devices) & {watched.id[d] for d in part.devices.tolist()}:
                return _LONG_AGO
            return until - known.at

        return sorted((part for part in parts if age(part) >= DAY), key=age, reverse=True)

    def has_all(self, parts: Sequence[Part]) -> bool:
        """Return whether something is known of each part."""
        return all(part.key in self._known for part in parts)

    def baseline(self, parts: Sequence[Part], watched: Watched) -> Baseline:
        """Return what is known as one; series of which nothing is known are not judged."""
        return Baseline.joined([self._of(part, watched) for part in parts])

    def _of(self, part: Part, watched: Watched) -> Baseline:
        districts = sorted(set(part.districts(watched)))
        known = self._known.get(part.key)
        if known is None:
            return Baseline.unknown(len(part.devices), len(districts))
        return known.baseline.carried(
            _places(known.devices, [watched.id[place] for place in part.devices.tolist()]),
            _places(known.districts, districts),
        )

    def usual(self, parts: Sequence[Part], watched: Watched) -> tuple[Usual, Ints]:
        """Return how many readings usually come of each device, and by which series they are counted, both (d,).

        That is the one of its metrics that comes most often; -1 where nothing is known.
        """
        usual = Usual.unknown(len(watched.id))
        by = np.full(len(watched.id), -1, np.int64)
        first = 0
        for part in parts:
            known = self._known.get(part.key)
            if known is not None:
                of_part = known.usual.carried(
                    _places(known.devices, [watched.id[place] for place in part.devices.tolist()])
                )
                more = of_part.readings > usual.readings[part.devices]
                by[part.devices] = np.where(more, first + np.arange(len(more)), by[part.devices])
                usual.put(part.devices[more], of_part, more)
            first += len(part.devices)
        return usual, by


def _places(known: Sequence[str], wanted: Sequence[str]) -> Ints:
    """Return where each wanted name is among the known ones, -1 where it is not."""
    places = {name: place for place, name in enumerate(known)}
    return np.array([places.get(name, -1) for name in wanted], np.int64)
