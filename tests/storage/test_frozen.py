"""Frozen sensors, against a plain walk over the readings."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.catalogue import Catalogue
from sensors.kinds import Behaviour, Metric
from storage.frozen import FROZEN_READINGS, Run, longest_runs, should_vary

METRIC = Metric("temperature", "Temperature", "Cel", minimum=-60, maximum=60, resolution=0.1)
# (device, value, how often): few values, so that runs meet; NaN is an absent one.
stretches = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([math.nan, -60.0, 60.0, 1.0, 2.0]),
        st.sampled_from([1, 20, FROZEN_READINGS - 1, FROZEN_READINGS, FROZEN_READINGS + 1]),
    ),
    max_size=12,
)


def by_walking(rows: list[tuple[int, float]]) -> dict[int, Run]:
    longest: dict[int, Run] = {}
    present = [(row, place, value) for row, (place, value) in enumerate(rows) if not math.isnan(value)]
    for (place, value), group in itertools.groupby(present, key=lambda row: row[1:]):
        run = [row for row, _, _ in group]
        before = longest[place].length if place in longest else 0
        if abs(value) < 60 and len(run) >= FROZEN_READINGS and len(run) > before:
            longest[place] = Run(place, run[0], run[-1], len(run))
    return longest


@given(given=stretches)
def test_the_longest_run_of_each_device_is_found(given: list[tuple[int, float, int]]) -> None:
    ordered = sorted(given, key=lambda stretch: stretch[0])
    rows = [(place, value) for place, value, times in ordered for _ in range(times)]
    places = np.array([place for place, _ in rows], np.intp)
    runs = longest_runs(places, np.array([value for _, value in rows], np.float64), METRIC)
    assert {run.place: run for run in runs} == by_walking(rows)
    assert len(runs) == len({run.place for run in runs})


@pytest.mark.parametrize(
    ("behaviour", "resolution", "varies"),
    [
        (Behaviour.GAUGE, 0.1, True),
        (Behaviour.GAUGE, 1.0, False),
        (Behaviour.COUNTER, 0.1, False),
        (Behaviour.STATE, 0.1, False),
    ],
)
def test_only_a_gauge_of_many_steps_should_vary(
    behaviour: Behaviour, resolution: float, varies: bool
) -> None:
    assert should_vary(Metric("m", "M", "1", 0, 100, resolution, behaviour)) == varies


def test_the_meters_and_switches_of_the_city_may_stand_still(catalogue: Catalogue) -> None:
    varying = {metric.name for kind in catalogue.kinds for metric in kind.metrics if should_vary(metric)}
    assert {"pm2_5", "temperature", "laeq", "voltage"} <= varying
    assert not {"energy", "vehicles", "switched_on", "dimming", "battery"} & varying
