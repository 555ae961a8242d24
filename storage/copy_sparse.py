"""Binary COPY of rows whose length varies: NULLs here and there, and texts of bytes.

Sibling of ``storage/copy.py``, whose rows are all of one length. Each field is scattered to its place in the stream
at once for all rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.copy import to_postgres_time

Bytes = npt.NDArray[np.uint8]
_NULL = np.frombuffer(b"\xff\xff\xff\xff", np.uint8)  # the length -1


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    """Neighbouring columns of one length that are NULL together: in the rows that are not ``present`` (n,).

    ``columns`` are (type, values): int4, int8, float8, timestamptz (Unix µs), bool; each of shape (n,).
    """

    columns: Sequence[tuple[str, npt.NDArray[Any]]]
    present: npt.NDArray[np.bool_] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Ragged:
    """One column of bytes: ``lengths`` (n,), and the bytes of all rows one behind the other."""

    lengths: npt.NDArray[np.int64]
    data: bytes
    present: npt.NDArray[np.bool_] | None = None


_WIRE = {"int4": ">i4", "int8": ">i8", "float8": ">f8", "timestamptz": ">i8", "bool": "?"}


def encode_sparse(columns: Sequence[Fixed | Ragged], rows: int) -> bytes:
    """Return rows as the body of a binary COPY, without signature and trailer."""
    parts = [_fixed(column) if isinstance(column, Fixed) else _ragged(column) for column in columns]
    fields = sum(len(column.columns) if isinstance(column, Fixed) else 1 for column in columns)
    sizes = [_sizes(part, rows) for part in parts]
    row = np.full(rows, 2, np.int64)
    for size in sizes:
        row += size
    start = np.append(0, np.cumsum(row))
    stream = np.empty(start[-1], np.uint8)
    at = start[:-1]
    _scatter(stream, at, np.broadcast_to(np.frombuffer(fields.to_bytes(2), np.uint8), (rows, 2)))
    at = at + 2
    for part, size in zip(parts, sizes, strict=True):
        part.write(stream, at)
        at = at + size
    return stream.tobytes()


def _scatter(stream: Bytes, at: npt.NDArray[np.int64], block: Bytes) -> None:
    stream[at[:, None] + np.arange(block.shape[1])] = block


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of one or more fields: ``block`` (present rows, width), and ``tail`` behind it, one run a present row."""

    present: npt.NDArray[np.bool_] | None
    absent: Bytes  # what stands in the other rows
    block: Bytes
    lengths: npt.NDArray[np.int64] | None = None
    tail: bytes = b""

    def write(self, stream: Bytes, at: npt.NDArray[np.int64]) -> None:
        if self.present is not None:
            empty = at[~self.present]
            _scatter(stream, empty, np.broadcast_to(self.absent, (len(empty), len(self.absent))))
            at = at[self.present]
        _scatter(stream, at, self.block)
        if self.lengths is not None:
            before = np.cumsum(self.lengths) - self.lengths
            shift = np.repeat(at + self.block.shape[1] - before, self.lengths)
            stream[shift + np.arange(len(shift))] = np.frombuffer(self.tail, np.uint8)


def _sizes(part: _Part, rows: int) -> npt.NDArray[np.int64]:
    sizes = np.full(rows, len(part.absent), np.int64)
    full = part.block.shape[1] + (0 if part.lengths is None else part.lengths)
    sizes[slice(None) if part.present is None else part.present] = full
    return sizes


def _fixed(column: Fixed) -> _Part:
    layout = []
    for number, (type_, _) in enumerate(column.columns):
        layout += [(f"size{number}", ">i4"), (f"value{number}", _WIRE[type_])]
    some = slice(None) if column.present is None else column.present
    body = np.empty(len(column.columns[0][1][some]), np.dtype(layout))
    for number, (type_, values) in enumerate(column.columns):
        body[f"size{number}"] = np.dtype(_WIRE[type_]).itemsize
        chosen = values[some]
        body[f"value{number}"] = to_postgres_time(chosen) if type_ == "timestamptz" else chosen
    block = body.view(np.uint8).reshape(len(body), body.dtype.itemsize)
    return _Part(column.present, np.tile(_NULL, len(column.columns)), block)


def _ragged(column: Ragged) -> _Part:
    some = slice(None) if column.present is None else column.present
    lengths = column.lengths[some]
    block = lengths.astype(">i4").view(np.uint8).reshape(len(lengths), 4)
    return _Part(column.present, _NULL, block, lengths, column.data)
