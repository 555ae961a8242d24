"""Faults that last: hours of one frozen value, days of creeping away, an outage, an event that a district feels.

Whether one is on is a hash of (seed, fault, whose it is, window of time), as with the faults of single readings:
every moment can be computed alone. Each window has at most one, of a length between two bounds, anywhere in it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sensors.kinds import Behaviour, Kind, Metric
from sensors.times import DAY, SECOND
from simulators.city import City, measured
from simulators.noise import Floats, Ints, Keys, hashed, key_of, uniform
from simulators.schedule import Rows

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
_RAMP = 10 * MINUTE  # in which an event comes, and goes
_FINE_STEPS = 100  # a gauge of fewer stands still for hours by nature, as a battery does


class Lasting(enum.StrEnum):
    """What can go wrong for longer; earlier ones win."""

    OUTAGE = "outage"
    LOSSY = "lossy"
    FROZEN = "frozen"
    CREEP = "creep"
    DISTRICT_EVENT = "district_event"
    CITY_EVENT = "city_event"


# Of these the reading is not sent at all.
ABSENT_IN = frozenset({Lasting.OUTAGE, Lasting.LOSSY})
_LEAST_LOST, _MOST_LOST = 0.3, 0.7  # share of readings that a lossy device loses


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """One window of time (µs) and the shortest and longest that an episode in it lasts."""

    window: int
    shortest: int
    longest: int

    def chance(self, share: float) -> float:
        """Return in how many windows there has to be one, for a share of all time."""
        return min(1.0, share * self.window / ((self.shortest + self.longest) / 2))


SPANS: Mapping[Lasting, Span] = {
    Lasting.OUTAGE: Span(2 * DAY, 40 * MINUTE, 8 * HOUR),
    Lasting.FROZEN: Span(4 * DAY, 4 * HOUR, 24 * HOUR),
    Lasting.CREEP: Span(10 * DAY, 3 * DAY, 7 * DAY),
    Lasting.DISTRICT_EVENT: Span(5 * DAY, HOUR, 6 * HOUR),
    Lasting.CITY_EVENT: Span(10 * DAY, HOUR, 6 * HOUR),
    Lasting.LOSSY: Span(6 * DAY, 6 * HOUR, 48 * HOUR),
}


class Effect(NamedTuple):
    """What an event does to a metric at its height: value * ``times`` + ``plus``."""

    times: float = 1.0
    plus: float = 0.0


# A kind that is not named here has no events.
EFFECTS: Mapping[str, Mapping[str, Effect]] = {
    # Something burns upwind.
    "air_quality": {"pm1": Effect(4), "pm2_5": Effect(4), "pm10": Effect(3.5), "co": Effect(2.5)},
    # Fireworks, or a concert.
    "noise": {"laeq": Effect(plus=16), "lamax": Effect(plus=16), "la90": Effect(plus=13)},
    # A closed road.
    "traffic_flow": {"speed": Effect(0.3), "occupancy": Effect(2.2), "queue_length": Effect(plus=400)},
    "public_transport": {"delay": Effect(plus=1200)},
    # A feeder sags; a main bursts; a boiler house fails.
    "electricity": {"voltage": Effect(0.88)},
    "water": {"pressure": Effect(plus=-2.2)},
    "heating": {"supply_temperature": Effect(plus=-25), "return_temperature": Effect(plus=-11)},
    "river_level": {"level": Effect(plus=1.2), "turbidity": Effect(4)},
    # Whoever approves payments is slow.
    "payments": {"latency": Effect(7)},
}


class Episode(NamedTuple):
    """One lasting fault, times in Unix µs; of a device, or of all devices of a kind in a district or the city."""

    fault: Lasting
    begin: int
    end: int
    kind: str
    metrics: tuple[str, ...]
    device: str | None = None
    district: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Altered:
    """Readings with what lasts: ``values`` (n, metrics); ``fault`` (n,) is its place in ``Lasting``, -1 for none.

    ``changed`` (n, metrics) says which values are not the true ones. What an outage or a bad link takes is not sent.
    """

    values: Floats
    fault: npt.NDArray[np.int8]
    changed: npt.NDArray[np.bool_]


class LastingFaults:
    """Changes readings of a city. Shares are of all readings, those of events of readings of kinds that have any."""

    def __init__(self, city: City, shares: Mapping[Lasting, float]) -> None:
        self._city = city
        self._shares = {fault: shares[fault] for fault in Lasting if shares.get(fault, 0) > 0}
        self._keys = {fault: self._keys_of(fault) for fault in self._shares}

    def apply(self, kind: Kind, rows: Rows, times: Ints, values: Floats) -> Altered:
        """Return readings of one kind as they are sent; arrays as for ``City.values``."""
        altered = Altered(values, np.full(len(rows), -1, np.int8), np.zeros(values.shape, np.bool_))
        if not self._shares or not len(rows):
            return altered
        altered = dataclasses.replace(altered, values=values.copy())
        for place, fault in enumerate(Lasting):
            if fault not in self._shares or (_is_event(fault) and kind.name not in EFFECTS):
                continue
            is_on, begin, end = moments(self._keys[fault][rows], SPANS[fault], self._shares[fault], times)
            if fault is Lasting.LOSSY:
                is_on &= self._lost(rows, times)
            chosen = np.flatnonzero(is_on & (altered.fault < 0))
            if not len(chosen):
                continue
            altered.fault[chosen] = place
            part = (kind, rows[chosen], times[chosen], values[chosen], begin[chosen], end[chosen])
            if _is_event(fault):
                altered.values[chosen] = _event(*part)
            elif fault not in ABSENT_IN:
                columns = self._columns(fault, kind, rows[chosen], begin[chosen])
                wrong = self._frozen(*part) if fault is Lasting.FROZEN else _creeping(*part)
                altered.values[chosen, columns] = wrong[np.arange(len(chosen)), columns]
                altered.changed[chosen, columns] = True
                continue
            altered.changed[chosen] = altered.values[chosen] != values[chosen]
        return altered

    def episodes(self, start: int, end: int) -> list[Episode]:
        """Return all that are on between two times, in the order of their beginnings."""
        found: list[Episode] = []
        for fault, share in self._shares.items():
            span = SPANS[fault]
            seen: set[int] = set()
            for row, device in enumerate(self._city.fleet):
                kind = self._city.catalogue.kind_of[device.kind]
                key = self._keys[fault][row]
                if _is_event(fault) and (kind.name not in EFFECTS or int(key) in seen):
                    continue
                seen.add(int(key))
                middles = np.arange(start // span.window, end // span.window + 1) * span.window
                _, begins, ends = moments(key, span, share, middles)
                is_there = uniform(key, middles // span.window) < span.chance(share)
                for begin, stop in zip(begins[is_there].tolist(), ends[is_there].tolist(), strict=True):
                    if begin < end and stop > start:
                        found.append(self._episode(fault, row, begin, stop))
        return sorted(found, key=lambda episode: episode.begin)

    def _episode(self, fault: Lasting, row: int, begin: int, end: int) -> Episode:
        device = self._city.fleet[row]
        kind = self._city.catalogue.kind_of[device.kind]
        if _is_event(fault):
            metrics = tuple(EFFECTS[kind.name])
            district = device.district if fault is Lasting.DISTRICT_EVENT else None
            return Episode(fault, begin, end, kind.name, metrics, district=district)
        if fault in ABSENT_IN:
            return Episode(fault, begin, end, kind.name, kind.columns, device.id, device.district)
        column = int(self._columns(fault, kind, np.array([row]), np.array([begin]))[0])
        return Episode(fault, begin, end, kind.name, (kind.columns[column],), device.id, device.district)

    def _lost(self, rows: Rows, times: Ints) -> npt.NDArray[np.bool_]:
        """Return which readings a bad link loses, (n,): a share that is the same for a whole episode."""
        keys = self._keys[Lasting.LOSSY][rows]
        spread = uniform(keys ^ key_of("share"), times // SPANS[Lasting.LOSSY].window)
        lost: npt.NDArray[np.bool_] = uniform(keys ^ key_of("lost"), times // 1000) < (
            _LEAST_LOST + (_MOST_LOST - _LEAST_LOST) * spread
        )
        return lost

    def _keys_of(self, fault: Lasting) -> Keys:
        """Return the key of each device: its own, or its district's or the city's for its kind."""
        own = key_of(f"lasting {fault.value}")
        if not _is_event(fault):
            keys: Keys = self._city.keys ^ own
            return keys
        with_district = fault is Lasting.DISTRICT_EVENT
        names = [f"{d.kind} {d.district if with_district else ''}" for d in self._city.fleet]
        return hashed(self._city.seed ^ own, np.array([key_of(name) for name in names], np.uint64))

    def _columns(self, fault: Lasting, kind: Kind, rows: Rows, begin: Ints) -> Ints:
        """Return which metric is hit, (n,): a gauge whose values are fine enough to vary."""
        gauges = [place for place, metric in enumerate(kind.metrics) if _is_fine(metric)]
        columns = np.array(gauges or range(len(kind.metrics)))
        bits = hashed(self._keys[fault][rows] ^ key_of("column"), begin // SPANS[fault].window)
        chosen: Ints = columns[(bits % np.uint64(len(columns))).astype(np.int64)]
        return chosen

    def _frozen(
        self, kind: Kind, rows: Rows, _times: Ints, _values: Floats, begin: Ints, _end: Ints
    ) -> Floats:
        """Return the values of the episodes' beginnings."""
        beginnings, inverse = np.unique(np.stack((rows, begin), axis=1), axis=0, return_inverse=True)
        return self._city.values(kind.name, beginnings[:, 0], beginnings[:, 1])[inverse.reshape(-1)]


