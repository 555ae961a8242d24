"""Raw readings of one device, page by page."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection, table


class Order(enum.StrEnum):
    """In which order of time."""

    ASC = "asc"
    DESC = "desc"


@dataclasses.dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one device: ``time`` and ``received`` int64 (n,) in Unix µs, ``values`` (n,) by metric,
    NaN where absent."""

    time: npt.NDArray[np.int64]
    received: npt.NDArray[np.int64]
    values: dict[str, npt.NDArray[np.float64]]


async def read_readings(
    connection: Connection, kind: Kind, device_id: int, start: int, end: int, *, order: Order, limit: int
) -> Readings:
    """Return at most ``limit`` readings of one device from ``start`` to before ``end``, Unix µs.

    A device has one reading at a time, so the time of the last is the keyset of the next page.
    """
    metrics = "".join(f", COALESCE(\"{name}\", 'NaN')" for name in kind.columns)
    time, received, *values = await read_columns(
        connection,
        f"""
        SELECT time, received_at{metrics} FROM {table(kind)}
        WHERE device_id = $1::int AND time >= $2::timestamptz AND time < $3::timestamptz
        ORDER BY time {order.value} LIMIT $4::bigint
        """,
        [device_id, from_microseconds(start), from_microseconds(end), limit],
        ["timestamptz", "timestamptz", *["float8"] * len(kind.columns)],
    )
    return Readings(time, received, dict(zip(kind.columns, values, strict=True)))
