"""Aggregates that states can be put together for: one statement over readings and rollups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection, table
from storage.rollup_marks import TIME_OF, Ranges
from storage.rollup_tables import Level, rollup_table
from storage.series_plan import Arguments, Groups, Part, Plan
from storage.series_query import Aggregate, SeriesQuery


@dataclasses.dataclass(frozen=True, slots=True)
class _State:
    """One partial state of a metric: of readings ``{r}``, of a row of rollups with the columns ``{c}…``, and how
    several become one ``{n}``. NULL must stay NULL until the end: a NaN would win every sum and maximum."""

    name: str
    of_readings: str
    of_rollup: str
    merged: str
    type: str = "float8"


_COUNT = _State("n", "count({r})", 'COALESCE("{c}_count", 0)', "sum({n})::int8", "int8")
_SUM = _State("s", "sum({r})", '"{c}_sum"', "sum({n})")
_MIN = _State("l", "min({r})", '"{c}_min"', "min({n})")
_MAX = _State("h", "max({r})", '"{c}_max"', "max({n})")
_M2 = _State("q", "var_pop({r}) * count({r})", '"{c}_m2"', "sum({n} + n{m} * (s{m} / n{m} - mean{m}) ^ 2)")
_FIRST = _State(
    "f", "first({r}, {at}) FILTER (WHERE {r} IS NOT NULL)", '"{c}_first"', "first({n}, (fa{m}, fd{m}))"
)
_LAST = _State(
    "e", "last({r}, {at}) FILTER (WHERE {r} IS NOT NULL)", '"{c}_last"', "last({n}, (ea{m}, ed{m}))"
)
# By what the first and the last are found; not part of the answer.
_PLACES = {
    "f": (
        ("fa", "min(r.time) FILTER (WHERE {r} IS NOT NULL)", '"{c}_first_at"'),
        ("fd", "first(r.device_id, {at}) FILTER (WHERE {r} IS NOT NULL)", "r.device_id"),
    ),
    "e": (
        ("ea", "max(r.time) FILTER (WHERE {r} IS NOT NULL)", '"{c}_last_at"'),
        ("ed", "last(r.device_id, {at}) FILTER (WHERE {r} IS NOT NULL)", "r.device_id"),
    ),
}
_AT = "(r.time, r.device_id)"
_TYPES = {"int4": np.int32, "int8": np.int64, "float8": np.float64}
_NEEDED = {
    Aggregate.AVG: (_SUM,),
    Aggregate.SUM: (_SUM,),
    Aggregate.MIN: (_MIN,),
    Aggregate.MAX: (_MAX,),
    Aggregate.STDDEV: (_SUM, _M2),
    Aggregate.FIRST: (_FIRST,),
    Aggregate.LAST: (_LAST,),
}
_NULLS = {
    "n": "0::int8",
    "fa": "NULL::timestamptz",
    "ea": "NULL::timestamptz",
    "fd": "NULL::int",
    "ed": "NULL::int",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """States of a metric where there are any: ``group`` int32 and ``bucket`` int64 (n,), ``columns`` by name."""

    group: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class States:
    """The same of all metrics."""

    group: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.int64]
    names: Sequence[str]
    columns: Sequence[npt.NDArray[Any]]

    def column(self, place: int) -> Cells:
        """Return the states of the metric at a place."""
        width = len(self.names)
        columns = self.columns[place * width : (place + 1) * width]
        return Cells(self.group, self.bucket, dict(zip(self.names, columns, strict=True)))


def _states(query: SeriesQuery) -> list[_State]:
    needed = [state for aggregate in query.aggregates for state in _NEEDED.get(aggregate, ())]
    return [_COUNT, *sorted(set(needed), key=lambda state: state.name)]


async def read_states(connection: Connection, query: SeriesQuery, plan: Plan) -> States:
    """Return the states of each group and bucket, of each metric of ``query.metrics``."""
    states = _states(query)
    types = ["int4", "int4"] + [state.type for state in states] * len(query.metrics)
    if not plan.parts:
        # Of their own types: an integer can't say that there is no value.
        group, bucket, *columns = [np.empty(0, _TYPES[type_]) for type_ in types]
    else:
        statement, arguments = _statement(query, plan, states)
        group, bucket, *columns = await read_columns(connection, statement, arguments, types)
    # width_bucket counts from one.
    return States(group, bucket.astype(np.int64) - 1, [state.name for state in states], columns)


def _statement(query: SeriesQuery, plan: Plan, states: Sequence[_State]) -> tuple[str, list[Any]]:
    arguments = Arguments()
    edges = arguments.add(query.begins, "timestamptz[]")
    groups = Groups(query, plan.districts, arguments)
    branches = [branch(query, part, groups, arguments, _Selected(states), edges) for part in plan.parts]
    partial = " UNION ALL ".join(branches)
    if _M2 in states:
        means = ", ".join(
            f"sum(s{m}) OVER cell / NULLIF(sum(n{m}) OVER cell, 0) AS mean{m}"
            for m in range(len(query.metrics))
        )
        partial = f"SELECT *, {means} FROM ({partial}) AS part WINDOW cell AS (PARTITION BY g, b)"
    merged = []
    for m in range(len(query.metrics)):
        for state in states:
            value = state.merged.format(n=f"{state.name}{m}", m=m)
            filled = f"{value} FILTER (WHERE n{m} > 0)" if state is not _COUNT else value
            merged.append(filled if state is _COUNT else f"COALESCE({filled}, 'NaN')")
    return f"SELECT g, b, {', '.join(merged)} FROM ({partial}) AS partial GROUP BY g, b", arguments.values


@dataclasses.dataclass(frozen=True, slots=True)
class _Selected:
    """What a branch selects of each metric."""

    states: Sequence[_State]

    def columns(self, query: SeriesQuery, part: Part) -> list[str]:
        selected = []
        for m, metric in enumerate(query.metrics):
            has = metric in part.kind.index
            for name, of_readings, of_rollup in self._each():
                pattern = of_readings if part.level is None else of_rollup
                value = pattern.format(r=f'r."{metric}"', c=metric, at=_AT)
                selected.append(f"{value if has else _NULLS.get(name, 'NULL::float8')} AS {name}{m}")
        return selected

    def _each(self) -> list[tuple[str, str, str]]:
        every = []
        for state in self.states:
            every += [(state.name, state.of_readings, state.of_rollup), *_PLACES.get(state.name, ())]
        return every


def branch(
    query: SeriesQuery, part: Part, groups: Groups, arguments: Arguments, selected: _Selected, edges: str
) -> str:
    """Return one part's SELECT of group, bucket and what is selected of each metric."""
    columns = ", ".join(selected.columns(query, part))
    if part.level is None:
        return f"""
            SELECT device.g, width_bucket(r.time, {edges}) AS b, {columns}
            FROM {source(query, part, groups, arguments)} GROUP BY 1, 2
        """
    number = groups.number(part.kind, "r") if part.level is Level.DISTRICT else "device.g"
    return f"""
        SELECT {number} AS g, width_bucket(r.bucket, {edges}) AS b, {columns}
        FROM {source(query, part, groups, arguments)}
    """


