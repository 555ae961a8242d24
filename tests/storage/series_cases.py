"""Small cities with readings that are hard to aggregate, and questions about them, for property tests."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from hypothesis import strategies as st

from sensors.kinds import DeviceSpec
from sensors.times import format_timestamp, parse_timestamp, to_microseconds
from tests.storage.calendar_oracle import MINUTE, boundaries_between
from tests.storage.series_oracle import CARRY, SECOND, Device, Question, Reading

HOUR = 3600 * SECOND
METRIC = "temperature"
KINDS = ("air_quality", "weather")  # both measure the metric
OTHER_KIND = "noise"  # does not
DISTRICTS = ("gate", "golden")
# As much as ingest lets a device's clock be fast.
FAST_CLOCK = 300 * SECOND

# Moments around which buckets are not alike: clocks set back and forward, offsets that are no whole hours.
PLACES = (
    ("Asia/Almaty", parse_timestamp("2024-03-01T00:00:00+05:00")),
    ("Asia/Kathmandu", parse_timestamp("2024-03-01T00:00:00+05:45")),
    ("Europe/Berlin", parse_timestamp("2024-03-31T03:00:00+02:00")),
    ("Europe/Berlin", parse_timestamp("2024-10-27T02:00:00+01:00")),
    ("UTC", parse_timestamp("2024-03-01T00:00:00Z")),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Width:
    """A step: the longest range it is asked for, the longest bucket, and a stride that meets its boundaries."""

    longest: dt.timedelta
    bucket: dt.timedelta
    stride: dt.timedelta = MINUTE


_SECOND, _HOUR, _DAY = dt.timedelta(seconds=1), dt.timedelta(hours=1), dt.timedelta(days=1)
STEPS = {
    "PT1S": Width(40 * _SECOND, _SECOND, _SECOND),
    "PT15S": Width(10 * MINUTE, MINUTE, _SECOND),
    "PT1M": Width(_HOUR, MINUTE),
    "PT5M": Width(5 * _HOUR, _HOUR),
    "PT15M": Width(12 * _HOUR, _HOUR),
    "PT1H": Width(3 * _DAY, _HOUR),
    "PT6H": Width(8 * _DAY, 7 * _HOUR),
    "P1D": Width(15 * _DAY, 2 * _DAY, 15 * MINUTE),
    "P1W": Width(60 * _DAY, 8 * _DAY, 15 * MINUTE),
    "P1M": Width(150 * _DAY, 32 * _DAY, _HOUR),
    "P3M": Width(400 * _DAY, 93 * _DAY, _HOUR),
    "P1Y": Width(800 * _DAY, 367 * _DAY, _HOUR),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """A range (Unix µs) in a zone, and the boundaries of its buckets."""

    zone: str
    step: str
    start: int
    end: int
    edges: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A city, what it sent, and what is asked at ``now``.

    ``late`` is to be written after rollups were made of ``first``; it also repeats moments of ``first`` with
    other values, which change nothing but where the first was null.
    """

    asked: Range
    now: int
    limit: float
    devices: tuple[Device, ...]
    first: tuple[Reading, ...]
    late: tuple[Reading, ...]

    @property
    def readings(self) -> tuple[Reading, ...]:
        """All readings in the order of writing."""
        return self.first + self.late

    def question(self, aggregates: Sequence[str]) -> Question:
        """Return what the oracle is asked."""
        asked = self.asked
        return Question(aggregates, asked.edges, asked.start, asked.end, self.now, KINDS, self.limit)

    def groups(self, group_by: str, prefix: str, *, simulated: bool | None = None) -> dict[int, str | None]:
        """Return the group of each device: ``none``, ``district``, ``kind`` or ``device``."""
        return {
            device.device_id: {
                "none": None,
                "district": device.district,
                "kind": device.kind,
                "device": name_of(device, prefix),
            }[group_by]
            for device in self.devices
            if simulated in (None, device.simulated)
        }

    def specs(self, prefix: str) -> list[DeviceSpec]:
        """Return the devices as they are registered, in the order of their numbers."""
        return [
            DeviceSpec(
                name_of(device, prefix),
                device.kind,
                device.district,
                interval=f"PT{device.interval_seconds:g}S",
                installed=None if device.installed is None else format_timestamp(device.installed),
                simulated=device.simulated,
            )
            for device in self.devices
        ]


def name_of(device: Device, prefix: str) -> str:
    """Return the id that a device is registered under."""
    return f"{prefix}{device.device_id}"


