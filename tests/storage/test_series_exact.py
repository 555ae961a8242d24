"""Every aggregate of every grouping and zone, held against the plain computation, over rollups and late readings."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sensors.catalogue import Catalogue
from sensors.times import from_microseconds
from storage.devices import register_devices
from storage.refresh import move_bound, refresh
from storage.retention import EVERY_KIND, KeptTier, apply_retention, set_policy
from storage.rollup_marks import NEVER
from storage.rollup_progress import read_progress
from storage.rollup_tables import MINUTES, Level, Tier, rollup_table
from storage.selection import Selection
from storage.series import answer_series
from storage.series_query import OF_READINGS, Aggregate, GroupBy, Series, SeriesQuery
from tests.cities import City, Row, open_city
from tests.conftest import Database
from tests.storage import series_oracle as oracle
from tests.storage.series_cases import KINDS, METRIC, OTHER_KIND, Case, Range, cases, name_of
from tests.storage.series_oracle import CARRY

pytestmark = pytest.mark.servers

QUANTILES = {0.5: "median", 0.9: "p90", 0.999: "p99.9"}
ALL = frozenset(Aggregate)
# What rows of districts can answer.
OF_STATES = ALL - OF_READINGS - {Aggregate.FIRST, Aggregate.LAST}
# Midnights of Almaty are those of the rollups' days.
ZONE = "Asia/Almaty"


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        await set_policy(city.owner, EVERY_KIND, KeptTier.MINUTES, None)
        yield city


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """What happens between what came first and what came late, Unix µs: how far rollups are made, and before when
    readings are dropped; None is not at all."""

    rollups_to: int | None
    dropped_to: int | None


@st.composite
def histories(draw: st.DrawFn, case: Case) -> History:
    """Make histories whose times lie around the range that is asked for."""
    asked = case.asked
    middle = (asked.start + asked.end) // 2
    rollups_to = st.sampled_from([None, asked.start, middle, asked.end, *[case.now] * 4])
    dropped_to = st.sampled_from([None, middle, asked.end, asked.start + CARRY, *[asked.end + CARRY] * 3])
    return History(draw(rollups_to), draw(dropped_to))


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
    await move_bound(city.owner, KINDS, ZONE, until - until % MINUTES)
    for kind in KINDS:
        while not (await refresh(city.owner, city.catalogue.kind_of[kind])).is_done:
            pass


async def drop_readings(city: City, before: int) -> dict[str, int]:
    """Let readings before a time go, where rollups have them; return of each kind before when they are gone."""
    await set_policy(
        city.owner, EVERY_KIND, KeptTier.RAW, dt.datetime.now(dt.UTC) - from_microseconds(before)
    )
    for kind in KINDS:
        await apply_retention(city.owner, kind, KeptTier.RAW)
    return {kind: progress.horizon for kind, progress in (await read_progress(city.owner)).items()}


async def disable(city: City, case: Case) -> None:
    """Disable devices, each at the moment of the case's own."""
    moments = {
        name_of(one, "d"): from_microseconds(one.disabled) for one in case.devices if one.disabled is not None
    }
    await city.owner.executemany("UPDATE alatau.device SET disabled_at = $2 WHERE id = $1", moments.items())


async def fill(city: City, case: Case, history: History) -> dict[str, int]:
    """Register the devices and live through a history; return of each kind before when its readings are gone."""
    await clear(city)
    registered = await register_devices(city.owner, case.specs("d"), city.catalogue)
    city.number.clear()
    city.number.update(registered)
    await disable(city, case)
    await write(city, case, case.first)
    horizons = dict.fromkeys(KINDS, NEVER)
    if history.rollups_to is not None:
        await make_rollups(city, history.rollups_to)
        if history.dropped_to is not None:
            horizons = await drop_readings(city, history.dropped_to)
    await write(city, case, case.late)
    return horizons


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
        # A random range may be years, of which devices at ten seconds would have more than may be followed.
        most_rows=10**12,
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


