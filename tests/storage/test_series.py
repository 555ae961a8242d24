from __future__ import annotations

import bisect
import collections
import dataclasses
import datetime as dt
import math
import random
import re
import zoneinfo
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.buckets import boundaries, parse_step
from storage.refresh import move_bound, refresh
from storage.selection import ALWAYS, FOREVER, Members, Selection, count_members
from storage.series import read_series
from storage.series_query import Aggregate, GroupBy, SeriesQuery
from tests.cities import City, Row, open_city
from tests.conftest import Database
from tests.storage.calendar_oracle import boundaries_between

UTC = dt.UTC
# Ten days around the night that Almaty set its clocks back.
BEGIN = dt.datetime(2024, 2, 25, tzinfo=UTC)
MINUTES = 10 * 24 * 60

DEVICES = [
    DeviceSpec("air-1", "air_quality", "gate"),
    DeviceSpec("air-2", "air_quality", "golden"),
    DeviceSpec("air-3", "air_quality", "golden", simulated=True),
    DeviceSpec("weather-1", "weather", "gate"),
    DeviceSpec("weather-2", "weather", "green", simulated=True),
    DeviceSpec("traffic-1", "traffic_flow", "growing"),
    DeviceSpec("silent-1", "air_quality", "green"),
]
METRICS = {
    "air_quality": ("pm2_5", "temperature", "humidity"),
    "weather": ("temperature", "humidity"),
    "traffic_flow": ("speed",),
}


PLAIN = (Aggregate.AVG, Aggregate.MIN, Aggregate.MAX, Aggregate.SUM, Aggregate.COUNT)


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    spec: DeviceSpec
    time: dt.datetime
    values: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Recorded:
    """The city and what was stored in it."""

    city: City
    readings: list[Reading]


