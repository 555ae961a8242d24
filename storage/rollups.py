"""Rollup rows as columns: read whole, replaced whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.sketch import Sketches
from sensors.states import States
from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.copy import copy_stream
from storage.copy_sparse import Fixed, Ragged, encode_sparse
from storage.kinds import Connection
from storage.rollup_tables import (
    NUMBERS,
    SCHEMA,
    TIMES,
    Level,
    Tier,
    rollup_name,
    rollup_table,
    state_columns,
)

# Rows that are encoded at once: memory is some kilobytes a row of ten metrics.
_ROWS = 50_000


@dataclasses.dataclass(frozen=True, slots=True)
class Rollup:
    """Rows of one table: ``device`` int32 (n,), ``bucket`` int64 (n,) Unix µs, states of each metric (n,).

    Of a district's rows ``device`` is the number of the district and of what is simulated: ``2 * place + simulated``.
    """

    device: npt.NDArray[np.int32]
    bucket: npt.NDArray[np.int64]
    metrics: dict[str, States]

    def __len__(self) -> int:
        return len(self.bucket)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Rollup:
        """Return the chosen rows."""
        metrics = {name: states.take(chosen) for name, states in self.metrics.items()}
        return Rollup(self.device[chosen], self.bucket[chosen], metrics)


async def read_rollup(
    connection: Connection,
    kind: Kind,
    tier: Tier,
    start: int,
    stop: int,
    devices: Sequence[int] | None = None,
    districts: Sequence[str] | None = None,
) -> Rollup:
    """Return the rows of buckets that begin from ``start`` to before ``stop`` (Unix µs), by device and bucket.

    Of ``devices``, or all; with ``districts``, all districts in their order, the rows of districts. Two statements:
    the transaction has to be of one snapshot.
    """
    level = Level.DEVICE if districts is None else Level.DISTRICT
    key = (
        "device_id"
        if districts is None
        else "2 * (array_position($3::text[], district) - 1) + simulated::int"
    )
    where = f"""
        FROM {rollup_table(kind, tier, level)} WHERE bucket >= $1::timestamptz AND bucket < $2::timestamptz
              AND {"($3::int[] IS NULL OR device_id = ANY($3))" if districts is None else "district = ANY($3)"}
    """
    arguments = [
        from_microseconds(start),
        from_microseconds(stop),
        devices if districts is None else districts,
    ]
    order = ", ".join((*(("device_id",) if districts is None else ("district", "simulated")), "bucket"))
    selected, types, sketches = [f"({key})::int4", "bucket"], ["int4", "timestamptz"], []
    for metric in kind.columns:
        selected += _states_selected(metric)
        types += ["int4", *["float8"] * len(NUMBERS), *["timestamptz"] * len(TIMES), "int4"]
        sketches.append(f"COALESCE(string_agg(\"{metric}_sketch\", ''::bytea ORDER BY {order}), '')")
    device, bucket, *columns = await read_columns(
        connection, f"SELECT {', '.join(selected)} {where} ORDER BY {order}", arguments, types
    )
    data = await connection.fetchrow(f"SELECT {', '.join(sketches)} {where}", *arguments)
    if data is None:
        raise RuntimeError("an aggregate without groups has a row")
    width = len(columns) // len(kind.columns)
    return Rollup(
        device,
        bucket,
        {
            metric: _states(columns[place * width : (place + 1) * width], data[place])
            for place, metric in enumerate(kind.columns)
        },
    )


def _states_selected(metric: str) -> list[str]:
    return [
        f'COALESCE("{metric}_count", 0)',
        *(f'COALESCE("{metric}_{name}", 0)' for name in NUMBERS),
        *(f"COALESCE(\"{metric}_{name}\", 'epoch')" for name in TIMES),
        f'COALESCE(octet_length("{metric}_sketch"), 0)',
    ]


def _states(columns: Sequence[npt.NDArray[Any]], sketches: bytes) -> States:
    count, total, m2, least, most, first, last, first_at, last_at, lengths = columns
    return States(
        count=count.astype(np.int64),
        sum=total,
        m2=m2,
        min=least,
        max=most,
        first=first,
        first_at=first_at,
        last=last,
        last_at=last_at,
        sketch=Sketches.from_bytes(lengths.astype(np.int64), sketches),
    )


async def write_rollup(
    connection: Connection, kind: Kind, tier: Tier, rollup: Rollup, districts: Sequence[str] | None = None
) -> None:
    """Add rows, for which there is room: whoever replaces has deleted."""
    level = Level.DEVICE if districts is None else Level.DISTRICT
    for first in range(0, len(rollup), _ROWS):
        part = slice(first, min(first + _ROWS, len(rollup)))
        rows = part.stop - first
        columns: list[Fixed | Ragged] = [*_keys(rollup, part, districts)]
        for metric in kind.columns:
            columns += _columns(rollup.metrics[metric], part)
        names = [name for metric in kind.columns for name, _ in state_columns(metric)]
        keys = ["device_id"] if districts is None else ["district", "simulated"]
        await connection.copy_to_table(
            rollup_name(kind, tier, level),
            schema_name=SCHEMA,
            columns=[*keys, "bucket", *names],
            source=copy_stream(iter([encode_sparse(columns, rows)])),
            format="binary",
        )


def _keys(rollup: Rollup, part: slice, districts: Sequence[str] | None) -> list[Fixed | Ragged]:
    device, bucket = rollup.device[part], ("timestamptz", rollup.bucket[part])
    if districts is None:
        return [Fixed([("int4", device), bucket])]
    names = [districts[number // 2].encode() for number in device.tolist()]
    return [
        Ragged(np.array([len(name) for name in names], np.int64), b"".join(names)),
        Fixed([("bool", device % 2 == 1), bucket]),
    ]


def _columns(states: States, part: slice) -> list[Fixed | Ragged]:
    count = states.count[part]
    present = count > 0
    numbers = [("float8", getattr(states, name)[part]) for name in NUMBERS]
    times = [("timestamptz", getattr(states, name)[part]) for name in TIMES]
    offsets = states.sketch.offsets[part.start : part.stop + 1]
    sketch = Sketches(
        offsets - offsets[0],
        states.sketch.keys[offsets[0] : offsets[-1]],
        states.sketch.counts[offsets[0] : offsets[-1]],
    )
    lengths, data = sketch.to_bytes()
    return [Fixed([("int4", count), *numbers, *times], present), Ragged(lengths, data, present)]
