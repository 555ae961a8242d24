from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.times import DAY, from_microseconds, parse_timestamp, to_microseconds
from storage.buckets import LADDER, boundaries, count_at_most, finest_step, parse_step
from tests.storage.calendar_oracle import boundaries_between
from tests.storage.series_cases import Range, ranges

UTC = dt.UTC
# A clock is changed within each of these spans: set back at midnight, forward at two, back over midnight,
# forward over midnight, by half an hour, never.
CHANGES = {
    "Asia/Almaty": dt.datetime(2024, 2, 29, 19, tzinfo=UTC),
    "Europe/Berlin": dt.datetime(2024, 3, 31, 1, tzinfo=UTC),
    "America/Havana": dt.datetime(2024, 11, 3, 5, tzinfo=UTC),
    "Asia/Beirut": dt.datetime(2024, 3, 30, 22, tzinfo=UTC),
    "Australia/Lord_Howe": dt.datetime(2024, 4, 6, 15, tzinfo=UTC),
    "Asia/Kolkata": dt.datetime(2024, 1, 1, tzinfo=UTC),
}
STEPS = ["PT1M", "PT5M", "PT15M", "PT30M", "PT40M", "PT1H", "PT2H", "PT6H", "PT12H"]
CALENDAR_STEPS = ["P1D", "P1W", "P1M", "P3M", "P1Y"]


def cut(start: str, end: str, step: str, zone: str = "Asia/Almaty") -> list[float]:
    """Return the lengths of the buckets in hours."""
    edges = boundaries(
        parse_timestamp(start), parse_timestamp(end), parse_step(step), zoneinfo.ZoneInfo(zone)
    )
    return [(after - before) / 3.6e9 for before, after in itertools.pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(
    zone=st.sampled_from(sorted(CHANGES)),
    step=st.sampled_from(STEPS + CALENDAR_STEPS),
    begins=st.integers(-60 * 60, 60 * 40),
    minutes=st.integers(1, 60 * 40),
)
def test_boundaries_are_where_the_local_clock_says(zone: str, step: str, begins: int, minutes: int) -> None:
    start = CHANGES[zone] + dt.timedelta(minutes=begins)
    end = start + dt.timedelta(minutes=minutes)
    found = boundaries(
        to_microseconds(start), to_microseconds(end), parse_step(step), zoneinfo.ZoneInfo(zone)
    )
    assert found == sorted(set(found))
    assert found[0] <= to_microseconds(start) < found[1]
    assert found[-2] < to_microseconds(end) <= found[-1]
    first, last = from_microseconds(found[0]), from_microseconds(found[-1])
    if last - first < dt.timedelta(days=10):
        assert [from_microseconds(edge) for edge in found] == boundaries_between(first, last, step, zone)


@settings(max_examples=150, deadline=None)
@given(asked=ranges())
def test_buckets_of_a_second_to_a_year_are_where_the_local_clock_says(asked: Range) -> None:
    found = boundaries(asked.start, asked.end, parse_step(asked.step), zoneinfo.ZoneInfo(asked.zone))
    assert tuple(found) == asked.edges


@pytest.mark.parametrize(
    ("step", "count"), [("PT1M", 1500), ("PT1H", 25), ("PT6H", 4), ("PT12H", 2), ("P1D", 1)]
)
def test_the_day_almaty_set_its_clocks_back_has_25_hours(step: str, count: int) -> None:
    hours = cut("2024-02-29T00:00:00+06:00", "2024-03-01T00:00:00+05:00", step)
    assert len(hours) == count
    assert sum(hours) == pytest.approx(25)


def test_the_day_berlin_sets_its_clocks_forward_has_23_hours() -> None:
    range_ = "2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"
    assert cut(*range_, "P1D", "Europe/Berlin") == [23]
    assert cut(*range_, "PT1H", "Europe/Berlin") == [1] * 23


def test_a_day_that_a_zone_skipped_has_no_bucket() -> None:
    assert cut("2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", "P1D", "Pacific/Apia") == [24, 24]


def test_months_and_years_have_their_own_lengths() -> None:
    days = [hours / 24 for hours in cut("2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "P1M", "UTC")]
    assert days == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert [h / 24 for h in cut("2023-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "P1Y", "UTC")] == [365, 366]


def test_a_range_of_many_short_buckets_is_cut_without_looking_at_every_second_of_its_days() -> None:
    assert len(cut("2024-02-29T23:00:00+06:00", "2024-02-29T23:59:00+06:00", "PT1S")) == 59 * 60


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("PT7M", "PT5M"),
        ("PT7H", "PT6H"),
        ("PT0.5S", "PT1S"),
        ("-PT1H", "PT1S"),
        ("P2D", "P1D"),
        ("P5M", "P6M"),
        ("P2Y", "P1Y"),
        ("P0M", "P1M"),
        ("1h", "PT1H"),
        ("P1M1D", "P1D"),
        ("", "PT1H"),
    ],
)
def test_a_step_that_is_none_names_one_that_is(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        parse_step(text)


@given(
    start=st.integers(0, 60 * 365 * DAY), length=st.integers(1, 200 * 365 * DAY), limit=st.integers(10, 20000)
)
def test_the_finest_step_keeps_to_the_limit_unless_it_is_the_last(
    start: int, length: int, limit: int
) -> None:
    step = finest_step(start, start + length, limit)
    assert count_at_most(start, start + length, step) <= limit + 2 or step.text == LADDER[-1]


def test_every_step_of_the_ladder_is_one_and_they_rise() -> None:
    lengths = [parse_step(text).shortest for text in LADDER]
    assert lengths == sorted(lengths)