@pytest.fixture(scope="module")
async def recorded(database: Database, catalogue: Catalogue) -> AsyncIterator[Recorded]:
    chance = random.Random(7)  # noqa: S311
    readings = []
    for spec in DEVICES[:-1]:
        moments = chance.sample(range(MINUTES * 60), 400)
        # Readings on the boundaries themselves are where half-open ranges go wrong.
        moments[:60] = [moment // 3600 * 3600 for moment in moments[:60]]
        for second in set(moments):
            # Eighths add up without rounding, so that sums can be compared exactly.
            values = {
                name: chance.randrange(0, 800) / 8 for name in METRICS[spec.kind] if chance.random() < 0.7
            }
            readings.append(Reading(spec, BEGIN + dt.timedelta(seconds=second), values))
    async with open_city(database, catalogue, DEVICES) as city:
        # Some readings come after the rollups of most of the time were made, so that answers are put together.
        for kind in METRICS:
            rows: list[Row] = [(r.spec.id, r.time, r.values) for r in readings if r.spec.kind == kind]
            late = len(rows) // 20
            await city.write(kind, rows[late:])
            await make_rollups(city, kind, BEGIN + dt.timedelta(days=7, hours=3, minutes=25))
            await city.write(kind, rows[:late])
        yield Recorded(city, readings)


async def make_rollups(city: City, kind: str, until: dt.datetime) -> None:
    await move_bound(city.owner, [kind], "Asia/Almaty", to_microseconds(until))
    while (await refresh(city.owner, city.catalogue.kind_of[kind])).clean_to < to_microseconds(until):
        pass


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    metrics: tuple[str, ...]
    aggregates: frozenset[Aggregate]
    start: dt.datetime
    end: dt.datetime
    step: str
    zone: str
    group_by: GroupBy
    selection: Selection


def subsets(values: list[str], *, most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    begins = draw(st.integers(-600, MINUTES))
    metrics = st.sampled_from(["pm2_5", "temperature", "humidity", "speed"])
    return Question(
        metrics=tuple(draw(st.lists(metrics, min_size=1, max_size=3, unique=True))),
        aggregates=frozenset(draw(st.sets(st.sampled_from(PLAIN), min_size=1))),
        start=BEGIN + dt.timedelta(minutes=begins),
        end=BEGIN + dt.timedelta(minutes=begins + draw(st.integers(1, MINUTES))),
        step=draw(st.sampled_from(["PT15M", "PT1H", "PT6H", "P1D", "P1W", "P1M"])),
        zone=draw(st.sampled_from(["Asia/Almaty", "UTC", "Asia/Kolkata"])),
        group_by=draw(st.sampled_from(GroupBy)),
        selection=Selection(
            kinds=draw(subsets(list(METRICS))),
            districts=draw(subsets(["gate", "golden", "green"])),
            devices=draw(subsets([spec.id for spec in DEVICES])),
            simulated=draw(st.sampled_from([None, True, False])),
        ),
    )


def selects(selection: Selection, spec: DeviceSpec) -> bool:
    return (
        (not selection.kinds or spec.kind in selection.kinds)
        and (not selection.districts or spec.district in selection.districts)
        and (not selection.devices or spec.id in selection.devices)
        and selection.simulated in (None, spec.simulated)
    )


def group_of(spec: DeviceSpec, group_by: GroupBy) -> str | None:
    return {
        GroupBy.NONE: None,
        GroupBy.DISTRICT: spec.district,
        GroupBy.KIND: spec.kind,
        GroupBy.DEVICE: spec.id,
    }[group_by]


Buckets = dict[tuple[str | None, str], dict[int, list[float]]]


def plain_answer(question: Question, readings: list[Reading], edges: list[dt.datetime]) -> Buckets:
    """Sort the values into buckets, one by one."""
    answer: Buckets = collections.defaultdict(lambda: collections.defaultdict(list))
    for reading in readings:
        if selects(question.selection, reading.spec) and question.start <= reading.time < question.end:
            bucket = bisect.bisect_right(edges, reading.time) - 1
            for metric in question.metrics:
                if metric in reading.values:
                    group = group_of(reading.spec, question.group_by)
                    answer[group, metric][bucket].append(reading.values[metric])
    return answer


def plain_aggregate(aggregate: Aggregate, values: list[float]) -> float:
    return {
        Aggregate.AVG: sum(values) / len(values),
        Aggregate.MIN: min(values),
        Aggregate.MAX: max(values),
        Aggregate.SUM: sum(values),
    }[aggregate]


@settings(max_examples=120, deadline=None)
@given(question=questions())
async def test_a_series_is_what_sorting_every_value_by_hand_gives(
    recorded: Recorded, question: Question
) -> None:
    catalogue = recorded.city.catalogue
    kinds = tuple(kind for kind in catalogue.kinds if set(question.metrics) & set(kind.columns))
    start, end = to_microseconds(question.start), to_microseconds(question.end)
    cut = boundaries(start, end, parse_step(question.step), zoneinfo.ZoneInfo(question.zone))
    series = await read_series(
        recorded.city.api,
        SeriesQuery(
            metrics=question.metrics,
            aggregates=question.aggregates,
            start=start,
            end=end,
            boundaries=cut,
            group_by=question.group_by,
            kinds=kinds,
            selection=question.selection,
        ),
    )
    month = dt.timedelta(days=40)
    wide = boundaries_between(BEGIN - month, BEGIN + month, question.step, question.zone)
    edges = [edge for edge in wide if cut[0] <= to_microseconds(edge) <= cut[-1]]
    expected = plain_answer(question, recorded.readings, edges)
    assert {(one.group, one.metric) for one in series} == set(expected)
    asked = question.aggregates - {Aggregate.COUNT}
    for one in series:
        buckets = expected[one.group, one.metric]
        assert one.count.tolist() == [len(buckets.get(n, ())) for n in range(len(cut) - 1)]
        assert set(one.values) == asked
        for aggregate, values in one.values.items():
            for bucket, value in enumerate(values.tolist()):
                if bucket in buckets:
                    assert value == plain_aggregate(aggregate, buckets[bucket])
                else:
                    assert math.isnan(value)


async def test_the_long_day_of_almaty_is_one_bucket_of_25_hours_of_readings(
    recorded: Recorded,
) -> None:
    start, end = dt.datetime(2024, 2, 28, 18, tzinfo=UTC), dt.datetime(2024, 2, 29, 19, tzinfo=UTC)
    inside = [
        r.values["pm2_5"]
        for r in recorded.readings
        if start <= r.time < end and r.spec.id == "air-1" and "pm2_5" in r.values
    ]
    a_day = dt.timedelta(days=1)
    first, last = to_microseconds(start - a_day), to_microseconds(end + a_day)
    query = SeriesQuery(
        metrics=("pm2_5",),
        aggregates=frozenset({Aggregate.SUM}),
        start=first,
        end=last,
        boundaries=boundaries(first, last, parse_step("P1D"), zoneinfo.ZoneInfo("Asia/Almaty")),
        group_by=GroupBy.NONE,
        kinds=(recorded.city.catalogue.kind_of["air_quality"],),
        selection=Selection(devices=("air-1",)),
    )
    (series,) = await read_series(recorded.city.api, query)
    assert len(series.count) == 3
    assert series.count[1] == len(inside)
    assert series.values[Aggregate.SUM][1] == sum(inside)


async def test_members_are_counted_by_kind_district_and_whether_they_are_simulated(
    recorded: Recorded,
) -> None:
    members = await count_members(recorded.city.api, Selection(kinds=("air_quality",)), 0)
    assert members == [
        Members("air_quality", "gate", False, 1, ALWAYS, FOREVER, 1 / 60),
        Members("air_quality", "golden", False, 1, ALWAYS, FOREVER, 1 / 60),
        Members("air_quality", "golden", True, 1, ALWAYS, FOREVER, 1 / 60),
        Members("air_quality", "green", False, 1, ALWAYS, FOREVER, 1 / 60),
    ]


async def test_chunks_outside_the_range_are_not_even_planned(recorded: Recorded) -> None:
    plan = await recorded.city.owner.fetch(
        "EXPLAIN SELECT count(*) FROM reading.air_quality WHERE time >= '2024-02-26' AND time < '2024-02-27'"
    )
    chunks = set(re.findall(r"_hyper_\d+_\d+_chunk", " ".join(line for (line,) in plan)))
    assert len(chunks) == 1
