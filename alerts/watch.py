"""The search for anomalies as the process calls it: learns, keeps up with the rollups, says what it finds.

Baselines live in the process. Each kind and metric is learned from five weeks of hourly rollups at the start, and
again when it is a day old or when devices of the kind come or go; memory is about 1 KB for each series, most of it the
168 hours of the week. At the start 36 hours of five-minute rollups are taken again, so that what was found before is
found still; until then the search says that it can't say anything yet, and alerts stay as they are. All of that is
done in pieces that fit into a pass.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from alerts.anomalies import BUCKET, Bucket, Detector, Layout, Memory
from alerts.anomaly_findings import Anomaly, Names, found
from alerts.anomaly_sentences import sentence_of, title_of
from alerts.baseline import WEEKS, Baseline, hour_of_week, learn
from alerts.finding import Find, Finding, NotYetError
from alerts.history import history_of
from alerts.neighbours import Ints, others_of
from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour, Kind, Metric
from sensors.times import DAY, SECOND
from storage.anomaly_inputs import Watched, count_earlier, read_states, read_watched
from storage.catalogue import load_catalogue
from storage.kinds import Connection
from storage.rollup_marks import NEVER
from storage.rollup_progress import read_progress
from storage.rollup_tables import HOUR, Tier

REPLAY = 36 * HOUR
_BUCKETS_AT_ONCE = 12
_CLEAR = 1800 * SECOND
_SEVERITY = {"spike": "info"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """One metric of one kind: its series are those of the kind's devices, in their order."""

    kind: Kind
    metric: Metric
    devices: Ints  # (n,) places among the watched


@dataclasses.dataclass(slots=True)
class _Learned:
    devices: tuple[str, ...]
    at: int
    baseline: Baseline


