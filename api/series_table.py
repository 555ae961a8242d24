"""Series as a table: a row for each bucket of each group and metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from api.series_request import SeriesRequest
from api.series_shape import Shaped
from api.tables import Batch, Column, Labels, Table, Type, in_memory, repeat
from storage.series_query import GroupBy


def series_table(shaped: Sequence[Shaped], edges: Sequence[int], asked: SeriesRequest) -> Table:
    """Return what is answered as a table; the unit of a column is that of the metric, if there is only one."""
    units = {one.unit for one in shaped}
    unit = units.pop() if len(units) == 1 else None
    return Table(
        "series", series_columns(asked.group_by, asked.names, unit), in_memory(_batches(shaped, edges))
    )


def series_columns(group_by: GroupBy, names: Iterable[str], unit: str | None) -> tuple[Column, ...]:
    """Return the columns of buckets of groups; ``names`` are of aggregates beside the count."""
    return (
        *label_columns(group_by),
        Column("start", Type.TIME),
        Column("end", Type.TIME),
        Column("count", Type.INTEGER),
        Column("coverage", Type.NUMBER, "1"),
        *(Column(name, Type.NUMBER, unit_of(name, unit)) for name in names),
    )


def label_columns(group_by: GroupBy) -> tuple[Column, ...]:
    """Return the columns that say what a row is of: the group, if there are groups, the metric and its unit."""
    grouped = () if group_by is GroupBy.NONE else (group_by.value,)
    return tuple(Column(name, Type.LABEL) for name in (*grouped, "metric", "unit"))


def labels(group: str | None, metric: str, unit: str, rows: int) -> list[Labels]:
    """Return the arrays of ``label_columns`` for some rows of one group, None if there are no groups."""
    grouped = () if group is None else (group,)
    return [repeat(text, rows) for text in (*grouped, metric, unit)]


def unit_of(name: str, unit: str | None) -> str | None:
    """Return the unit of an aggregate of values of a unit."""
    if name == "exceed":
        return "s"
    return f"{unit}/s" if name == "rate" and unit is not None else unit


def _batches(shaped: Sequence[Shaped], edges: Sequence[int]) -> Iterator[Batch]:
    bounds = np.array(edges, np.int64)
    for one in shaped:
        yield [
            *labels(one.group, one.metric, one.unit, len(one.places)),
            bounds[one.places],
            bounds[one.places + 1],
            one.count,
            one.coverage,
            *one.values.values(),
        ]
