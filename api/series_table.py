"""Series as a table: a row for each bucket of each group and metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from api.series_request import SeriesRequest
from api.series_shape import Shaped
from api.tables import Batch, Column, Table, Type, in_memory, repeat
from storage.series_query import GroupBy


def series_table(shaped: Sequence[Shaped], edges: Sequence[int], asked: SeriesRequest) -> Table:
    """Return what is answered as a table; the unit of a column is that of the metric, if there is only one."""
    units = {one.unit for one in shaped}
    unit = units.pop() if len(units) == 1 else None
    grouped = asked.group_by is not GroupBy.NONE
    columns = (
        *([Column(asked.group_by.value, Type.LABEL)] if grouped else []),
        Column("metric", Type.LABEL),
        Column("unit", Type.LABEL),
        Column("start", Type.TIME),
        Column("end", Type.TIME),
        Column("count", Type.INTEGER),
        Column("coverage", Type.NUMBER, "1"),
        *(Column(name, Type.NUMBER, unit_of(name, unit)) for name in asked.names),
    )
    return Table("series", columns, in_memory(_batches(shaped, edges, grouped=grouped)))


def unit_of(name: str, unit: str | None) -> str | None:
    """Return the unit of an aggregate of values of a unit."""
    if name == "exceed":
        return "s"
    return f"{unit}/s" if name == "rate" and unit is not None else unit


def _batches(shaped: Sequence[Shaped], edges: Sequence[int], *, grouped: bool) -> Iterator[Batch]:
    bounds = np.array(edges, np.int64)
    for one in shaped:
        rows = len(one.places)
        yield [
            *([repeat(one.group, rows)] if grouped else []),
            repeat(one.metric, rows),
            repeat(one.unit, rows),
            bounds[one.places],
            bounds[one.places + 1],
            one.count,
            one.coverage,
            *one.values.values(),
        ]
