"""The binary COPY format, byte by byte against PostgreSQL's own description of it."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sensors.catalogue import builtin_file
from sensors.readings import ReadingBatch
from storage.copy import BEGINNING_OF_TIME, Column, encode_readings, encode_rows

NOISE = next(kind for kind in builtin_file("kinds").kind if kind.name == "noise")
EPOCH_2000 = 946_684_800_000_000
Decoded = list[list[bytes | None]]


def decode(body: bytes) -> Decoded:
    """Read rows as PostgreSQL does: a count of fields, then a length and so many bytes each."""
    rows: Decoded = []
    position = 0
    while position < len(body):
        (count,) = struct.unpack_from(">h", body, position)
        position += 2
        row: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", body, position)
            position += 4
            row.append(None if size < 0 else body[position : position + size])
            position += max(size, 0)
        rows.append(row)
    return rows


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 30), st.just(3)),
        elements=st.one_of(st.just(np.nan), st.floats(allow_nan=False)),
    )
)
def test_every_reading_is_in_the_stream_with_null_for_what_is_absent(values: np.ndarray) -> None:
    rows = len(values)
    time = np.arange(rows, dtype=np.int64) * 1_000_000 + EPOCH_2000
    batch = ReadingBatch(NOISE, np.arange(rows, dtype=np.int32), time, time + 7, values)
    decoded = [row for body in encode_readings(batch) for row in decode(body)]
    assert len(decoded) == rows
    for stamp, received, device, *metrics in decoded:
        assert device is not None
        assert stamp is not None
        assert received is not None
        number = struct.unpack(">i", device)[0]
        assert struct.unpack(">q", stamp)[0] == number * 1_000_000
        assert struct.unpack(">q", received)[0] == number * 1_000_000 + 7
        expected = [None if np.isnan(value) else struct.pack(">d", value) for value in values[number]]
        assert metrics == expected


def test_arrays_have_postgresql_s_header() -> None:
    times = Column("times", "timestamptz[]", np.array([[EPOCH_2000, BEGINNING_OF_TIME]]))
    ((field,),) = decode(encode_rows([times], 1))
    assert field is not None
    assert struct.unpack(">iiiiiiqiq", field) == (1, 0, 1184, 2, 1, 8, 0, 8, -(2**63))
