"""From a detector's arrays to the few things that are worth saying: one for each device or district that is off."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from alerts.anomalies import Detector, Pattern
from alerts.baseline import from_scale
from alerts.memory import Bools
from alerts.neighbours import FEWEST, Floats, Ints
from sensors.kinds import Kind, Metric
from sensors.times import DAY

# Of the devices of a district; from then on it is one event, not many faults.
MOST = 0.6
_SILENT_ANEW = DAY


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """Who the numbers of a layout are: devices (d,) with their kinds and districts, and of each series its metric."""

    device: tuple[str, ...]
    kind: tuple[Kind, ...]
    district: tuple[str, ...]
    metric: tuple[Metric, ...]  # (s,)


@dataclasses.dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that is off since ``since`` (Unix µs): a device's metric, a silent device, or a whole district.

    ``value`` and the band from ``low`` to ``high`` are in the metric's unit, of counters in an hour.
    ``neighbours`` counts those that could be compared, ``unusual`` those of them that are off as well; of an event
    they count the devices that take part. ``also`` names further metrics of which the same is true.
    """

    pattern: str  # "stuck", "spike", "departure", "drift", "silence" or "event"
    since: int
    kind: str | None
    district: str | None
    device: str | None = None
    metric: Metric | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    neighbours: int = 0
    unusual: int = 0
    is_of_city: bool = False
    also: tuple[str, ...] = ()


def found(detector: Detector, names: Names, excused: Bools | None = None) -> list[Anomaly]:
    """Return everything that is off after the detector's last step; of the ``excused`` (d,) silence is none."""
    silences = _silences(detector, names, np.zeros(len(names.device), bool) if excused is None else excused)
    return [*silences, *_events(detector, names), *_faults(detector, names)]


def _faults(detector: Detector, names: Names) -> list[Anomaly]:
    memory, layout = detector.memory, detector.layout
    silent = detector.silent()
    unusual = np.flatnonzero((memory.pattern != Pattern.USUAL) & ~silent[layout.device])
    together: dict[tuple[int, str], list[int]] = {}
    for series in unusual.tolist():
        pattern = Pattern(int(memory.pattern[series]))
        family = "departure" if pattern is Pattern.DRIFT else pattern.name.lower()
        together.setdefault((int(layout.device[series]), family), []).append(series)
    result = []
    for (device, _), members in together.items():
        first = min(members, key=lambda series: (int(memory.since[series]), series))
        low, value, high = _band(detector, names.metric[first], first)
        count, off = _neighbours(detector, first, silent)
        result.append(
            Anomaly(
                pattern=Pattern(int(memory.pattern[first])).name.lower(),
                since=int(memory.since[first]),
                kind=names.kind[device].name,
                district=names.district[device],
                device=names.device[device],
                metric=names.metric[first],
                value=value,
                low=low,
                high=high,
                neighbours=count,
                unusual=off,
                also=tuple(names.metric[series].name for series in members if series != first),
            )
        )
    return result


def _band(detector: Detector, metric: Metric, series: int) -> tuple[float | None, float, float | None]:
    """Return the lowest value that would be usual, the value that is there, and the highest; None: not known."""
    memory, base = detector.memory, detector.baseline
    pattern = memory.pattern[series]
    centre = memory.expected[series] + memory.common[series]
    width, level = memory.width[series], memory.distance[series]
    if pattern == Pattern.DRIFT:
        width, level = base.slow[series], memory.slow[series]
    points = np.array([centre - width, centre + level, centre + width], np.float32)
    low, value, high = from_scale(points, base.knee[series : series + 1]).tolist()
    if pattern == Pattern.STUCK:
        value = float(memory.value[0, series])
    elif pattern == Pattern.SPIKE:
        value = float(memory.peak[series])
    if not np.isfinite(low + high):
        return None, value, None
    return max(low, metric.minimum), value, min(high, metric.maximum)