class Expected:
    """What is to be answered, of what is left after a history."""

    def __init__(
        self, case: Case, horizons: Mapping[str, int], aggregates: frozenset[Aggregate], *, exact: bool
    ) -> None:
        self._case = case
        self._horizons = horizons
        self._follows = bool(aggregates & OF_READINGS)
        self._has_rollups = not exact and not any(edge % MINUTES for edge in case.asked.edges[1:-1])
        self._horizon_of = {one.device_id: horizons.get(one.kind, NEVER) for one in case.devices}

    @property
    def readings(self) -> list[oracle.Reading]:
        """All that came in time: not late and of before the horizon."""
        return [*self._case.first, *self._kept(self._case.late)]

    @property
    def gone(self) -> set[tuple[int, int]]:
        """What has to be said to be gone."""
        if not self._follows:
            return {part for horizon in self._horizons.values() for part in self._lost(horizon)}
        # Readings are followed from so long before the range to so long after it.
        begin, end = self._case.asked.start - CARRY, self._case.asked.end + CARRY
        return {(begin, min(end, horizon)) for horizon in self._horizons.values() if begin < horizon}

    def series(self, groups: Mapping[int, str | None]) -> dict[str | None, oracle.Series]:
        """Return the series: states of all but what is lost, the rest of the readings that are kept."""
        of_states = self.answer(self._not_lost(self.readings), groups)
        if not self._follows:
            return of_states
        followed = self.answer(self._kept(self.readings), groups)
        return {
            group: dataclasses.replace(
                series,
                values=series.values
                | {name.value: followed[group].values[name.value] for name in OF_READINGS},
                largest=max(series.largest, followed[group].largest),
            )
            for group, series in of_states.items()
        }

    def answer(
        self, readings: Sequence[oracle.Reading], groups: Mapping[int, str | None]
    ) -> dict[str | None, oracle.Series]:
        """Return the series of readings, as if there were no others."""
        names = [*(one.value for one in Aggregate), *QUANTILES.values(), "coverage"]
        return oracle.answer(self._case.devices, readings, self._case.question(names), groups)

    def _kept(self, readings: Sequence[oracle.Reading]) -> list[oracle.Reading]:
        return [reading for reading in readings if reading[1] >= self._horizon_of[reading[0]]]

    def _not_lost(self, readings: Sequence[oracle.Reading]) -> list[oracle.Reading]:
        lost = {number: self._lost(horizon) for number, horizon in self._horizon_of.items()}
        return [
            reading
            for reading in readings
            if not any(begin <= reading[1] < end for begin, end in lost[reading[0]])
        ]

    def _lost(self, horizon: int) -> list[tuple[int, int]]:
        """Return the parts of the range before a horizon that are no whole buckets of rollups."""
        start, end = self._case.asked.start, self._case.asked.end
        low, high = start + -start % MINUTES, end - end % MINUTES
        parts = [(start, low), (high, end)] if self._has_rollups and low < high else [(start, end)]
        return [(begin, min(stop, horizon)) for begin, stop in parts if begin < min(stop, horizon)]


@settings(max_examples=70)
@given(case=cases(), data=st.data())
async def test_every_aggregate_is_what_the_plain_computation_gives(
    city: City, case: Case, data: st.DataObject
) -> None:
    horizons = await fill(city, case, data.draw(histories(case)))
    simulated = data.draw(st.sampled_from([None, True, False]))
    exact = data.draw(st.sampled_from([False, False, False, True]))
    aggregates = data.draw(st.sampled_from([ALL, ALL - OF_READINGS, OF_STATES]))
    group_by = data.draw(st.sampled_from(GroupBy))
    answer = await answer_series(
        city.api,
        query_of(city, case, group_by, aggregates, selection=Selection(simulated=simulated), exact=exact),
    )
    event(f"sources: {' '.join(answer.sources)}")
    event(f"readings dropped: {max(horizons.values()) > case.asked.start}, said: {bool(answer.gone)}")
    expected = Expected(case, horizons, aggregates, exact=exact)
    assert set(answer.gone) == expected.gone
    groups = case.groups(group_by.value, "d", simulated=simulated)
    series_of = expected.series(groups)
    if not answer.gone:
        assert series_of == expected.answer(expected.readings, groups)
    of_group = {one.group: one for one in answer.series}
    assert set(of_group) <= set(series_of)
    for group, series in series_of.items():
        if group in of_group:
            assert_same(of_group[group], series, exact=exact)
        else:
            assert not any(series.count)
            assert all(
                value is None for one in aggregates - {Aggregate.COUNT} for value in series.values[one.value]
            )


async def test_the_other_kind_is_none_of_those_that_measure_the_metric(catalogue: Catalogue) -> None:
    assert METRIC not in catalogue.kind_of[OTHER_KIND].columns


async def test_what_is_gone_is_said_once_where_readings_are_followed(city: City) -> None:
    """The rollups' last bucket ends before the range does: what lacks of it is a part of what can't be followed."""
    start = 1_709_233_200_000_000
    end, now = start + 301_000_000, start + 48 * 3600 * 1_000_000 + 301_000_000
    asked = Range(ZONE, "P1D", start, end, (start, end))
    case = Case(asked, now, 0.0, (oracle.Device(1, KINDS[0], "gate", 10.0),), ((1, start, 1.0),), ())
    horizons = await fill(city, case, History(now, end + CARRY))
    answer = await answer_series(city.api, query_of(city, case, GroupBy.NONE, ALL, selection=Selection()))
    assert answer.gone == ((start - CARRY, min(end + CARRY, horizons[KINDS[0]])),)
    assert [part.count.tolist() for part in answer.series] == [[1]]
