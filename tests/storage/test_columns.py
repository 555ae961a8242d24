from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest

from storage.columns import places_of, read_columns, stream_columns
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


# -- streamed ---------------------------------------------------------------------------------------

_ROWS = """
    SELECT n::int4, n / 2.0::float8, 'epoch'::timestamptz + n * interval '1 s'
    FROM (SELECT generate_series(1, $1::int) AS n) AS numbers
"""
_TYPES = ["int4", "float8", "timestamptz"]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database.api_url, application="test")
    yield connection
    await connection.close()


@pytest.mark.parametrize("rows", [0, 1, 999, 1000, 1001, 50_000])
async def test_batches_together_are_what_is_read_at_once(connection: asyncpg.Connection, rows: int) -> None:
    whole = await read_columns(connection, _ROWS, [rows], _TYPES)
    batches = [batch async for batch in stream_columns(connection, _ROWS, [rows], _TYPES, batch_rows=1000)]
    assert len(batches) <= rows // 1000 + 1
    for number, column in enumerate(whole):
        parts = [batch[number] for batch in batches]
        assert np.concatenate([column[:0], *parts]).tolist() == column.tolist()


async def test_a_stream_that_is_closed_early_leaves_its_connection_usable(
    connection: asyncpg.Connection,
) -> None:
    for _ in range(5):
        async with contextlib.aclosing(stream_columns(connection, _ROWS, [100_000_000], _TYPES)) as stream:
            numbers, *_rest = await anext(stream)
            assert numbers[0] == 1
        assert await connection.fetchval("SELECT 42") == 42


async def test_a_stream_whose_reader_is_cancelled_leaves_its_connection_usable(
    connection: asyncpg.Connection,
) -> None:
    async def read() -> None:
        async with (
            connection.transaction(),
            contextlib.aclosing(
                stream_columns(connection, "SELECT 1::int4 FROM pg_sleep(60)", [], ["int4"])
            ) as stream,
        ):
            async for _ in stream:
                pass

    task = asyncio.create_task(read(), name="test.read")
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await connection.fetchval("SELECT 42") == 42


@pytest.mark.parametrize("rows", [10, 20_000])
async def test_a_reader_may_be_cancelled_at_any_moment(connection: asyncpg.Connection, rows: int) -> None:
    async def read() -> None:
        async with (
            connection.transaction(),
            contextlib.aclosing(stream_columns(connection, _ROWS, [rows], _TYPES, batch_rows=1000)) as stream,
        ):
            async for _ in stream:
                pass

    for turns in range(100):
        task = asyncio.create_task(read(), name="test.read")
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=10)
        assert done, f"cancelled after {turns} turns of the loop, it does not end"
        async with asyncio.timeout(10):
            # As a pool does: who was cancelled while a transaction began or ended may have left it.
            await connection.reset()
            assert await connection.fetchval("SELECT 42") == 42


async def test_the_database_s_errors_leave_a_stream_as_they_are(connection: asyncpg.Connection) -> None:
    query = "SELECT (1 / (500000 - n))::int4 FROM (SELECT generate_series(1, 1000000) AS n) AS numbers"
    with pytest.raises(asyncpg.DivisionByZeroError):
        async for _ in stream_columns(connection, query, [], ["int4"]):
            pass
    assert await connection.fetchval("SELECT 42") == 42


@pytest.mark.parametrize("query", ["SELECT NULL::int8", "SELECT NULL::int8 FROM generate_series(1, 900000)"])
async def test_a_null_in_a_stream_is_refused(connection: asyncpg.Connection, query: str) -> None:
    with pytest.raises(ValueError, match="COALESCE"):
        async for _ in stream_columns(connection, query, [], ["int8"], batch_rows=1000):
            pass


@pytest.mark.servers
async def test_a_reader_that_is_cancelled_at_any_moment_leaves_its_connection_usable(
    database: Database,
) -> None:
    connection = await connect(database.owner_url, application="test")
    try:
        for seconds in (0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.15):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await read_columns(
                        connection, "SELECT n::int8 FROM generate_series(1, 3000000) AS n", [], ["int8"]
                    )
            assert await connection.fetchval("SELECT 7") == 7
    finally:
        await connection.close()


def test_places_are_found_in_any_order_and_of_nothing_none() -> None:
    known = np.array([7, 3, 9])
    assert places_of(known, np.array([9, 3, 8, 7, 10, 0])).tolist() == [2, 1, -1, 0, -1, -1]
    assert places_of(known[:0], np.array([7])).tolist() == [-1]
    assert places_of(known, known[:0]).tolist() == []
