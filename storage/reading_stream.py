"""Raw readings of many devices of one kind, streamed in columns, device by device."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import from_microseconds, to_microseconds
from storage.columns import stream_columns
from storage.kinds import SCHEMA, Connection, table
from storage.readings import Order
from storage.selection import Devices


@dataclasses.dataclass(frozen=True, slots=True)
class Extract:
    """Readings of ``devices``, all of one kind, from ``start`` to before ``end``, Unix µs."""

    kind: Kind
    devices: Devices
    start: int
    end: int
    order: Order = Order.ASC


@dataclasses.dataclass(frozen=True, slots=True)
class ExtractBatch:
    """Some readings: ``device`` int32 (n,) is the place in the extract's devices; the rest as in Readings."""

    device: npt.NDArray[np.int32]
    time: npt.NDArray[np.int64]
    received: npt.NDArray[np.int64]
    values: Sequence[npt.NDArray[np.float64]]


async def stream_readings(
    connection: Connection, extract: Extract, limit: int
) -> AsyncGenerator[ExtractBatch, None]:
    """Yield at most ``limit`` readings in the order of (device, time). Closing it early cancels the query."""
    kind = extract.kind
    metrics = "".join(f", COALESCE(r.\"{name}\", 'NaN')" for name in kind.columns)
    # Device by device on the unique index: rows come at once, in order, and nothing is sorted.
    query = f"""
        SELECT (d.place - 1)::int4, r.time, r.received_at{metrics}
        FROM unnest($1::int[]) WITH ORDINALITY AS d (device_id, place)
        CROSS JOIN LATERAL (
            SELECT * FROM {table(kind)} AS one
            WHERE one.device_id = d.device_id AND one.time >= $2::timestamptz AND one.time < $3::timestamptz
            ORDER BY one.time {extract.order.value}) AS r
        LIMIT $4::bigint
    """
    arguments: list[Any] = [
        extract.devices.device_id.tolist(),
        from_microseconds(extract.start),
        from_microseconds(extract.end),
        limit,
    ]
    types = ["int4", "timestamptz", "timestamptz", *["float8"] * len(kind.columns)]
    batches = stream_columns(connection, query, arguments, types)
    try:
        async for device, time, received, *values in batches:
            yield ExtractBatch(device, time, received, values)
    finally:
        await batches.aclose()


async def count_readings(connection: Connection, extract: Extract, limit: int) -> int:
    """Return how many readings an extract has, but at most ``limit``."""
    return int(
        await connection.fetchval(
            f"""
            SELECT count(*) FROM (
                SELECT FROM {table(extract.kind)}
                WHERE device_id = ANY($1::int[]) AND time >= $2::timestamptz AND time < $3::timestamptz
                LIMIT $4::bigint) AS counted
            """,
            extract.devices.device_id.tolist(),
            from_microseconds(extract.start),
            from_microseconds(extract.end),
            limit,
        )
    )


async def estimate_readings(connection: Connection, extract: Extract, now: int) -> int:
    """Return about how many readings an extract has, by its devices' intervals; nothing is read for it."""
    oldest: dt.datetime | None = await connection.fetchval(
        """
        SELECT min(range_start) FROM timescaledb_information.chunks
        WHERE hypertable_schema = $1 AND hypertable_name = $2
        """,
        SCHEMA,
        extract.kind.name,
    )
    if oldest is None:
        return 0
    seconds = (min(extract.end, now) - max(extract.start, to_microseconds(oldest))) / 1e6
    return round(float(np.sum(max(seconds, 0) / extract.devices.interval_seconds)))
