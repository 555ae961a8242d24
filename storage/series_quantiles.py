"""Quantiles: from sketches, within their error; or exact, from the readings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.sketch import GAMMA, KEY_SHIFT, Sketches
from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection
from storage.series_plan import Arguments, Groups, Plan
from storage.series_query import SeriesQuery
from storage.series_states import source

# The bin of a value, as ``sensors.sketch.keys_of`` has it: the database counts, so that no reading is sent. Its
# logarithm may fall to the other side of the edge between two bins, by less than a billionth of the value.
_KEY = f"""
    (sign(v) * CASE WHEN abs(v) < {GAMMA ** (2 - KEY_SHIFT):.17g} THEN 0
     ELSE least(ceil(ln(abs(v)) / {math.log(GAMMA):.17g}), {KEY_SHIFT - 2}) + {KEY_SHIFT} END)::int4
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Quantiles:
    """Where there are any of a metric: ``group`` int32 and ``bucket`` int64 (n,), ``values`` by quantile."""

    group: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.int64]
    values: dict[float, npt.NDArray[np.float64]]


async def read_quantiles(connection: Connection, query: SeriesQuery, plan: Plan) -> list[Quantiles]:
    """Return the quantiles of each metric, in the order of ``query.metrics``."""
    read = _read_exact if query.exact else _read_sketches
    return [await read(connection, query, plan, metric) for metric in query.metrics]


@dataclasses.dataclass(frozen=True, slots=True)
class _Bins:
    """Bins of cells: ``group``, ``bucket``, ``key``, ``count``, each (n,)."""

    group: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.int64]
    key: npt.NDArray[np.int16]
    count: npt.NDArray[np.int64]


async def _read_sketches(connection: Connection, query: SeriesQuery, plan: Plan, metric: str) -> Quantiles:
    found = [await _bins_of_readings(connection, query, plan, metric)]
    found.append(await _bins_of_rollups(connection, query, plan, metric))
    group, bucket, key, count = (
        np.concatenate([getattr(bins, name) for bins in found])
        for name in ("group", "bucket", "key", "count")
    )
    buckets = len(query.boundaries)
    cells, cell = np.unique(group.astype(np.int64) * buckets + bucket, return_inverse=True)
    sketches = Sketches.gather(cell.astype(np.int64), key, count, len(cells))
    return Quantiles(
        (cells // buckets).astype(np.int32),
        cells % buckets,
        {quantile: sketches.quantile(quantile) for quantile in query.quantiles},
    )


async def _bins_of_readings(connection: Connection, query: SeriesQuery, plan: Plan, metric: str) -> _Bins:
    values = _values(query, plan, metric)
    if values is None:
        empty = np.empty(0, np.int64)
        return _Bins(empty.astype(np.int32), empty, empty.astype(np.int16), empty)
    rows, arguments = values
    group, bucket, key, count = await read_columns(
        connection,
        f"SELECT g, b, {_KEY} AS key, count(*) FROM ({rows}) AS reading GROUP BY 1, 2, 3",
        arguments,
        ["int4", "int4", "int4", "int8"],
    )
    return _Bins(group, bucket.astype(np.int64) - 1, key.astype(np.int16), count)


async def _bins_of_rollups(connection: Connection, query: SeriesQuery, plan: Plan, metric: str) -> _Bins:
    arguments = Arguments()
    edges = arguments.add([from_microseconds(edge) for edge in query.boundaries[:-1]], "timestamptz[]")
    groups = Groups(query, plan.districts, arguments)
    branches = []
    for part in plan.parts:
        if part.level is not None and metric in part.kind.index:
            number = groups.number(part.kind, "r") if part.level == "district" else "device.g"
            branches.append(
                f"""
                SELECT {number} AS g, width_bucket(r.bucket, {edges}) AS b, r."{metric}_sketch" AS sketch
                FROM {source(query, part, groups, arguments)}
                """
            )
    if not branches:
        empty = np.empty(0, np.int64)
        return _Bins(empty.astype(np.int32), empty, empty.astype(np.int16), empty)
    rows = await connection.fetch(
        f"""
        SELECT g, b, string_agg(sketch, ''::bytea) AS sketches FROM ({" UNION ALL ".join(branches)}) AS part
        WHERE sketch IS NOT NULL GROUP BY g, b
        """,
        *arguments.values,
    )
    sketches = Sketches.from_bytes(
        np.array([len(row["sketches"]) for row in rows], np.int64),
        b"".join([row["sketches"] for row in rows]),
    )
    cell = sketches.group_of_bins()
    group = np.array([row["g"] for row in rows], np.int32)
    bucket = np.array([row["b"] for row in rows], np.int64) - 1
    return _Bins(group[cell], bucket[cell], sketches.keys, sketches.counts)


async def _read_exact(connection: Connection, query: SeriesQuery, plan: Plan, metric: str) -> Quantiles:
    values = _values(query, plan, metric)
    if values is None:
        return Quantiles(
            np.empty(0, np.int32), np.empty(0, np.int64), dict.fromkeys(query.quantiles, np.empty(0))
        )
    rows, arguments = values
    chosen = "".join(
        f", percentile_cont({float(quantile)!r}) WITHIN GROUP (ORDER BY v)" for quantile in query.quantiles
    )
    group, bucket, *found = await read_columns(
        connection,
        f"SELECT g, b{chosen} FROM ({rows}) AS reading GROUP BY g, b",
        arguments,
        ["int4", "int4", *["float8"] * len(query.quantiles)],
    )
    return Quantiles(group, bucket.astype(np.int64) - 1, dict(zip(query.quantiles, found, strict=True)))


def _values(query: SeriesQuery, plan: Plan, metric: str) -> tuple[str, list[Any]] | None:
    """Return SQL of each value ``v`` that is read from readings, with its group and bucket; None if none is."""
    arguments = Arguments()
    edges = arguments.add(query.begins, "timestamptz[]")
    groups = Groups(query, plan.districts, arguments)
    branches = [
        f"""
        SELECT device.g, width_bucket(r.time, {edges}) AS b, r."{metric}" AS v
        FROM {source(query, part, groups, arguments)} AND r."{metric}" IS NOT NULL
        """
        for part in plan.parts
        if part.level is None and metric in part.kind.index
    ]
    return (" UNION ALL ".join(branches), arguments.values) if branches else None