def _neighbours(detector: Detector, series: int, silent: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many others could be compared with one series, and how many of them are off as well."""
    memory, layout = detector.memory, detector.layout
    for number in (layout.group, layout.city):
        others = np.flatnonzero(number == number[series])
        others = others[(others != series) & ~np.isnan(memory.value[0, others])]
        others = others[~silent[layout.device[others]]]
        if len(others) >= FEWEST - 1:
            return len(others), int(np.sum(memory.pattern[others] != Pattern.USUAL))
    return 0, 0


def _events(detector: Detector, names: Names) -> list[Anomaly]:
    """Return an event for each kind of the city, or of a district, whose devices have moved together."""
    memory, layout = detector.memory, detector.layout
    moved = memory.of_city[0] - memory.reference
    result = _of_kinds(detector, names, layout.city, memory.city_since, moved, memory.city_width)
    whole = {event.kind for event in result}
    strayed = memory.of_group
    of_districts = _of_kinds(detector, names, layout.group, memory.group_since, strayed, memory.group_width)
    result = [dataclasses.replace(event, district=None, is_of_city=True) for event in result]
    return result + [event for event in of_districts if event.kind not in whole]


def _of_kinds(
    detector: Detector, names: Names, number: Ints, since: Ints, moved: Floats, bound: Floats
) -> list[Anomaly]:
    """Return one event for each kind and district of groups (or cities) that are on; ``number`` (s,) says which."""
    layout = detector.layout
    active = np.flatnonzero(since > 0)
    if not len(active):
        return []
    together: dict[tuple[str, str], list[int]] = {}
    members = {group: np.flatnonzero(number == group) for group in active.tolist()}
    for group, series in members.items():
        device = int(layout.device[series[0]])
        place = "" if number is layout.city else names.district[device]
        together.setdefault((names.kind[device].name, place), []).append(group)
    result = []
    for groups in together.values():
        most = max(groups, key=lambda group: float(np.nan_to_num(abs(moved[group]) / bound[group])))
        event = _event(detector, names, members[most], float(moved[most]), float(bound[most]))
        also = tuple(names.metric[members[group][0]].name for group in groups if group != most)
        result.append(dataclasses.replace(event, since=int(since[groups].min()), also=also))
    return result


def _event(detector: Detector, names: Names, series: Ints, moved: float, bound: float) -> Anomaly:
    """Return an event by the metric of these series; ``moved`` and ``bound`` are in y."""
    memory = detector.memory
    device, metric = int(detector.layout.device[series[0]]), names.metric[series[0]]
    there = series[~np.isnan(memory.distance[series])]
    residual = memory.common[there] + memory.distance[there]
    usual = float(np.median(residual)) - moved
    knee = np.median(detector.baseline.knee[there])
    centre = float(np.median(memory.expected[there])) + usual
    points = np.array([centre - bound, centre + bound], np.float32)
    low, high = from_scale(points, np.full(1, knee, np.float32)).tolist()
    taking_part = (residual - usual) * np.sign(moved) > 0.5 * min(abs(moved), bound)
    return Anomaly(
        pattern="event",
        since=0,
        kind=names.kind[device].name,
        district=names.district[device],
        metric=metric,
        value=float(np.median(memory.value[0, there])),
        low=max(low, metric.minimum),
        high=min(high, metric.maximum),
        neighbours=len(there),
        unusual=int(taking_part.sum()),
    )


def _silences(detector: Detector, names: Names, excused: Bools) -> list[Anomaly]:
    """Return who fell silent: the city, districts, kinds of districts, and devices that are in none of these.

    Only what fell silent within a day counts for many: a device that is gone for good is no part of an event.
    """
    memory = detector.memory
    silent = detector.silent() & ~excused
    fresh = silent & (detector.time - memory.seen < _SILENT_ANEW)
    known = (memory.seen > 0) & (fresh | ~silent)
    left = silent.copy()
    result = []
    for places in crowds(names):
        there = places[known[places]]
        gone = there[fresh[there] & left[there]]
        if len(there) < FEWEST or len(gone) < MOST * len(there):
            continue
        kinds = {names.kind[device].name for device in places.tolist()}
        districts = {names.district[device] for device in places.tolist()}
        result.append(
            Anomaly(
                pattern="silence",
                since=int(np.median(memory.seen[gone])),
                kind=kinds.pop() if len(kinds) == 1 else None,
                district=districts.pop() if len(districts) == 1 else None,
                neighbours=len(there),
                unusual=len(gone),
                is_of_city=len(districts) > 1,
            )
        )
        left[gone] = False
    alike = np.array(
        [f"{kind.name} {district}" for kind, district in zip(names.kind, names.district, strict=True)]
    )
    for device in np.flatnonzero(left).tolist():
        others = np.flatnonzero((alike == alike[device]) & known)
        others = others[others != device]
        result.append(
            Anomaly(
                pattern="silence",
                since=int(memory.seen[device]),
                kind=names.kind[device].name,
                district=names.district[device],
                device=names.device[device],
                neighbours=len(others),
                unusual=int(silent[others].sum()),
            )
        )
    return result


def crowds(names: Names) -> list[Ints]:
    """Return the devices of the city, of each district, and of each kind in each district, the largest first."""
    every = np.arange(len(names.device))
    district = np.array(names.district)
    alike = np.array([f"{kind.name} {place}" for kind, place in zip(names.kind, names.district, strict=True)])
    crowds = [every] if len(set(names.district)) > 1 else []
    for labels in (district, alike):
        order = np.argsort(labels, kind="stable")
        crowds += np.split(order, np.flatnonzero(labels[order][1:] != labels[order][:-1]) + 1)
    return [crowd for crowd in crowds if len(crowd)]