def moments(
    keys: Keys | np.uint64, span: Span, share: float, times: Ints
) -> tuple[npt.NDArray[np.bool_], Ints, Ints]:
    """Return whether an episode is on at each time, and when the one of its window begins and ends, µs."""
    window = times // span.window
    there = uniform(keys, window) < span.chance(share)
    spread = uniform(keys ^ key_of("length"), window) * (span.longest - span.shortest)
    length = span.shortest + (spread // SECOND).astype(np.int64) * SECOND
    room = uniform(keys ^ key_of("begin"), window) * (span.window - length)
    begin = window * span.window + (room // SECOND).astype(np.int64) * SECOND
    end = begin + length
    return there & (times >= begin) & (times < end), begin, end


def _is_event(fault: Lasting) -> bool:
    return fault in (Lasting.DISTRICT_EVENT, Lasting.CITY_EVENT)


def _is_fine(metric: Metric) -> bool:
    steps = (metric.maximum - metric.minimum) / metric.resolution
    return metric.behaviour is Behaviour.GAUGE and steps > _FINE_STEPS


def _creeping(kind: Kind, _rows: Rows, times: Ints, values: Floats, begin: Ints, end: Ints) -> Floats:
    """Stray by up to sixty percent in the course of the episode, as the short ``drift`` does."""
    part = ((times - begin) / (end - begin))[:, None]
    steps = np.array([metric.resolution for metric in kind.metrics])
    return _rounded(kind, values + part * (0.6 * np.abs(values) + 20 * steps))


def _event(kind: Kind, _rows: Rows, times: Ints, values: Floats, begin: Ints, end: Ints) -> Floats:
    """Come and go within minutes, and stay at its height between."""
    height = np.clip(np.minimum(times - begin, end - times) / _RAMP, 0.0, 1.0)
    result = values.copy()
    for name, effect in EFFECTS[kind.name].items():
        if name in kind.index:
            column = kind.index[name]
            result[:, column] += height * (values[:, column] * (effect.times - 1.0) + effect.plus)
    return _rounded(kind, result)


def _rounded(kind: Kind, values: Floats) -> Floats:
    for column, metric in enumerate(kind.metrics):
        values[:, column] = measured(metric, values[:, column])
    return values
