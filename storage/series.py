"""Aggregates over buckets of time, from the raw rows of every kind that measures a metric."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection, table
from storage.selection import Selection, condition


class Aggregate(enum.StrEnum):
    """What is computed of the values of a bucket."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"


class GroupBy(enum.StrEnum):
    """What each series is of."""

    NONE = "none"
    DISTRICT = "district"
    KIND = "kind"
    DEVICE = "device"


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesQuery:
    """What to aggregate: rows from ``start`` to before ``end`` between rising ``boundaries``, all Unix µs.

    The first boundary is not after ``start``. ``kinds`` are those to read, each with a metric of ``metrics``.
    """

    metrics: tuple[str, ...]
    aggregates: frozenset[Aggregate]
    start: int
    end: int
    boundaries: Sequence[int]
    group_by: GroupBy
    kinds: tuple[Kind, ...]
    selection: Selection


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One metric of one group; arrays of shape (buckets,), NaN where a bucket has no value.

    ``count`` int64 counts values, not rows. ``group`` is None when nothing was grouped by.
    """

    group: str | None
    metric: str
    count: npt.NDArray[np.int64]
    values: dict[Aggregate, npt.NDArray[np.float64]]


# What one kind's partial aggregate of a metric needs, and how the partials of several kinds become one. NULL
# must stay NULL until the end: a NaN would win every sum and maximum.
_PARTIALS = {Aggregate.SUM: "sum", Aggregate.MIN: "min", Aggregate.MAX: "max"}


async def read_series(connection: Connection, query: SeriesQuery) -> list[Series]:
    """Return the series of every group that has a value in the range, by group and metric.

    Memory is groups × buckets × metrics × 40 bytes: bound that before.
    """
    partials = _partials(query.aggregates)
    types = ["int4", "int4"] + ["int8", *["float8"] * len(partials)] * len(query.metrics)
    # One snapshot, so that no device is in a district that was not there a moment before.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        districts = [
            name for (name,) in await connection.fetch("SELECT name FROM alatau.district ORDER BY 1")
        ]
        statement, arguments = _statement(query, partials, districts)
        group, bucket, *columns = await read_columns(connection, statement, arguments, types)
        numbers, place = np.unique(group, return_inverse=True)
        name = await _group_names(connection, query, districts, numbers)
    series = []
    shape = (len(numbers), len(query.boundaries) - 1)
    width = 1 + len(partials)
    # width_bucket counts from one.
    cell = (place, bucket - 1)
    for position, metric in enumerate(query.metrics):
        count, *states = columns[position * width : (position + 1) * width]
        counts = _dense(shape, cell, count, 0)
        dense = [_dense(shape, cell, state, np.nan) for state in states]
        for row in np.flatnonzero(counts.any(axis=1)):
            state = {kind: values[row] for kind, values in zip(partials, dense, strict=True)}
            series.append(Series(name(int(row)), metric, counts[row], _finish(counts[row], state, query)))
    return sorted(series, key=lambda one: (one.group or "", query.metrics.index(one.metric)))


def _partials(aggregates: frozenset[Aggregate]) -> list[Aggregate]:
    needed = {Aggregate.SUM if one is Aggregate.AVG else one for one in aggregates}
    return [one for one in _PARTIALS if one in needed]


def _dense(
    shape: tuple[int, int], cell: tuple[Any, Any], values: npt.NDArray[Any], empty: float
) -> npt.NDArray[Any]:
    result = np.full(shape, empty, dtype=values.dtype)
    result[cell] = values
    return result


def _finish(
    count: npt.NDArray[np.int64], state: dict[Aggregate, npt.NDArray[np.float64]], query: SeriesQuery
) -> dict[Aggregate, npt.NDArray[np.float64]]:
    values = dict(state)
    if Aggregate.AVG in query.aggregates:
        values[Aggregate.AVG] = state[Aggregate.SUM] / np.where(count == 0, 1, count)
    return {one: values[one] for one in Aggregate if one in query.aggregates and one in values}


def _statement(
    query: SeriesQuery, partials: Sequence[Aggregate], districts: Sequence[str]
) -> tuple[str, list[Any]]:
    arguments = [
        from_microseconds(query.start),
        from_microseconds(query.end),
        [from_microseconds(boundary) for boundary in query.boundaries[:-1]],
        [kind.name for kind in query.kinds],
    ]
    if query.group_by is GroupBy.DISTRICT:
        arguments.append(districts)
    selected, values = condition(query.selection, len(arguments) + 1)
    branches = [_branch(query, kind, partials, number, selected) for number, kind in enumerate(query.kinds)]
    merged = [
        f"sum(n{m})::int8" + "".join(f", COALESCE({_PARTIALS[p]}({p}{m}), 'NaN')" for p in partials)
        for m in range(len(query.metrics))
    ]
    statement = f"""
        SELECT g, b, {", ".join(merged)} FROM ({" UNION ALL ".join(branches)}) AS partial GROUP BY g, b
    """
    return statement, [*arguments, *values]


def _branch(query: SeriesQuery, kind: Kind, partials: Sequence[Aggregate], number: int, selected: str) -> str:
    group = {
        GroupBy.NONE: "0",
        GroupBy.KIND: str(number),
        GroupBy.DISTRICT: "array_position($5::text[], district) - 1",
        GroupBy.DEVICE: "device_id",
    }[query.group_by]
    states = []
    for m, metric in enumerate(query.metrics):
        has = metric in kind.index
        states.append(f'count(r."{metric}") AS n{m}' if has else f"0::int8 AS n{m}")
        states += [
            f'{_PARTIALS[p]}(r."{metric}") AS {p}{m}' if has else f"NULL::float8 AS {p}{m}" for p in partials
        ]
    # OFFSET 0 keeps the planner from moving the group's expression from each device to each row.
    return f"""
        SELECT device.g, width_bucket(r.time, $3::timestamptz[]) AS b, {", ".join(states)}
        FROM {table(kind)} AS r
        JOIN (SELECT device_id, {group} AS g FROM alatau.device
              WHERE kind = ($4::text[])[{number + 1}] AND {selected} OFFSET 0) AS device USING (device_id)
        WHERE r.time >= $1 AND r.time < $2
        GROUP BY 1, 2
    """


async def _group_names(
    connection: Connection, query: SeriesQuery, districts: Sequence[str], numbers: npt.NDArray[np.int32]
) -> Callable[[int], str | None]:
    """Return the name of a group by its row in ``numbers``."""
    if query.group_by is GroupBy.NONE:
        return lambda row: None
    if query.group_by is GroupBy.DEVICE:
        rows = await connection.fetch(
            "SELECT device_id, id FROM alatau.device WHERE device_id = ANY($1::int[])", numbers.tolist()
        )
        ids = {row["device_id"]: row["id"] for row in rows}
        return lambda row: ids[int(numbers[row])]
    names = districts if query.group_by is GroupBy.DISTRICT else [kind.name for kind in query.kinds]
    return lambda row: names[int(numbers[row])]