def source(query: SeriesQuery, part: Part, groups: Groups, arguments: Arguments) -> str:
    """Return one part's FROM and WHERE: rows ``r``, joined to ``device`` with its group ``g`` unless they are of
    districts."""
    time = "time" if part.level is None else "bucket"
    within = (
        f"r.{time} >= {arguments.add(from_microseconds(part.segment.start), 'timestamptz')} "
        f"AND r.{time} < {arguments.add(from_microseconds(part.segment.stop), 'timestamptz')}"
    )
    name = table(part.kind)
    if part.level is not None and part.segment.tier is not None:
        name = rollup_table(part.kind, part.segment.tier, part.level)
    if part.level is Level.DISTRICT:
        return f"{name} AS r WHERE {within}{_of_districts(query, arguments)}"
    # OFFSET 0 keeps the planner from moving the group's expression from each device to each row.
    devices = f"""
        (SELECT device_id, {groups.number(part.kind, "device")} AS g FROM alatau.device
         WHERE kind = {arguments.add(part.kind.name, "text")} AND {arguments.select(query.selection)}
         OFFSET 0) AS device
    """
    joined = f"{name} AS r JOIN {devices} USING (device_id)"
    if part.only is not None:
        joined += f" JOIN {_ranges(part.only, arguments, 'chosen')} ON {_inside('chosen', time)}"
    if part.without is not None:
        within += f""" AND NOT EXISTS (
            SELECT FROM {_ranges(part.without, arguments, "changed")} WHERE {_inside("changed", time)})"""
    return f"{joined} WHERE {within}"


def _of_districts(query: SeriesQuery, arguments: Arguments) -> str:
    text = ""
    if query.selection.districts:
        text += f" AND r.district = ANY({arguments.add(query.selection.districts, 'text[]')})"
    if query.selection.simulated is not None:
        text += f" AND r.simulated = {arguments.add(query.selection.simulated, 'boolean')}"
    return text


def _ranges(ranges: Ranges, arguments: Arguments, name: str) -> str:
    device = arguments.add(ranges.device.tolist(), "int[]")
    start, stop = (arguments.add(values.tolist(), "bigint[]") for values in (ranges.start, ranges.stop))
    return f"""
        (SELECT device_id, {TIME_OF.format("start")} AS start, {TIME_OF.format("stop")} AS stop
         FROM unnest({device}, {start}, {stop}) AS range (device_id, start, stop) OFFSET 0) AS {name}
    """


def _inside(name: str, time: str) -> str:
    return f"{name}.device_id = r.device_id AND r.{time} >= {name}.start AND r.{time} < {name}.stop"
