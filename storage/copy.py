"""PostgreSQL's binary COPY format, built by numpy: whole columns at once, no Python object for a value.

Source of the format: PostgreSQL 17 documentation, COPY, "Binary Format", and the send functions of the types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.readings import ReadingBatch

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
# PostgreSQL counts from 2000-01-01.
_POSTGRES_EPOCH = 946_684_800_000_000
# What timestamptz sends for '-infinity'.
BEGINNING_OF_TIME = np.iinfo(np.int64).min
_OID = {"timestamptz": 1184, "float8": 701}


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of a COPY: ``type`` is int4, timestamptz, float8 or an array of the last two.

    ``data`` has shape (n,), or (n, length) for an array; timestamps are Unix µs or BEGINNING_OF_TIME;
    ``data`` None makes every row NULL.
    """

    name: str
    type: str
    data: npt.NDArray[Any] | None


def to_postgres_time(unix: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return PostgreSQL's microseconds of Unix microseconds; BEGINNING_OF_TIME stays what it is."""
    return np.where(unix == BEGINNING_OF_TIME, unix, unix - _POSTGRES_EPOCH)


def _wire_type(column: Column) -> list[Any]:
    """Return the packed big-endian fields of one column: length, array header, values."""
    if column.data is None:
        return [("size", ">i4")]
    scalar = {"int4": ">i4", "timestamptz": ">i8", "float8": ">f8"}[column.type.removesuffix("[]")]
    if not column.type.endswith("[]"):
        return [("size", ">i4"), ("value", scalar)]
    element = np.dtype([("size", ">i4"), ("value", scalar)])
    header = [(name, ">i4") for name in ("dimensions", "has_null", "oid", "length", "lower_bound")]
    return [("size", ">i4"), *header, ("elements", element, (column.data.shape[1],))]


def _fill(target: npt.NDArray[Any], column: Column) -> None:
    if column.data is None:
        target["size"] = -1
        return
    data = to_postgres_time(column.data) if column.type.startswith("timestamptz") else column.data
    target["size"] = target.dtype.itemsize - 4
    if not column.type.endswith("[]"):
        target["value"] = data
        return
    target["dimensions"] = 1
    target["has_null"] = 0
    target["oid"] = _OID[column.type.removesuffix("[]")]
    target["length"] = data.shape[1]
    target["lower_bound"] = 1
    target["elements"]["size"] = 8
    target["elements"]["value"] = data


def encode_rows(columns: Sequence[Column], rows: int) -> bytes:
    """Return the rows as the body of a binary COPY, without signature and trailer."""
    fields = [(str(number), np.dtype(_wire_type(column))) for number, column in enumerate(columns)]
    body = np.empty(rows, dtype=np.dtype([("fields", ">i2"), *fields]))
    body["fields"] = len(columns)
    for number, column in enumerate(columns):
        _fill(body[str(number)], column)
    return body.tobytes()


async def copy_stream(bodies: Iterator[bytes]) -> Any:
    """Yield a whole COPY stream of encoded bodies, as asyncpg takes it."""
    yield _SIGNATURE
    for body in bodies:
        yield body
    yield _TRAILER


def reading_columns(batch: ReadingBatch) -> list[str]:
    """Return the columns of a kind's table, in the order that ``encode_readings`` writes them."""
    return ["time", "received_at", "device_id", *batch.kind.columns]


def encode_readings(batch: ReadingBatch) -> Iterator[bytes]:
    """Yield a batch, not empty, as COPY bodies: one for each set of absent metrics, each sorted as the batch is.

    A row's layout depends on which of its values are NULL, so rows of one layout are built together.
    """
    absent = np.isnan(batch.values)
    # Rows of equal layout have equal bytes here; comparing these is much cheaper than rows of booleans.
    packed = np.packbits(absent, axis=1)
    layout_of = packed.view(f"S{packed.shape[1]}").ravel()
    if (layout_of == layout_of[0]).all():
        yield _encode_layout(batch, absent[0])
        return
    _, first, number_of = np.unique(layout_of, return_index=True, return_inverse=True)
    for number, row in enumerate(first):
        yield _encode_layout(batch.take(number_of == number), absent[row])


def _encode_layout(batch: ReadingBatch, absent: npt.NDArray[np.bool_]) -> bytes:
    metrics = [
        Column(name, "float8", None if absent[number] else batch.values[:, number])
        for number, name in enumerate(batch.kind.columns)
    ]
    return encode_rows(
        [
            Column("time", "timestamptz", batch.time),
            Column("received_at", "timestamptz", batch.received),
            Column("device_id", "int4", batch.device),
            *metrics,
        ],
        len(batch),
    )
