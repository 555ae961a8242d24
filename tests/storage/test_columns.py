from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from storage.columns import read_columns
from storage.database import connect
from tests.conftest import Database


async def test_columns_are_read_as_numpy_arrays_of_their_types(database: Database) -> None:
    connection = await connect(database.api_url, application="test")
    try:
        numbers, values, times = await read_columns(
            connection,
            """
            SELECT n::int4, n / 2.0::float8, $1::timestamptz + n * interval '1 day'
            FROM generate_series(0, 2) AS n
            """,
            [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
            ["int4", "float8", "timestamptz"],
        )
    finally:
        await connection.close()
    assert numbers.tolist() == [0, 1, 2]
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert times.astype("datetime64[us]").astype(str).tolist() == [
        "2024-01-01T00:00:00.000000",
        "2024-01-02T00:00:00.000000",
        "2024-01-03T00:00:00.000000",
    ]
    assert numbers.dtype == np.int32
    assert times.dtype == np.int64


async def test_no_rows_are_columns_of_no_length(database: Database) -> None:
    connection = await connect(database.api_url, application="test")
    try:
        (column,) = await read_columns(connection, "SELECT 1::int8 WHERE false", [], ["int8"])
    finally:
        await connection.close()
    assert column.shape == (0,)


@pytest.mark.parametrize("query", ["SELECT NULL::int8", "SELECT NULL::int8 FROM generate_series(1, 9)"])
async def test_a_null_is_refused_because_it_shifts_what_follows(database: Database, query: str) -> None:
    connection = await connect(database.api_url, application="test")
    try:
        with pytest.raises(ValueError, match="COALESCE"):
            await read_columns(connection, query, [], ["int8"])
    finally:
        await connection.close()