def edges_of(place: tuple[str, int], step: str, start: int, end: int) -> tuple[int, ...]:
    """Return the boundaries of the buckets that cover a range near a place's moment."""
    zone, moment = place
    width = STEPS[step]
    middle = dt.datetime.fromtimestamp(moment // SECOND, dt.UTC)
    margin = 2 * width.longest + width.bucket
    # The same for every range, so that they are looked for once.
    margin = (margin // _DAY + 1) * _DAY if margin > _DAY else margin
    found = boundaries_between(middle - margin, middle + margin, step, zone, width.stride)
    edges = [to_microseconds(edge) for edge in found]
    first = max(number for number, edge in enumerate(edges) if edge <= start)
    last = min(number for number, edge in enumerate(edges) if edge >= end)
    return tuple(edges[first : last + 1])


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    """Make ranges that begin or end near a moment when a clock is set, often on whole hours or minutes."""
    place = draw(st.sampled_from(PLACES))
    step = draw(st.sampled_from(sorted(STEPS)))
    longest = STEPS[step].longest // dt.timedelta(microseconds=1)
    unit = draw(st.sampled_from([unit for unit in (1, SECOND, 60 * SECOND, HOUR) if unit <= longest]))
    start = place[1] + unit * draw(st.integers(-(longest // unit), longest // unit // 4))
    end = start + unit * draw(st.integers(1, longest // unit))
    return Range(place[0], step, start, end, edges_of(place, step, start, end))


def values() -> st.SearchStrategy[float]:
    """Make values: eighths, which add up exactly, with zeros, tiny and huge ones among them."""
    eighths = st.integers(-80, 800).map(lambda number: number / 8)
    return st.one_of(eighths, eighths, st.sampled_from([0.0, 0.001, -0.001, 1e12, -1e12, 1e15]))


def maybe(strategy: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    """Make null instead, now and then."""
    return st.integers(0, 7).flatmap(lambda chance: strategy if chance else st.none())


@st.composite
def counters(draw: st.DrawFn, length: int) -> list[float | None]:
    """Make the readings of a counter that starts again, shows a zero now and then, and has gaps."""
    total, shown = draw(st.integers(0, 500)) / 4, list[float | None]()
    for event in draw(st.lists(st.integers(0, 9), min_size=length, max_size=length)):
        if event == 9:
            total = draw(st.integers(0, 8)) / 4
        elif event < 7:
            total += event / 4
        shown.append({7: 0.0, 8: None}.get(event, total))
    return shown


def moments(asked: Range) -> st.SearchStrategy[int]:
    """Make times at and around boundaries, and where carrying and looking ahead begin and end.

    They keep to few days also in long ranges, because each day of readings is a chunk of the database.
    """
    around = st.sampled_from([0, 0, -1, 1, -SECOND, SECOND, -HOUR, HOUR])
    corner = st.sampled_from([*asked.edges, asked.start, asked.end])
    limits = st.sampled_from([asked.start - CARRY, asked.end - CARRY, asked.start + CARRY, asked.end + CARRY])
    begin, end = asked.start, min(asked.end, asked.start + CARRY)
    return st.one_of(
        st.integers(begin, end - 1),
        st.tuples(corner, around).map(sum),
        st.tuples(corner, st.integers(-3 * HOUR, 3 * HOUR)).map(sum),
        st.tuples(limits, st.sampled_from([-1, 0, 1])).map(sum),
    )


@st.composite
def runs(draw: st.DrawFn, asked: Range) -> list[tuple[int, float | None]]:
    """Make readings of one device: one alone, or several at an interval."""
    begin = draw(moments(asked))
    length = draw(st.sampled_from([1, 1, 2, 5, 12]))
    interval = draw(st.sampled_from([SECOND // 2, 10 * SECOND, 60 * SECOND, 600 * SECOND, HOUR, 8 * HOUR]))
    given = st.lists(maybe(values()), min_size=length, max_size=length)
    shown = draw(st.one_of(given, counters(length)))
    return [(begin + number * interval, value) for number, value in enumerate(shown)]


@st.composite
def devices(draw: st.DrawFn, asked: Range) -> tuple[Device, ...]:
    """Make one to six devices; one that does not measure the metric is among them now and then."""
    installed = st.one_of(st.none(), st.none(), moments(asked))  # and disabled
    return tuple(
        Device(
            device_id=number + 1,
            kind=draw(st.sampled_from([*KINDS, *KINDS, OTHER_KIND])) if number else KINDS[0],
            district=draw(st.sampled_from(DISTRICTS)),
            interval_seconds=draw(st.sampled_from([10.0, 60.0, 900.0])),
            simulated=draw(st.sampled_from([False, False, True])),
            installed=draw(installed),
            disabled=draw(installed),
        )
        for number in range(draw(st.integers(1, 6)))
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Make a whole case; nothing is later than a fast clock could say at its ``now``."""
    asked = draw(ranges())
    now = draw(st.one_of(*[st.just(asked.end + after) for after in (2 * CARRY, CARRY, 0)], moments(asked)))
    city = draw(devices(asked))
    first: list[Reading] = []
    late: list[Reading] = []
    for device in city:
        if device.kind in KINDS:
            fewest = draw(st.sampled_from([0, 1, 2, 3]))
            for run in draw(st.lists(runs(asked), min_size=fewest, max_size=5)):
                batch = late if draw(st.integers(0, 4)) == 0 else first
                batch += [(device.device_id, time, value) for time, value in run if time <= now + FAST_CLOCK]
    for device_id, time, _ in draw(st.lists(st.sampled_from(first), max_size=3)) if first else ():
        late.append((device_id, time, draw(values())))
    return Case(
        asked=asked,
        now=now,
        limit=draw(st.sampled_from([-1.0, 0.0, 12.5, 50.0])),
        devices=city,
        first=tuple(first),
        late=tuple(late),
    )
