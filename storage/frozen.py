"""Sensors that go on sending and no longer measure: one value, over and over."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from sensors.kinds import Behaviour, Metric

# A gauge of more steps than this (percents stand still: dimming, batteries) that shows the same value this often
# in a row is frozen.
FROZEN_STEPS = 100
FROZEN_READINGS = 60


def should_vary(metric: Metric) -> bool:
    """Return whether a run of one value of the metric tells of a fault."""
    steps = (metric.maximum - metric.minimum) / metric.resolution
    return metric.behaviour is Behaviour.GAUGE and steps > FROZEN_STEPS


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Rows ``first`` to ``last`` of one place, ``length`` of them with the same value."""

    place: int
    first: int
    last: int
    length: int


def longest_runs(place: npt.NDArray[np.intp], values: npt.NDArray[np.float64], metric: Metric) -> list[Run]:
    """Return of each place that is frozen the longest run.

    Rows are in the order of places and times; absent values (NaN) neither end a run nor count. A value at
    either end of the metric's range is at rest, as solar radiation is at night, and not frozen.
    """
    present = np.flatnonzero(~np.isnan(values))
    where, value = place[present], values[present]
    changes = (where[1:] != where[:-1]) | (value[1:] != value[:-1])
    begins = np.flatnonzero(np.append(len(value) > 0, changes))
    ends = np.append(begins[1:], len(value))[: len(begins)]
    is_long = ends - begins >= FROZEN_READINGS
    longest: dict[int, Run] = {}
    for begin, end in zip(begins[is_long].tolist(), ends[is_long].tolist(), strict=True):
        run = Run(int(where[begin]), int(present[begin]), int(present[end - 1]), end - begin)
        is_at_rest = not metric.minimum < value[begin] < metric.maximum
        if not is_at_rest and (run.place not in longest or run.length > longest[run.place].length):
            longest[run.place] = run
    return list(longest.values())
