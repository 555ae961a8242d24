"""Aggregates over buckets of time, from the rollups and readings of every kind that measures a metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.kinds import Connection
from storage.selection import Members
from storage.series_groups import read_groups
from storage.series_plan import make_plan
from storage.series_quantiles import Quantiles, read_quantiles
from storage.series_query import OF_READINGS, Aggregate, Answer, Series, SeriesQuery
from storage.series_readings import Followed, read_followed
from storage.series_states import Cells, read_states

Floats = npt.NDArray[np.float64]
# By the name of the state that it is, or is made of.
_STATES = {
    Aggregate.SUM: "s",
    Aggregate.AVG: "s",
    Aggregate.MIN: "l",
    Aggregate.MAX: "h",
    Aggregate.FIRST: "f",
    Aggregate.LAST: "e",
    Aggregate.STDDEV: "q",
}


async def read_series(
    connection: Connection, query: SeriesQuery, members: Sequence[Members] | None = None
) -> list[Series]:
    """Return the series of every group that has a value in the range, by group and metric."""
    return (await answer_series(connection, query, members)).series


async def answer_series(
    connection: Connection, query: SeriesQuery, members: Sequence[Members] | None = None
) -> Answer:
    """Return the series of every group that has a value in the range, and where they came from.

    ``members`` are what ``count_members`` said of the same selection and start; else it is asked. Memory is groups ×
    buckets × metrics × aggregates × 16 bytes: bound that before. Raises TooManyReadingsError.
    """
    # One snapshot: what is clean stays so, and no device is in a district that was not there a moment before.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        plan = await make_plan(connection, query)
        states = await read_states(connection, query, plan)
        quantiles = await read_quantiles(connection, query, plan) if query.quantiles else []
        followed = await read_followed(connection, query, plan) if query.aggregates & OF_READINGS else []
        found = [states.group, *[one.numbers for one in followed]]
        grid = _Grid(np.unique(np.concatenate(found)), len(query.boundaries) - 1)
        groups = await read_groups(connection, query, plan.districts, grid.numbers, members)
    expected = groups.expected(query, grid.numbers)
    series: list[Series] = []
    for place, metric in enumerate(query.metrics):
        of_metric = _Metric(
            grid,
            states.column(place),
            quantiles[place] if quantiles else None,
            followed[place] if followed else None,
            query,
        )
        series += of_metric.series(metric, groups.name_of, expected[metric])
    series.sort(key=lambda one: (one.group or "", query.metrics.index(one.metric)))
    return Answer(series, plan.sources, plan.gone)


@dataclasses.dataclass(frozen=True, slots=True)
class _Grid:
    """The cells of an answer: ``numbers`` of its groups, rising, by its buckets."""

    numbers: npt.NDArray[np.int32]
    buckets: int

    def dense(
        self,
        group: npt.NDArray[np.int32],
        bucket: npt.NDArray[np.int64],
        values: npt.NDArray[Any],
        empty: float,
    ) -> npt.NDArray[Any]:
        """Return values in their cells, shape (groups, buckets)."""
        cells = np.full((len(self.numbers), self.buckets), empty, dtype=values.dtype)
        cells[np.searchsorted(self.numbers, group), bucket] = values
        return cells


class _Metric:
    """What was read of one metric, in the cells of the answer."""

    def __init__(
        self,
        grid: _Grid,
        states: Cells,
        quantiles: Quantiles | None,
        followed: Followed | None,
        query: SeriesQuery,
    ) -> None:
        self._grid = grid
        self.count: npt.NDArray[np.int64] = grid.dense(states.group, states.bucket, states.columns["n"], 0)
        self.values: dict[Aggregate, Floats] = {}
        self.quantiles: dict[float, Floats] = {}
        for aggregate in Aggregate:
            if aggregate in query.aggregates and aggregate in _STATES:
                self.values[aggregate] = self._of_state(states, aggregate)
        if quantiles is not None:
            for quantile, values in quantiles.values.items():
                self.quantiles[quantile] = grid.dense(quantiles.group, quantiles.bucket, values, np.nan)
        if followed is not None:
            rows = np.searchsorted(grid.numbers, followed.numbers)
            for aggregate, values in followed.values.items():
                self.values[aggregate] = np.full(self.count.shape, np.nan)
                self.values[aggregate][rows] = values

    def _of_state(self, states: Cells, aggregate: Aggregate) -> Floats:
        values = self._grid.dense(states.group, states.bucket, states.columns[_STATES[aggregate]], np.nan)
        if aggregate is Aggregate.AVG:
            return np.asarray(values / np.maximum(self.count, 1))
        if aggregate is Aggregate.STDDEV:
            # Of a sample: of a single value there is none.
            return np.asarray(
                np.sqrt(np.maximum(values, 0) / np.where(self.count > 1, self.count - 1, np.nan))
            )
        return np.asarray(values)

    def series(self, metric: str, name_of: Callable[[int], str | None], expected: Floats) -> Iterator[Series]:
        """Yield the series of each group that has any value."""
        present = self.count.any(axis=1)
        for values in self.values.values():
            present |= ~np.isnan(values).all(axis=1)
        for row in np.flatnonzero(present).tolist():
            yield Series(
                name_of(int(self._grid.numbers[row])),
                metric,
                self.count[row],
                {aggregate: values[row] for aggregate, values in self.values.items()},
                expected[row],
                {quantile: values[row] for quantile, values in self.quantiles.items()},
            )
