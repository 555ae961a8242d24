"""When devices read: aligned, without overlap, at the rate asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.times import SECOND
from simulators.errors import SimulatorError
from simulators.schedule import IntervalSchedule, RateSchedule, Schedule

NOW = 1_795_000_000 * SECOND


def both(schedule: Schedule, *bounds: int) -> list[tuple[int, int]]:
    """Return the readings of consecutive stretches."""
    readings: list[tuple[int, int]] = []
    for start, end in itertools.pairwise(bounds):
        rows, times = schedule.due(start, end)
        readings += zip(rows.tolist(), times.tolist(), strict=True)
    return readings


@given(
    cut=st.integers(0, 300 * SECOND),
    phases=st.lists(st.integers(0, 59_999), min_size=1, max_size=6),
)
def test_every_reading_falls_into_exactly_one_stretch(cut: int, phases: list[int]) -> None:
    phase = np.array(phases, dtype=np.int64) * 1000
    interval = np.full(len(phases), 60 * SECOND, dtype=np.int64)
    schedule = IntervalSchedule(interval, phase)
    whole = both(schedule, NOW, NOW + 300 * SECOND)
    assert sorted(both(schedule, NOW, NOW + cut, NOW + 300 * SECOND)) == sorted(whole)
    assert len(whole) == 5 * len(phases)
    assert all((time - phases[row] * 1000) % (60 * SECOND) == 0 for row, time in whole)


def test_readings_come_in_the_order_of_their_time() -> None:
    schedule = IntervalSchedule(np.array([7, 60]) * SECOND, np.array([3, 5]) * SECOND)
    _, times = schedule.due(NOW, NOW + 600 * SECOND)
    assert (np.diff(times) >= 0).all()


@given(rate=st.floats(0.2, 5000.0), devices=st.integers(5, 400), cut=st.integers(0, 4 * SECOND))
def test_a_rate_is_held_by_devices_in_turn(rate: float, devices: int, cut: int) -> None:
    schedule = RateSchedule(devices, rate)
    whole = both(schedule, NOW, NOW + 4 * SECOND)
    assert both(schedule, NOW, NOW + cut, NOW + 4 * SECOND) == whole
    assert abs(len(whole) - 4 * rate) <= rate / 1000 + 2
    assert len(set(whole)) == len(whole)
    rows = [row for row, _ in whole]
    assert all((later - earlier) % devices == 1 % devices for earlier, later in itertools.pairwise(rows))


def test_a_rate_that_would_need_two_readings_of_a_device_at_one_time_is_refused() -> None:
    with pytest.raises(SimulatorError, match="at most 2000"):
        RateSchedule(2, 2001)
