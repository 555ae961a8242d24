"""Every aggregate of every grouping and zone, held against the plain computation, over rollups and late readings."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sensors.catalogue import Catalogue
from sensors.times import from_microseconds
from storage.devices import register_devices
from storage.refresh import move_bound, refresh
from storage.rollup_tables import Level, Tier, rollup_table
from storage.selection import Selection
from storage.series import answer_series
from storage.series_query import Aggregate, GroupBy, Series, SeriesQuery
from tests.cities import City, Row, open_city
from tests.conftest import Database
from tests.storage import series_oracle as oracle
from tests.storage.series_cases import KINDS, METRIC, OTHER_KIND, Case, cases, name_of

pytestmark = pytest.mark.servers

QUANTILES = {0.5: "median", 0.9: "p90", 0.999: "p99.9"}
ALL = frozenset(Aggregate)
# What rows of districts can answer.
OF_STATES = ALL - {
    Aggregate.FIRST,
    Aggregate.LAST,
    Aggregate.TWA,
    Aggregate.TWA_LINEAR,
    Aggregate.INCREASE,
    Aggregate.RATE,
    Aggregate.EXCEED,
}
# Midnights of Almaty are those of the rollups' days.
ZONE = "Asia/Almaty"


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


async def clear(city: City) -> None:
    names = [f"reading.{kind}" for kind in KINDS]
    for kind, tier, level in itertools.product(KINDS, Tier, Level):
        names.append(rollup_table(city.catalogue.kind_of[kind], tier, level))
    await city.owner.execute(
        f"TRUNCATE {', '.join(names)}, alatau.rollup_progress, alatau.rollup_dirty, alatau.device CASCADE"
    )


async def write(city: City, case: Case, readings: Sequence[oracle.Reading]) -> None:
    kind_of = {device.device_id: device for device in case.devices}
    for kind in KINDS:
        rows: list[Row] = [
            (name_of(kind_of[number], "d"), from_microseconds(time), {} if value is None else {METRIC: value})
            for number, time, value in readings
            if kind_of[number].kind == kind
        ]
        if rows:
            await city.write(kind, rows)


async def make_rollups(city: City, until: int) -> None:
    await move_bound(city.owner, KINDS, ZONE, until - until % 300_000_000)
    for kind in KINDS:
        while not (await refresh(city.owner, city.catalogue.kind_of[kind])).is_done:
            pass


async def fill(city: City, case: Case, until: int | None) -> None:
    """Register the devices, write what came first, make rollups to a time, and write what came late."""
    await clear(city)
    registered = await register_devices(city.owner, case.specs("d"), city.catalogue)
    city.number.clear()
    city.number.update(registered)
    await write(city, case, case.first)
    if until is not None:
        await make_rollups(city, until)
    await write(city, case, case.late)


def query_of(
    city: City, case: Case, group_by: GroupBy, aggregates: frozenset[Aggregate], **more: object
) -> SeriesQuery:
    asked = case.asked
    return SeriesQuery(
        metrics=(METRIC,),
        aggregates=aggregates,
        start=asked.start,
        end=asked.end,
        boundaries=asked.edges,
        group_by=group_by,
        kinds=tuple(city.catalogue.kind_of[kind] for kind in KINDS),
        quantiles=tuple(QUANTILES),
        limit=case.limit,
        now=case.now,
        **more,  # type: ignore[arg-type]
    )


def assert_same(found: Series, expected: oracle.Series, *, exact: bool) -> None:
    assert found.count.tolist() == expected.count
    size = max(expected.largest, 1.0)
    for aggregate, values in found.values.items():
        column = [np.nan if value is None else value for value in expected.values[aggregate.value]]
        # Times over a limit are seconds, not values.
        tolerance = 1e-9 * (1.0 if aggregate is Aggregate.EXCEED else size)
        np.testing.assert_allclose(
            values, column, rtol=1e-9, atol=tolerance, equal_nan=True, err_msg=aggregate.value
        )
    coverage = [np.nan if value is None else value for value in expected.values["coverage"]]
    known = np.where(found.expected > 0, found.expected, np.nan)
    np.testing.assert_allclose(np.minimum(found.count / known, 1), coverage, rtol=1e-9, equal_nan=True)
    for quantile, name in QUANTILES.items():
        for bucket, value in enumerate(found.quantiles[quantile].tolist()):
            between = expected.between[name][bucket]
            if between is None:
                assert np.isnan(value)
            elif exact:
                wanted = expected.values[name][bucket]
                assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9 * size)
            else:
                assert oracle.is_near(value, between, 0.01 + 1e-9), (name, bucket, value, between)


@settings(max_examples=100)
@given(case=cases(), data=st.data())
async def test_every_aggregate_is_what_the_plain_computation_gives(
    city: City, case: Case, data: st.DataObject
) -> None:
    asked = case.asked
    # Up to where there are rollups when the late readings come.
    until = data.draw(
        st.sampled_from([None, asked.start, (asked.start + asked.end) // 2, asked.end, case.now])
    )
    await fill(city, case, until)
    names = [*(one.value for one in Aggregate), *QUANTILES.values(), "coverage"]
    simulated = data.draw(st.sampled_from([None, True, False]))
    exact = data.draw(st.sampled_from([False, False, False, True]))
    aggregates = data.draw(st.sampled_from([ALL, OF_STATES]))
    group_by = data.draw(st.sampled_from(GroupBy))
    answer = await answer_series(
        city.api,
        query_of(city, case, group_by, aggregates, selection=Selection(simulated=simulated), exact=exact),
    )
    event(f"sources: {' '.join(answer.sources)}")
    groups = case.groups(group_by.value, "d", simulated=simulated)
    expected = oracle.answer(case.devices, case.readings, case.question(names), groups)
    of_group = {one.group: one for one in answer.series}
    assert set(of_group) <= set(expected)
    for group, series in expected.items():
        if group in of_group:
            assert_same(of_group[group], series, exact=exact)
        else:
            assert not any(series.count)
            assert all(
                value is None for one in aggregates - {Aggregate.COUNT} for value in series.values[one.value]
            )


async def test_the_other_kind_is_none_of_those_that_measure_the_metric(catalogue: Catalogue) -> None:
    assert METRIC not in catalogue.kind_of[OTHER_KIND].columns
