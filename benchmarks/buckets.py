"""Five-minute states of a simulated city, straight from its arrays: what rollups would hold, without a database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import orjson

from alerts.anomaly_findings import Names
from alerts.arrivals import Usual, learn_usual
from alerts.baseline import Baseline, History, hour_of_week
from alerts.learning import learn
from alerts.memory import BUCKET, Bucket, Layout
from alerts.neighbours import Floats, Ints, others_of
from sensors.kinds import Behaviour, Kind
from sensors.times import DAY
from simulators.city import City
from simulators.faults import Fault, FaultInjector
from simulators.lasting import ABSENT_IN, Lasting, LastingFaults
from simulators.outgoing import Label
from simulators.schedule import readings_between

PER_DAY = DAY // BUCKET
_HOUR = 12  # buckets


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """The buckets of a day, each array of shape (288, series)."""

    start: int
    count: Ints
    mean: Floats
    low: Floats
    high: Floats
    m2: Floats
    last: np.ndarray
    last_at: Ints
    labels: tuple[Label, ...]

    def bucket(self, place: int) -> Bucket:
        """Return one of them."""
        states = (
            getattr(self, name)[place] for name in ("count", "mean", "low", "high", "m2", "last", "last_at")
        )
        return Bucket(self.start + place * BUCKET, *states)


class Buckets:
    """A city whose devices all keep their intervals, with faults; series in the order of kinds, metrics, devices."""

    def __init__(self, city: City, faults: Mapping[Fault, float]) -> None:
        lasting = {Lasting(fault): share for fault, share in faults.items() if fault.value in set(Lasting)}
        self.city = city
        self.lasting = LastingFaults(city, lasting)
        single = {fault: share for fault, share in faults.items() if fault.value not in set(Lasting)}
        self._injector = FaultInjector(city, single, city.interval)
        self.rows = {
            kind.name: np.flatnonzero(city.kind_number == number)
            for number, kind in enumerate(city.catalogue.kinds)
        }
        self.kinds = [kind for kind in city.catalogue.kinds if len(self.rows[kind.name])]
        self.layout, self.names = self._layout()

    def _layout(self) -> tuple[Layout, Names]:
        fleet = self.city.fleet
        series = [
            (int(row), kind, metric, city)
            for city, (kind, metric) in enumerate(
                (kind, metric) for kind in self.kinds for metric in kind.metrics
            )
            for row in self.rows[kind.name]
        ]
        groups: dict[tuple[int, str], int] = {}
        group = [groups.setdefault((city, fleet[row].district), len(groups)) for row, _, _, city in series]
        city_of_group = np.array([city for city, _ in groups], np.int64)
        layout = Layout(
            device=np.array([row for row, *_ in series], np.int64),
            group=np.array(group, np.int64),
            city=np.array([city for *_, city in series], np.int64),
            city_of_group=city_of_group,
            first_of_group=np.unique(group, return_index=True)[1],
            first_of_city=np.unique([city for *_, city in series], return_index=True)[1],
            others=others_of(city_of_group),
            minimum=np.array([metric.minimum for _, _, metric, _ in series], np.float32),
            maximum=np.array([metric.maximum for _, _, metric, _ in series], np.float32),
            is_counter=np.array([metric.behaviour is Behaviour.COUNTER for _, _, metric, _ in series]),
            interval=self.city.interval,
        )
        kinds = self.city.catalogue.kind_of
        return layout, Names(
            tuple(device.id for device in fleet),
            tuple(kinds[device.kind] for device in fleet),
            tuple(device.district for device in fleet),
            tuple(metric for _, _, metric, _ in series),
        )

    def day(self, start: int) -> Day:
        """Make the readings of a day (Unix µs), let faults have them, and put them into buckets."""
        parts, labels = [], []
        for kind in self.kinds:
            part, of_kind = self._of_kind(kind, start)
            parts.append(part)
            labels += of_kind
        whole = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
        return Day(start, labels=tuple(labels), **whole)

    def _of_kind(self, kind: Kind, start: int) -> tuple[dict[str, np.ndarray], list[Label]]:
        city, chosen = self.city, self.rows[kind.name]
        rows, times = readings_between(chosen, city.interval[chosen], city.phase[chosen], start, start + DAY)
        values = city.values(kind.name, rows, times)
        altered = self.lasting.apply(kind, rows, times, values)
        absent = [place for place, fault in enumerate(Lasting) if fault in ABSENT_IN]
        values, sent = altered.values.copy(), ~np.isin(altered.fault, absent)
        labels = self._hit(kind, rows, times, values, sent)
        rows, times, values = rows[sent], times[sent], values[sent]
        place = np.searchsorted(chosen, rows) * PER_DAY + (times - start) // BUCKET
        return _states(place, times, values, len(chosen)), labels

    def _hit(self, kind: Kind, rows: Ints, times: Ints, values: np.ndarray, sent: np.ndarray) -> list[Label]:
        """Let faults of single readings have theirs, as they would have on the wire."""
        hit = np.flatnonzero((self._injector.choose(rows, times) >= 0) & sent)
        if not len(hit):
            return []
        payloads = [orjson.dumps({}) for _ in hit]
        labels: list[Label] = []
        messages = self._injector.messages(kind, rows[hit], times[hit], values[hit], payloads)
        for index, message in zip(hit.tolist(), messages, strict=True):
            labels += message.labels
            if message.payload is None:
                sent[index] = False
            else:
                fields = orjson.loads(message.payload)
                values[index] = [fields[name] for name in kind.columns]
        return labels


def _states(place: Ints, times: Ints, values: np.ndarray, devices: int) -> dict[str, np.ndarray]:
    """Return states of buckets (288, metrics * devices); readings by device and time, ``place`` rises."""
    metrics = values.shape[1]
    first = np.flatnonzero(np.diff(place, prepend=-1))
    where, size = place[first], np.diff(np.append(first, len(place)))
    last = first + size - 1

    def spread(column: np.ndarray, fill: float, dtype: type) -> np.ndarray:
        """Put (buckets that are there, metrics) where they belong."""
        whole: np.ndarray = np.full((devices * PER_DAY, metrics), fill, dtype)
        whole[where] = column
        return whole.reshape(devices, PER_DAY, metrics).transpose(1, 2, 0).reshape(PER_DAY, -1)

    mean = np.add.reduceat(values, first, axis=0) / size[:, None]
    off = np.square(values - np.repeat(mean, size, axis=0))
    return {
        "count": spread(size[:, None], 0, np.int64),
        "mean": spread(mean, np.nan, np.float32),
        "low": spread(np.minimum.reduceat(values, first, axis=0), np.nan, np.float32),
        "high": spread(np.maximum.reduceat(values, first, axis=0), np.nan, np.float32),
        "m2": spread(np.add.reduceat(off, first, axis=0), np.nan, np.float32),
        "last": spread(values[last], np.nan, np.float64),
        "last_at": spread(times[last][:, None], 0, np.int64),
    }


@dataclasses.dataclass(slots=True)
class Hours:
    """The hourly states of the last weeks, newest last."""

    layout: Layout
    start: list[int] = dataclasses.field(default_factory=list)
    parts: list[History] = dataclasses.field(default_factory=list)
    counts: list[Ints] = dataclasses.field(default_factory=list)
    last: np.ndarray | None = None

    def add(self, day: Day) -> None:
        """Take a day of buckets, forget what is older than five weeks."""
        count = day.count.reshape(24, _HOUR, -1)
        total = count.sum(axis=1)
        there = total > 0
        weighted = np.where(count > 0, day.mean.reshape(count.shape) * count, 0).sum(axis=1)
        mean = np.where(there, weighted / np.maximum(total, 1), np.nan)
        high = np.fmax.reduce(day.high.reshape(count.shape), axis=1)
        low = np.fmin.reduce(day.low.reshape(count.shape), axis=1)
        last = np.where(count > 0, day.last.reshape(count.shape), -np.inf).max(axis=1)
        last = np.where(there, last, np.nan)
        before = np.vstack(
            (self.last if self.last is not None else np.full((1, last.shape[1]), np.nan), last[:-1])
        )
        rise = last - before
        counter = self.layout.is_counter
        mean = np.where(counter, np.where(rise >= 0, rise, np.nan), mean)
        self.last = last[-1:]
        self.parts.append(
            History(
                mean.astype(np.float32),
                (high - mean).astype(np.float32),
                (mean - low).astype(np.float32),
                there & (high == low),
            )
        )
        self.start.append(day.start)
        self.counts.append(total[:, self.first])
        del self.parts[:-35], self.start[:-35], self.counts[:-35]

    @property
    def first(self) -> Ints:
        """Return a series of each device: all of its metrics come together."""
        return np.unique(self.layout.device, return_index=True)[1]

    def usual(self) -> Usual:
        """Return how many readings usually come."""
        return learn_usual(np.concatenate(self.counts).T, self.layout.interval)

    def learn(self, buckets: Buckets) -> Baseline:
        """Return the baseline of what is there."""
        times = np.concatenate([start + np.arange(24) * 12 * BUCKET for start in self.start])
        zone = buckets.city.zone
        slots = hour_of_week(times, zone)
        whole = {
            name: np.concatenate([getattr(part, name) for part in self.parts]).T
            for name in ("mean", "up", "down", "still")
        }
        learned = []
        for number in range(int(self.layout.city.max()) + 1):
            series = np.flatnonzero(self.layout.city == number)
            history = History(**{name: array[series] for name, array in whole.items()})
            district = self.layout.group[series]
            _, district = np.unique(district, return_inverse=True)
            learned.append(learn(history, slots, district, buckets.names.metric[series[0]]))
        return Baseline.joined(learned)