class Watch:
    """Finds anomalies. One for a process; ``budget`` is how long it may learn and catch up in a pass, seconds."""

    def __init__(self, budget: float = 5.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self._watched: Watched | None = None
        self._catalogue: Catalogue | None = None
        self._parts: list[_Part] = []
        self._learned: dict[tuple[str, str], _Learned] = {}
        self._detector: Detector | None = None
        self._names = Names((), (), (), ())
        # What came of the last pass: each kind of finding asks for the same.
        self._said: tuple[int, list[Finding] | NotYetError] = (-1, [])

    def finds(self) -> dict[str, Find]:
        """Return the evaluations by kind of rule; they share one search in each pass."""

        def of(kind: str) -> Find:
            async def find(connection: Connection, now: int) -> list[Finding]:
                return [one for one in await self._said_at(connection, now) if one.kind_of_rule == kind]

            return find

        return {kind: of(kind) for kind in ("anomaly", "event")}

    async def _said_at(self, connection: Connection, now: int) -> list[Finding]:
        if self._said[0] != now:
            try:
                self._said = (now, await self.find(connection, now))
            except NotYetError as error:
                self._said = (now, error)
        if isinstance(self._said[1], NotYetError):
            raise self._said[1]
        return self._said[1]

    async def find(self, connection: Connection, now: int) -> list[Finding]:
        """Return everything that is off at ``now``, Unix µs. Raises NotYetError until enough was read."""
        end = self._monotonic() + self._budget
        stored = await load_catalogue(connection)
        watched = await read_watched(connection)
        if stored is None or not len(watched.number):
            return []
        await self._arrange(watched, stored[1])
        until = await self._complete_to(connection, now)
        if until is None:
            return []
        is_learned = await self._learn(connection, until, end)
        if self._detector is None or not await self._catch_up(connection, until, end) or not is_learned:
            raise NotYetError("the history is still being read")
        return await self._findings(connection, self._detector, now)

    async def _arrange(self, watched: Watched, catalogue: Catalogue) -> None:
        """Lay the series out anew when devices or the catalogue have changed; keep what is known of the others."""
        before = self._watched
        same = before is not None and all(
            getattr(before, name) == getattr(watched, name) for name in ("id", "kind", "district", "every")
        )
        if before is not None and same and self._catalogue == catalogue:
            return
        self._watched, self._catalogue = watched, catalogue
        kinds = [kind for kind in catalogue.kinds if kind.name in set(watched.kind)]
        of_kind = np.array(watched.kind)
        self._parts = [
            _Part(kind, metric, np.flatnonzero(of_kind == kind.name))
            for kind in kinds
            for metric in kind.metrics
        ]
        layout, names = _lay_out(self._parts, watched, catalogue)
        zone = zoneinfo.ZoneInfo(catalogue.city.timezone)
        detector = Detector(layout, self._baseline(), zone)
        detector.memory.seen = watched.seen.copy()
        if self._detector is not None:
            detector.time = self._detector.time
            detector.memory = carry(self._detector, self._names, detector, names)
        self._detector, self._names = detector, names

    async def _complete_to(self, connection: Connection, now: int) -> int | None:
        """Return up to when rollups of all kinds are complete, Unix µs, at most ``now``; None where there are none.

        Raises NotYetError while the first of a kind are being made.
        """
        progress = await read_progress(connection)
        clean = [progress[part.kind.name].clean_to for part in self._parts if part.kind.name in progress]
        if NEVER in clean:
            raise NotYetError("rollups are still being made")
        return min([now, *clean]) // BUCKET * BUCKET if clean else None

    async def _learn(self, connection: Connection, until: int, end: float) -> bool:
        """Learn what is not known or a day old, the oldest first; return whether everything is known."""
        devices = {part.kind.name: self._devices_of(part) for part in self._parts}

        def age(part: _Part) -> int:
            known = self._learned.get((part.kind.name, part.metric.name))
            return until - known.at if known and known.devices == devices[part.kind.name] else 10**18

        due = sorted((part for part in self._parts if age(part) >= DAY), key=age, reverse=True)
        has_learned = False
        for part in due:
            if has_learned and self._monotonic() >= end:
                break
            baseline = await self._learn_part(connection, part, until)
            key = (part.kind.name, part.metric.name)
            self._learned[key] = _Learned(devices[part.kind.name], until, baseline)
            has_learned = True
        if has_learned and self._detector is not None:
            self._detector.baseline = self._baseline()
        return all(age(part) < 2 * DAY for part in self._parts)

    def _devices_of(self, part: _Part) -> tuple[str, ...]:
        watched = self._watched
        return (
            tuple(f"{watched.id[d]} {watched.district[d]}" for d in part.devices.tolist()) if watched else ()
        )

    async def _learn_part(self, connection: Connection, part: _Part, until: int) -> Baseline:
        if self._watched is None or self._detector is None:
            raise RuntimeError("nothing is laid out yet")
        stop = until // HOUR * HOUR
        start = stop - WEEKS * 7 * DAY
        numbers = self._watched.number[part.devices]
        (states,) = await read_states(connection, part.kind, Tier.HOUR, (part.metric.name,), start, stop)
        slots = hour_of_week(np.arange(start, stop, HOUR), self._detector.zone)
        districts = np.array([self._watched.district[device] for device in part.devices.tolist()])
        _, district = np.unique(districts, return_inverse=True)

        def compute() -> Baseline:
            history = history_of(states, numbers, start, len(slots), part.metric)
            return learn(history, slots, district, part.metric)

        return await asyncio.to_thread(compute)

    def _baseline(self) -> Baseline:
        """Return what is known as one; series of which nothing is known yet are not judged."""
        parts = []
        for part in self._parts:
            known = self._learned.get((part.kind.name, part.metric.name))
            if known is not None and known.devices == self._devices_of(part):
                parts.append(known.baseline)
                continue
            places = part.devices.tolist()
            districts = {self._watched.district[device] for device in places} if self._watched else set()
            parts.append(Baseline.unknown(len(places), len(districts)))
        return Baseline.joined(parts)

    async def _catch_up(self, connection: Connection, until: int, end: float) -> bool:
        """Take the buckets up to ``until``; return whether they all were taken before ``end``."""
        detector, watched = self._detector, self._watched
        if detector is None or watched is None:
            return False
        if detector.time == 0 or until - detector.time > REPLAY:
            detector.time = until - REPLAY
        while detector.time < until:
            start = detector.time
            stop = min(until, start + _BUCKETS_AT_ONCE * BUCKET)
            buckets = await self._read(connection, watched, start, stop)
            for bucket in buckets:
                await asyncio.to_thread(detector.step, bucket)
            if self._monotonic() >= end:
                break
        return detector.time >= until

    async def _read(self, connection: Connection, watched: Watched, start: int, stop: int) -> list[Bucket]:
        """Return the buckets from ``start`` to before ``stop``, Unix µs."""
        count, series = (stop - start) // BUCKET, len(self._names.metric)
        shape = (count, series)
        columns: dict[str, npt.NDArray[Any]] = {
            "count": np.zeros(shape, np.int64),
            **{name: np.full(shape, np.nan, np.float32) for name in ("mean", "low", "high", "m2")},
            "last": np.full(shape, np.nan),
            "last_at": np.zeros(shape, np.int64),
        }
        first = 0
        for kind in dict.fromkeys(part.kind for part in self._parts):
            devices = next(part.devices for part in self._parts if part.kind is kind)
            numbers = watched.number[devices]
            order = np.argsort(numbers)
            for states in await read_states(connection, kind, Tier.MINUTES, kind.columns, start, stop):
                at = np.minimum(np.searchsorted(numbers[order], states.device), len(order) - 1)
                kept = (numbers[order][at] == states.device) & (states.count > 0)
                where = ((states.bucket[kept] - start) // BUCKET, first + order[at[kept]])
                for name, column in columns.items():
                    column[where] = getattr(states, name)[kept]
                first += len(devices)
        return [
            Bucket(start + place * BUCKET, *(columns[name][place] for name in columns))
            for place in range(count)
        ]

    async def _findings(self, connection: Connection, detector: Detector, now: int) -> list[Finding]:
        anomalies = {fingerprint_of(anomaly): anomaly for anomaly in found(detector, self._names)}
        earlier = await count_earlier(connection, list(anomalies), now - 30 * DAY)
        titles = {d.name: d.title for d in self._catalogue.districts} if self._catalogue else {}
        return [
            finding_of(anomaly, fingerprint, now, detector.zone, titles, earlier.get(fingerprint, 0))
            for fingerprint, anomaly in anomalies.items()
        ]


def fingerprint_of(anomaly: Anomaly) -> str:
    """Return what makes two anomalies the same thing at two times."""
    family = "departure" if anomaly.pattern == "drift" else anomaly.pattern
    if anomaly.device:
        return f"anomaly/{family}/{anomaly.device}"
    return f"event/{family}/{anomaly.district or 'city'}/{anomaly.kind or 'all'}"


def finding_of(
    anomaly: Anomaly, fingerprint: str, now: int, zone: zoneinfo.ZoneInfo, titles: dict[str, str], times: int
) -> Finding:
    """Return an anomaly with its explanation; ``times`` is how often it was so within 30 days before."""
    neighbours = {"count": anomaly.neighbours, "unusual": anomaly.unusual} if anomaly.neighbours else None
    return Finding(
        fingerprint=fingerprint,
        rule=None,
        kind_of_rule="anomaly" if anomaly.device else "event",
        severity=_SEVERITY.get(anomaly.pattern, "warning"),
        title=title_of(anomaly, titles),
        sentence=sentence_of(anomaly, now, zone, titles, times),
        device=anomaly.device,
        kind=anomaly.kind,
        district=anomaly.district,
        metric=anomaly.metric.name if anomaly.metric else None,
        value=anomaly.value,
        low=anomaly.low,
        high=anomaly.high,
        since=anomaly.since,
        evidence={
            "pattern": anomaly.pattern,
            "neighbours": neighbours,
            "times_in_30_days": times,
            **({"also": list(anomaly.also)} if anomaly.also else {}),
            **({"per": "hour"} if anomaly.metric and anomaly.metric.behaviour is Behaviour.COUNTER else {}),
        },
        clear=_CLEAR,
    )


def _lay_out(parts: list[_Part], watched: Watched, catalogue: Catalogue) -> tuple[Layout, Names]:
    groups: dict[tuple[int, str], int] = {}
    device, group, city = [], [], []
    for number, part in enumerate(parts):
        # Districts in the order of their names, as ``learn`` is given them.
        for district in sorted({watched.district[place] for place in part.devices.tolist()}):
            groups[number, district] = len(groups)
        for place in part.devices.tolist():
            device.append(place)
            group.append(groups[number, watched.district[place]])
            city.append(number)
    metrics = [parts[number].metric for number in city]
    city_of_group = np.array([number for number, _ in groups], np.int64)
    layout = Layout(
        device=np.array(device, np.int64),
        group=np.array(group, np.int64),
        city=np.array(city, np.int64),
        city_of_group=city_of_group,
        first_of_group=np.unique(group, return_index=True)[1],
        first_of_city=np.unique(city, return_index=True)[1],
        others=others_of(city_of_group),
        minimum=np.array([metric.minimum for metric in metrics], np.float32),
        maximum=np.array([metric.maximum for metric in metrics], np.float32),
        is_counter=np.array([metric.behaviour is Behaviour.COUNTER for metric in metrics], np.bool_),
        interval=watched.interval,
    )
    kinds = tuple(catalogue.kind_of[name] for name in watched.kind)
    return layout, Names(watched.id, kinds, watched.district, tuple(metrics))


def carry(old: Detector, old_names: Names, new: Detector, names: Names) -> Memory:
    """Return the memory of a new layout, with what was known of series, devices and groups that are in both."""

    def keys(detector: Detector, of: Names) -> dict[str, list[object]]:
        layout = detector.layout
        series = [(of.device[d], m.name) for d, m in zip(layout.device.tolist(), of.metric, strict=True)]
        kinds = [of.kind[d].name for d in layout.device.tolist()]
        city: list[object] = [(kinds[i], of.metric[i].name) for i in layout.first_of_city.tolist()]
        group: list[object] = [
            (kinds[i], of.metric[i].name, of.district[int(layout.device[i])])
            for i in layout.first_of_group.tolist()
        ]
        return {"s": [*series], "d": [*of.device], "g": group, "c": city}

    before, after = keys(old, old_names), keys(new, names)
    target, source = {}, {}
    for axis, known in before.items():
        places = {key: place for place, key in enumerate(known)}
        pairs = [(place, places[key]) for place, key in enumerate(after[axis]) if key in places]
        target[axis] = np.array([pair[0] for pair in pairs], np.int64)
        source[axis] = np.array([pair[1] for pair in pairs], np.int64)
    memory = new.memory
    for name, axis in Memory.axes().items():
        getattr(memory, name)[..., target[axis]] = getattr(old.memory, name)[..., source[axis]]
    return memory
