"""Times on the wire: every form means the same moment."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.times import (
    SECOND,
    format_timestamp,
    from_microseconds,
    parse_duration,
    parse_timestamp,
    to_microseconds,
    unix_to_microseconds,
)

NEW_YEAR = 1_767_225_600_000_000
THIS_CENTURY = st.integers(946_684_800, 4_102_444_800)


@pytest.mark.parametrize(
    "value",
    [
        1_767_225_600,
        1_767_225_600.0,
        1_767_225_600_000,
        1_767_225_600_000_000,
        1_767_225_600_000_000_000,
        "2026-01-01T00:00:00Z",
        "2026-01-01T05:00:00+05:00",
        "2026-01-01T00:00:00.000000+00:00",
    ],
)
def test_every_form_of_the_same_moment_is_the_same(value: str | float) -> None:
    assert parse_timestamp(value) == NEW_YEAR


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("yesterday", "send 2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00", "append Z"),
        ("", "RFC 3339"),
        (float("nan"), "Unix seconds"),
        (float("inf"), "Unix seconds"),
        (True, "Unix seconds"),
        (1e300, "Unix seconds"),
    ],
)
def test_unreadable_time_says_what_would_be_right(value: str | float, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_timestamp(value)


@given(THIS_CENTURY, st.sampled_from([1, 1000, 1_000_000]))
def test_the_unit_of_a_unix_time_is_told_by_its_size(seconds: int, per_second: int) -> None:
    assert parse_timestamp(seconds * per_second) == seconds * SECOND
    assert unix_to_microseconds(np.array([float(seconds * per_second)]))[0] == seconds * SECOND


@given(st.lists(st.floats(-1e18, 1e18), min_size=1))
def test_vectors_of_times_agree_with_single_ones(values: list[float]) -> None:
    together = unix_to_microseconds(np.array(values))
    assert all(abs(int(a) - parse_timestamp(b)) <= 1 for a, b in zip(together, values, strict=True))


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_formatting_and_parsing_are_inverse(moment: dt.datetime) -> None:
    microseconds = to_microseconds(moment)
    assert parse_timestamp(format_timestamp(microseconds)) == microseconds
    assert from_microseconds(microseconds) == moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT1S", 1), ("PT5M", 300), ("-PT6H", -21_600), ("P1D", 86_400), ("P1W", 604_800), ("P1DT12H", 129_600)],
)
def test_durations_of_fixed_length_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "P", "PT", "1h", "P1M", "P1Y", "PT1H ", "P1DT", "pt1h"])
def test_other_durations_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write PT5M"):
        parse_duration(text)
