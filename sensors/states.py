"""Partial states: what is kept of a group of values, so that groups can be put together later.

Sums of squares are kept as deviations from the group's own mean, which neither cancels nor overflows. Source: Chan,
Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sensors.sketch import Sketches

_Scalar = TypeVar("_Scalar", bound=np.generic)
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class States:
    """The states of groups of values of one metric, each array of shape (groups,).

    ``m2`` is the sum of squared deviations from the mean. ``first`` and ``last`` are by time, at equal times by the
    number of the device; ``first_at`` and ``last_at`` are Unix µs. Where ``count`` is 0 the rest means nothing.
    """

    count: Integers
    sum: Floats
    m2: Floats
    min: Floats
    max: Floats
    first: Floats
    first_at: Integers
    last: Floats
    last_at: Integers
    sketch: Sketches

    def __len__(self) -> int:
        return len(self.count)

    def take(self, chosen: npt.NDArray[np.bool_]) -> States:
        """Return the states of the chosen groups."""
        place = np.cumsum(chosen) - 1
        group = self.sketch.group_of_bins()
        kept = chosen[group]
        bins = self.sketch.keys[kept], self.sketch.counts[kept]
        sketch = Sketches.gather(place[group[kept]], *bins, int(chosen.sum()))
        numbers = {
            f.name: getattr(self, f.name)[chosen] for f in dataclasses.fields(self) if f.name != "sketch"
        }
        return States(**numbers, sketch=sketch)


class _Runs:
    """Runs of equal numbers in a rising array of groups, and what is reduced of each, spread over all groups."""

    def __init__(self, group: Integers, groups: int) -> None:
        self.first = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(group) else group
        self.last = np.append(self.first[1:], len(group)) - 1 if len(group) else group
        self.sizes = self.last - self.first + 1
        self._filled = group[self.first]
        self._groups = groups

    def spread(self, part: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        whole = np.zeros(self._groups, part.dtype)
        whole[self._filled] = part
        return whole

    def reduce(self, function: np.ufunc, values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        if not len(values):
            return values
        reduced: npt.NDArray[_Scalar] = function.reduceat(values, self.first)
        return reduced


def of_values(group: Integers, time: Integers, values: Floats, groups: int) -> States:
    """Return the states of values, NaN where absent, in rising order of group; within one, of time and device."""
    present = ~np.isnan(values)
    group, time, values = group[present], time[present], values[present]
    runs = _Runs(group, groups)
    total = runs.reduce(np.add, values)
    deviation = values - np.repeat(total / runs.sizes, runs.sizes)
    return States(
        count=runs.spread(runs.sizes),
        sum=runs.spread(total),
        m2=runs.spread(runs.reduce(np.add, deviation * deviation)),
        min=runs.spread(runs.reduce(np.minimum, values)),
        max=runs.spread(runs.reduce(np.maximum, values)),
        first=runs.spread(values[runs.first]),
        first_at=runs.spread(time[runs.first]),
        last=runs.spread(values[runs.last]),
        last_at=runs.spread(time[runs.last]),
        sketch=Sketches.of_values(group, values, groups),
    )


def merge(states: States, target: Integers, groups: int, device: npt.NDArray[np.int32]) -> States:
    """Return the states of ``groups`` groups, each put together of those whose ``target`` (n,) it is; ``device``
    (n,) decides which is first of those at the same time."""
    some = np.flatnonzero(states.count)
    by_first = some[np.lexsort((device[some], states.first_at[some], target[some]))]
    by_last = some[np.lexsort((device[some], states.last_at[some], target[some]))]
    runs = _Runs(target[by_first], groups)
    count, total = states.count[by_first], states.sum[by_first]
    counts, totals = runs.reduce(np.add, count), runs.reduce(np.add, total)
    apart = total / count - np.repeat(totals / counts, runs.sizes)
    first, last = by_first[runs.first], by_last[runs.last]
    return States(
        count=runs.spread(counts),
        sum=runs.spread(totals),
        m2=runs.spread(runs.reduce(np.add, states.m2[by_first] + count * apart * apart)),
        min=runs.spread(runs.reduce(np.minimum, states.min[by_first])),
        max=runs.spread(runs.reduce(np.maximum, states.max[by_first])),
        first=runs.spread(states.first[first]),
        first_at=runs.spread(states.first_at[first]),
        last=runs.spread(states.last[last]),
        last_at=runs.spread(states.last_at[last]),
        sketch=states.sketch.merge(target, groups),
    )
