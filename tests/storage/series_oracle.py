"""Every aggregate of a series computed the slow and plain way, in exact fractions, from the readings themselves.

Times are Unix µs, durations in answers seconds. What the contract of series leaves open is decided here:

- Of several values of one device at one time the first that is not null, in the order of writing, is the reading.
- A reading with a time after ``now`` (a clock that is fast) counts like any other. But no value is carried, and no
  line drawn, beyond ``now``, so ``twa``, ``twa_linear`` and ``exceed`` know nothing of it.
- The step function of ``twa`` and ``exceed`` is one for all ranges: at any time the latest reading's value, if that
  reading is less than ``CARRY`` old. The line of ``twa_linear`` too: between neighbours at most ``CARRY`` apart.
- ``increase`` and ``rate`` look at readings from ``start - CARRY`` to before ``end + CARRY``. Whether a zero is a blip
  is decided by its neighbours among these, so the first and the last of them are none. Neighbours are of the readings
  as they came: in 5, 0, 6, 0, 7 both zeros are blips, in 5, 0, 0, 7 neither is. A blip is still a reading to every
  other aggregate.
- A reset to a negative value counts as that value. ``rate`` is null where the bucket has no second before ``now``.
- ``exceed`` is null, not 0, where no value is known in the whole bucket.
- ``sum`` of nothing is null.
- ``fill`` is of aggregates; ``count`` and ``coverage`` stay what they are. Distances are between the buckets' own
  beginnings, also where the range cuts the first one.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import enum
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

SECOND = 1_000_000
CARRY = 86_400 * SECOND

# As it was sent: (device_id, time, value).
Reading = tuple[int, int, float | None]
# The readings of one device: (time, value), rising, no time twice.
Track = list[tuple[int, Fraction]]
Column = list[float | None]

_NEVER = (2**63, Fraction())


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """One device; it is expected from when it was ``installed``, None for always, until it was ``disabled``."""

    device_id: int
    kind: str
    district: str
    interval_seconds: float
    simulated: bool = False
    installed: int | None = None
    disabled: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What to compute: ``aggregates`` by name (``avg``, ``p99.9``, ``coverage`` …) over the range's part of each
    bucket between rising ``edges``, the first at or before ``start``, the last at or after ``end``.

    ``kinds`` are those that measure the metric; ``limit`` is that of ``exceed``.
    """

    aggregates: Sequence[str]
    edges: Sequence[int]
    start: int
    end: int
    now: int
    kinds: Sequence[str]
    limit: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One group's answer, a value for each bucket.

    ``between`` has, for each quantile, the two order statistics that it lies between; ``largest`` is the greatest
    absolute value among the readings looked at, which is what rounding errors are to be measured by.
    """

    count: list[int]
    values: dict[str, Column]
    between: dict[str, list[tuple[float, float] | None]]
    largest: float


def answer(
    devices: Sequence[Device],
    readings: Sequence[Reading],
    question: Question,
    groups: Mapping[int, str | None],
) -> dict[str | None, Series]:
    """Return the series of every group that has a device, also of those without a reading.

    ``groups`` names the group of each selected device; others are left out. ``readings`` are in the order of
    writing.
    """
    tracks = tracks_of(readings)
    members: dict[str | None, list[Device]] = collections.defaultdict(list)
    for device in devices:
        if device.device_id in groups and device.kind in question.kinds:
            members[groups[device.device_id]].append(device)
    return {
        group: _series([_Member(one, tracks[one.device_id]) for one in of_group], question)
        for group, of_group in members.items()
    }


def tracks_of(readings: Sequence[Reading]) -> dict[int, Track]:
    """Return each device's track."""
    found: dict[int, dict[int, Fraction]] = collections.defaultdict(dict)
    for device_id, time, value in readings:
        if value is not None:
            found[device_id].setdefault(time, Fraction(value))
    tracks: dict[int, Track] = collections.defaultdict(list)
    return tracks | {device_id: sorted(values.items()) for device_id, values in found.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    device: Device
    track: Track


@dataclasses.dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket's part within the range, and how much of it is before ``now``."""

    begin: int
    end: int
    known_to: int

    def holds(self, time: int) -> bool:
        return self.begin <= time < self.end

    @property
    def known_seconds(self) -> Fraction:
        return Fraction(max(self.known_to - self.begin, 0), SECOND)


def _series(members: Sequence[_Member], question: Question) -> Series:
    buckets = [
        _Bucket(max(begin, question.start), min(end, question.end), min(end, question.end, question.now))
        for begin, end in itertools.pairwise(question.edges)
    ]
    values: dict[str, Column] = {name: [] for name in question.aggregates}
    between: dict[str, list[tuple[float, float] | None]] = {
        name: [] for name in question.aggregates if _quantile(name) is not None
    }
    count = []
    for bucket in buckets:
        inside = _inside(members, bucket)
        count.append(len(inside))
        for name in question.aggregates:
            value = _aggregate(name, members, inside, bucket, question)
            values[name].append(None if value is None else float(value))
        for name, column in between.items():
            column.append(_between([value for _, _, value in inside], name))
    looked_at = [
        abs(value)
        for member in members
        for time, value in member.track
        if question.start - CARRY <= time < question.end + CARRY
    ]
    return Series(count, values, between, float(max(looked_at, default=Fraction())))


def _inside(members: Sequence[_Member], bucket: _Bucket) -> list[tuple[int, int, Fraction]]:
    """Return the readings (time, device_id, value) of a bucket in that order."""
    return sorted(
        (time, member.device.device_id, value)
        for member in members
        for time, value in member.track
        if bucket.holds(time)
    )


def _aggregate(
    name: str,
    members: Sequence[_Member],
    inside: Sequence[tuple[int, int, Fraction]],
    bucket: _Bucket,
    question: Question,
) -> Fraction | float | None:
    if name == "coverage":
        return _coverage(members, len(inside), bucket)
    if name in ("twa", "twa_linear"):
        return _time_weighted(members, bucket, _steps if name == "twa" else _lines)
    if name == "exceed":
        return _exceed(members, bucket, Fraction(question.limit))
    if name in ("increase", "rate"):
        increase = _increase(members, bucket, question)
        if name == "increase" or increase is None:
            return increase
        return increase / bucket.known_seconds if bucket.known_seconds else None
    return _of_values(name, [value for _, _, value in inside])


def _of_values(name: str, values: Sequence[Fraction]) -> Fraction | float | None:
    """Return an aggregate of values in the order of time."""
    if name == "count":
        return Fraction(len(values))
    if not values:
        return None
    if name == "stddev":
        return _deviation(values)
    if _quantile(name) is not None:
        return _interpolated(values, name)
    return {
        "sum": sum(values, Fraction()),
        "avg": sum(values, Fraction()) / len(values),
        "min": min(values),
        "max": max(values),
        "first": values[0],
        "last": values[-1],
    }[name]


def _deviation(values: Sequence[Fraction]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values, Fraction()) / len(values)
    return math.sqrt(sum(((value - mean) ** 2 for value in values), Fraction()) / (len(values) - 1))


def _quantile(name: str) -> Fraction | None:
    """Return which part of the values lies below: 0.999 of ``p99.9``; None for what is no quantile."""
    if name == "median":
        return Fraction(1, 2)
    return Fraction(name[1:]) / 100 if name[0] == "p" else None


def _rank(values: Sequence[Fraction], name: str) -> Fraction:
    return (_quantile(name) or Fraction()) * (len(values) - 1)


def _interpolated(values: Sequence[Fraction], name: str) -> Fraction:
    ordered, rank = sorted(values), _rank(values, name)
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    return low + (rank - math.floor(rank)) * (high - low)


def _between(values: Sequence[Fraction], name: str) -> tuple[float, float] | None:
    if not values:
        return None
    ordered, rank = sorted(values), _rank(values, name)
    return float(ordered[math.floor(rank)]), float(ordered[math.ceil(rank)])


def is_near(value: float, between: tuple[float, float], relative: float = 0.01) -> bool:
    """Tell whether an approximate quantile is good enough: ``relative`` beyond either order statistic at most."""
    low, high = between
    return low - relative * abs(low) <= value <= high + relative * abs(high)


@dataclasses.dataclass(frozen=True, slots=True)
class _Stretch:
    """A straight line over a time without a reading in between."""

    begin: int
    end: int
    first: Fraction
    last: Fraction

    def within(self, begin: int, end: int) -> _Stretch | None:
        """Return the part between two times, None if there is none."""
        low, high = max(self.begin, begin), min(self.end, end)
        return _Stretch(low, high, self._at(low), self._at(high)) if low < high else None

    def _at(self, time: int) -> Fraction:
        return self.first + (self.last - self.first) * Fraction(time - self.begin, self.end - self.begin)

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.end - self.begin, SECOND)

    @property
    def area(self) -> Fraction:
        return self.seconds * (self.first + self.last) / 2


