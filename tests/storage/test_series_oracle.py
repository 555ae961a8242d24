"""The oracle itself, against examples that were computed by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings

from tests.storage.series_cases import DISTRICTS, Case, cases
from tests.storage.series_oracle import (
    CARRY,
    SECOND,
    Column,
    Device,
    Fill,
    Question,
    Reading,
    Series,
    answer,
    fill,
    is_near,
)

HOUR = 3600 * SECOND
A = Device(1, "air_quality", "gate", 60)
B = Device(2, "weather", "gate", 60)
KINDS = ("air_quality", "weather")


def hours(device: Device, *readings: tuple[float, float | None]) -> list[Reading]:
    """Return readings of one device, their times in hours."""
    return [(device.device_id, round(time * HOUR), value) for time, value in readings]


def ask(
    readings: list[Reading],
    *aggregates: str,
    edges: tuple[float, ...] = (0, 1, 2, 3),
    devices: tuple[Device, ...] = (A, B),
    start: float | None = None,
    end: float | None = None,
    now: float = 1000,
    **more: Any,
) -> Series:
    """Return the series of one group of all devices; times in hours."""
    question = Question(
        aggregates,
        [round(edge * HOUR) for edge in edges],
        round((edges[0] if start is None else start) * HOUR),
        round((edges[-1] if end is None else end) * HOUR),
        round(now * HOUR),
        KINDS,
        **more,
    )
    return answer(devices, readings, question, {one.device_id: None for one in devices})[None]


def test_a_range_is_half_open_and_cuts_its_first_and_last_bucket() -> None:
    readings = hours(A, (0.4, 1), (0.5, 2), (1, 3), (2.4, 4), (2.5, 5))
    series = ask(readings, "sum", "min", "max", "avg", "count", start=0.5, end=2.5)
    assert series.count == [1, 1, 1]
    assert series.values["sum"] == [2, 3, 4]
    assert series.values["count"] == [1, 1, 1]
    assert series.values["min"] == series.values["max"] == series.values["avg"] == [2, 3, 4]


def test_null_is_no_value_and_the_first_value_of_a_moment_stays() -> None:
    readings = hours(A, (0.5, None), (0.5, 7), (0.5, 9), (1.5, None))
    series = ask(readings, "avg", "sum")
    assert series.count == [1, 0, 0]
    assert series.values["avg"] == series.values["sum"] == [7, None, None]


def test_of_one_moment_the_lesser_device_is_first_and_the_greater_last() -> None:
    readings = hours(B, (0.5, 20), (0.25, 21)) + hours(A, (0.5, 10), (0.25, 11))
    series = ask(readings, "first", "last")
    assert series.values["first"] == [11, None, None]
    assert series.values["last"] == [20, None, None]


def test_stddev_is_that_of_a_sample() -> None:
    series = ask(hours(A, (0.1, 1), (0.2, 2), (0.3, 6), (1.1, 5)), "stddev")
    assert series.values["stddev"] == [pytest.approx(math.sqrt(7)), None, None]


@pytest.mark.parametrize(
    ("name", "value", "between"),
    [("p50", 25, (20, 30)), ("median", 25, (20, 30)), ("p90", 37, (30, 40)), ("p99.9", 39.97, (30, 40))],
)
def test_quantiles_lie_between_two_values_in_proportion(
    name: str, value: float, between: tuple[float, float]
) -> None:
    series = ask(hours(A, (0.1, 40), (0.2, 10)) + hours(B, (0.1, 30), (0.3, 20), (1.5, 5)), name)
    assert series.values[name] == [value, 5, None]
    assert series.between[name] == [between, (5, 5), None]


def test_an_approximate_quantile_may_be_a_hundredth_beyond_either_value() -> None:
    assert is_near(-101, (-100, -50))
    assert not is_near(-102, (-100, -50))
    assert is_near(-49.5, (-100, -50))
    assert not is_near(0.001, (0, 0))


def test_a_value_weighs_as_long_as_it_lasts() -> None:
    # 10 until 0:30, then 20 to the hour; 20 until 1:45, then 40; 40 all through.
    series = ask(hours(A, (-1, 10), (0.5, 20), (1.75, 40)), "twa")
    assert series.values["twa"] == [15, 25, 40]


def test_a_value_is_carried_for_a_day_and_not_beyond_now() -> None:
    readings = hours(A, (-23, 10), (-30, 5))
    # A day after 10 was read is 1:00; with now at 0:30 nothing is known afterwards.
    assert ask(readings, "twa").values["twa"] == [10, None, None]
    late = hours(A, (-23.5, 10), (0.75, 40))
    # 10 for half an hour, nothing for a quarter, 40 for a quarter.
    assert ask(late, "twa").values["twa"] == [20, 40, 40]
    assert ask(late, "twa", now=0.25).values["twa"] == [10, None, None]
    assert ask(late, "twa", now=-1).values["twa"] == [None, None, None]


def test_each_device_weighs_by_what_is_known_of_it() -> None:
    readings = hours(A, (-1, 10)) + hours(B, (0.5, 40))
    assert ask(readings, "twa").values["twa"] == [20, 25, 25]


def test_a_line_joins_readings_that_are_at_most_a_day_apart() -> None:
    # 0 to 20 over two hours: 5 and 15 on average; the next line rises from 20 by 1 an hour, beyond the range.
    series = ask(hours(A, (0, 0), (2, 20), (26, 44)), "twa_linear")
    assert series.values["twa_linear"] == [5, 15, 20.5]
    series = ask(hours(A, (0, 0), (2, 20), (26.001, 44)), "twa_linear")
    assert series.values["twa_linear"] == [5, 15, None]


def test_a_line_has_nothing_before_the_first_and_after_the_last_reading() -> None:
    series = ask(hours(A, (0.5, 10), (1.5, 30)), "twa_linear")
    assert series.values["twa_linear"] == [15, 25, None]
    assert ask(hours(A, (0.5, 10)), "twa_linear").values["twa_linear"] == [None, None, None]


def test_a_line_ends_now() -> None:
    # From 0 to 20 in two hours, of which an hour and a half have passed: 10 to 15.
    series = ask(hours(A, (0, 0), (2, 20)), "twa_linear", now=1.5)
    assert series.values["twa_linear"] == [5, 12.5, None]


def test_an_increase_begins_at_the_last_reading_before_the_range() -> None:
    readings = hours(A, (-25, 50), (-24, 100), (0.5, 110), (2.5, 115))
    series = ask(readings, "increase", "rate")
    assert series.values["increase"] == [10, None, 5]
    assert series.values["rate"] == [pytest.approx(10 / 3600), None, pytest.approx(5 / 3600)]
    assert ask(hours(A, (-24.001, 100), (0.5, 110)), "increase").values["increase"] == [None, None, None]


def test_a_counter_that_falls_began_again_at_zero() -> None:
    readings = hours(A, (0.1, 100), (0.2, 130), (1.5, 4), (1.6, 5)) + hours(B, (0.5, 7), (1.5, 8))
    assert ask(readings, "increase").values["increase"] == [30, 4 + 1 + 1, None]


@pytest.mark.parametrize(
    ("values", "increase"),
    [
        ((100, 0, 110), 10),  # a blip
        ((100, 0, 100), 0),
        ((100, 0, 90), 90),  # a reset: what follows is less
        ((100, 0, 0, 110), 110),  # zeros that last
        ((0, 5), 5),  # nothing before it
        ((5, 0), 0),  # nothing after it
        ((5, 0, 6, 0, 7), 2),
        ((-5, 0, 7), 12),
    ],
)
def test_a_single_zero_within_a_rise_is_no_reset(values: tuple[float, ...], increase: float) -> None:
    readings = hours(A, *((0.1 * number, value) for number, value in enumerate(values)))
    series = ask(readings, "increase", "min")
    assert series.values["increase"] == [increase, None, None]
    assert series.values["min"][0] == min(values)


def test_whether_a_zero_is_a_blip_is_seen_from_the_reading_after_the_range() -> None:
    readings = hours(A, (0.5, 100), (2.9, 0), (3.5, 104))
    assert ask(readings, "increase").values["increase"] == [None, None, None]
    assert ask(readings[:-1], "increase").values["increase"] == [None, None, 0]


def test_a_rate_is_of_the_seconds_that_have_passed() -> None:
    readings = hours(A, (0.25, 0), (0.75, 36), (1.25, 72), (2.5, 100))
    series = ask(readings, "rate", start=0.5, now=1.5)
    assert series.values["rate"] == [pytest.approx(36 / 1800), pytest.approx(36 / 1800), None]


def test_exceed_counts_the_seconds_above_the_limit() -> None:
    readings = hours(A, (0, 5), (0.5, 6), (1, 5)) + hours(B, (0.25, 9), (1.5, 1))
    assert ask(readings, "exceed", limit=5).values["exceed"] == [1800 + 2700, 1800, 0]
    assert ask([], "exceed", limit=5).values["exceed"] == [None, None, None]


def test_coverage_is_of_what_devices_should_have_sent() -> None:
    readings = hours(A, *((minute / 60, 1) for minute in range(90)))
    assert ask(readings, "coverage", devices=(A,)).values["coverage"] == [1, 0.5, 0]
    assert ask(readings, "coverage").values["coverage"] == [0.5, 0.25, 0]
    assert ask(readings, "coverage", start=0.5, now=1.5, devices=(A,)).values["coverage"] == [1, 1, None]


def test_a_device_is_expected_from_when_it_was_installed() -> None:
    new = Device(1, "air_quality", "gate", 60, installed=round(1.5 * HOUR))
    series = ask(hours(new, (0.5, 1), (1.75, 1)), "coverage", devices=(new,))
    assert series.values["coverage"] == [None, 1 / 30, 0]


def test_a_device_is_expected_until_it_was_disabled() -> None:
    old = Device(1, "air_quality", "gate", 60, disabled=round(1.5 * HOUR))
    series = ask(hours(old, (0.5, 1), (1.25, 1)), "coverage", devices=(old,))
    assert series.values["coverage"] == [1 / 60, 1 / 30, None]


def test_more_than_expected_is_covered_and_no_more() -> None:
    assert ask(hours(A, *((n / 1000, 1) for n in range(900))), "coverage").values["coverage"] == [1, 0, 0]


def test_devices_of_kinds_that_do_not_measure_the_metric_are_not_expected() -> None:
    other = Device(3, "noise", "gate", 60)
    readings = hours(A, *((minute / 60, 1) for minute in range(30)))
    assert ask(readings, "coverage", devices=(A, other)).values["coverage"] == [0.5, 0, 0]


def test_groups_are_answered_apart_and_devices_that_are_not_selected_left_out() -> None:
    c = Device(3, "weather", "golden", 60)
    readings = hours(A, (0.5, 1)) + hours(B, (0.5, 2)) + hours(c, (0.5, 4))
    question = Question(("sum",), [0, HOUR], 0, HOUR, HOUR, KINDS)
    found = answer([A, B, c], readings, question, {1: "gate", 3: "golden"})
    assert {group: series.values["sum"] for group, series in found.items()} == {"gate": [1], "golden": [4]}


def test_the_largest_value_looked_at_measures_rounding() -> None:
    readings = hours(A, (-25, -9), (-24, -8), (0.5, 1), (26, -7), (27, 9))
    assert ask(readings).largest == 8
    assert ask([]).largest == 0


GAPS: Column = [None, 1, None, None, 7, None]
EDGES = [0, 1, 3, 4, 5, 7, 8]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Fill.NULL, GAPS),
        (Fill.PREVIOUS, [None, 1, 1, 1, 7, 7]),
        # The buckets begin at 1, 3, 4 and 5.
        (Fill.LINEAR, [None, 1, 4, 5.5, 7, None]),
    ],
)
def test_gaps_are_filled_from_their_neighbours(how: Fill, expected: Column) -> None:
    assert fill(GAPS, [0, 1, 0, 0, 1, 0], EDGES, how) == list(zip(EDGES[:-1], expected, strict=True))


def test_buckets_without_a_reading_can_be_left_out() -> None:
    # The second has a reading, yet not this aggregate.
    assert fill([None, None, 7, None], [0, 1, 2, 0], [0, 1, 3, 4, 5], Fill.NONE) == [(1, None), (3, 7)]


def test_a_value_that_is_carried_is_the_same_whichever_way_a_range_is_cut() -> None:
    readings = hours(A, (-5, 3), (0.3, 8), (0.9, 2), (1.7, 11))
    fine, coarse = ask(readings, "twa", edges=(0, 0.5, 1, 2)), ask(readings, "twa", edges=(0, 2))
    weights = [after - before for before, after in itertools.pairwise((0, 0.5, 1, 2))]
    parts = [weight * (value or 0) for weight, value in zip(weights, fine.values["twa"], strict=True)]
    assert coarse.values["twa"] == [pytest.approx(sum(parts) / 2)]
    assert CARRY == 24 * HOUR


AGGREGATES = (
    *("count", "sum", "avg", "min", "max", "first", "last", "stddev", "median", "p99.9"),
    *("twa", "twa_linear", "increase", "rate", "exceed", "coverage"),
)


@settings(max_examples=50)
@given(case=cases())
def test_the_cases_are_ones_that_can_be_answered(case: Case) -> None:
    edges = case.asked.edges
    assert list(edges) == sorted(set(edges))
    assert edges[0] <= case.asked.start < edges[1]
    assert edges[-2] < case.asked.end <= edges[-1]
    found = answer(case.devices, case.readings, case.question(AGGREGATES), case.groups("district", "d"))
    assert set(found) <= set(DISTRICTS)
    for series in found.values():
        for name, column in series.values.items():
            assert len(column) == len(edges) - 1
            assert all(fill(column, series.count, edges, how) is not None for how in Fill), name


@settings(max_examples=50)
@given(case=cases())
def test_what_holds_for_any_readings(case: Case) -> None:
    groups = case.groups("none", "d")
    for series in answer(case.devices, case.readings, case.question(AGGREGATES), groups).values():
        for number, count in enumerate(series.count):
            of = {name: column[number] for name, column in series.values.items()}
            if count:
                low, high = of["min"] or 0.0, of["max"] or 0.0
                inner = [of[name] or 0.0 for name in ("first", "last", "median", "p99.9", "avg")]
                assert all(low <= value <= high for value in inner)
            else:
                assert of["sum"] is of["avg"] is of["first"] is of["median"] is of["increase"] is None
            assert of["coverage"] is None or 0 <= of["coverage"] <= 1
            assert (of["twa"] is None) == (of["exceed"] is None)