def _steps(track: Track) -> list[_Stretch]:
    """Return a track as a step function: each value until the next reading, for CARRY at most."""
    return [
        _Stretch(time, min(time + CARRY, later), value, value)
        for (time, value), (later, _) in itertools.pairwise([*track, _NEVER])
    ]


def _lines(track: Track) -> list[_Stretch]:
    """Return a track as straight lines between readings at most CARRY apart."""
    return [
        _Stretch(time, later, value, last)
        for (time, value), (later, last) in itertools.pairwise(track)
        if later - time <= CARRY
    ]


_Form = Callable[[Track], list[_Stretch]]


def _known(members: Sequence[_Member], bucket: _Bucket, form: _Form = _steps) -> list[_Stretch]:
    """Return what is known of the values within a bucket, of all devices."""
    parts = (
        stretch.within(bucket.begin, bucket.known_to) for member in members for stretch in form(member.track)
    )
    return [part for part in parts if part is not None]


def _time_weighted(members: Sequence[_Member], bucket: _Bucket, form: _Form) -> Fraction | None:
    known = _known(members, bucket, form)
    seconds = sum((part.seconds for part in known), Fraction())
    return sum((part.area for part in known), Fraction()) / seconds if seconds else None


def _exceed(members: Sequence[_Member], bucket: _Bucket, limit: Fraction) -> Fraction | None:
    known = _known(members, bucket)
    return sum((part.seconds for part in known if part.first > limit), Fraction()) if known else None


def without_blips(track: Track) -> Track:
    """Return a counter's readings without single zeros between a value and one that is no less."""
    return [
        reading
        for number, reading in enumerate(track)
        if not (
            0 < number < len(track) - 1
            and reading[1] == 0
            and 0 < track[number - 1][1] <= track[number + 1][1]
        )
    ]


def _increase(members: Sequence[_Member], bucket: _Bucket, question: Question) -> Fraction | None:
    rises = []
    for member in members:
        looked_at = [
            (time, value)
            for time, value in member.track
            if question.start - CARRY <= time < question.end + CARRY
        ]
        for (_, before), (time, value) in itertools.pairwise(without_blips(looked_at)):
            if bucket.holds(time):
                rises.append(value - before if value >= before else value)
    return sum(rises, Fraction()) if rises else None


def _coverage(members: Sequence[_Member], count: int, bucket: _Bucket) -> Fraction | None:
    expected = Fraction()
    for member in members:
        installed = member.device.installed
        begin = bucket.begin if installed is None else max(bucket.begin, installed)
        disabled = member.device.disabled
        until = bucket.known_to if disabled is None else min(bucket.known_to, disabled)
        seconds = Fraction(max(until - begin, 0), SECOND)
        expected += seconds / Fraction(member.device.interval_seconds)
    return min(count / expected, Fraction(1)) if expected else None


class Fill(enum.StrEnum):
    """What becomes of buckets without a value."""

    NULL = "null"
    NONE = "none"
    PREVIOUS = "previous"
    LINEAR = "linear"


def fill(
    column: Column, count: Sequence[int], edges: Sequence[int], how: Fill
) -> list[tuple[int, float | None]]:
    """Return the buckets of one aggregate, each as (beginning, value), their gaps filled."""
    begins = list(edges[:-1])
    known = [number for number, value in enumerate(column) if value is not None]
    buckets = zip(begins, column, count, strict=True)
    match how:
        case Fill.NULL:
            return [(begin, value) for begin, value, _ in buckets]
        case Fill.NONE:
            return [(begin, value) for begin, value, readings in buckets if readings]
        case Fill.PREVIOUS:
            last = [max((n for n in known if n <= number), default=None) for number in range(len(column))]
            return [(begin, None if n is None else column[n]) for begin, n in zip(begins, last, strict=True)]
        case Fill.LINEAR:
            return [
                (begin, _interpolate(number, column, known, begins)) for number, begin in enumerate(begins)
            ]


def _interpolate(number: int, column: Column, known: list[int], begins: list[int]) -> float | None:
    place = bisect.bisect_left(known, number)
    if place < len(known) and known[place] == number:
        return column[number]
    if not 0 < place < len(known):
        return None
    before, after = known[place - 1], known[place]
    low, high = Fraction(column[before] or 0.0), Fraction(column[after] or 0.0)
    part = Fraction(begins[number] - begins[before], begins[after] - begins[before])
    return float(low + part * (high - low))
