"""Tables in every format: the same columns, the same values."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from api.formats import Format
from api.tables import Batch, Column, Labels, Table, Type, encode, in_memory, repeat

COLUMNS = (
    Column("device", Type.LABEL),
    Column("note", Type.TEXT),
    Column("longitude", Type.NUMBER, "deg"),
    Column("latitude", Type.NUMBER, "deg"),
    Column("time", Type.TIME),
    Column("count", Type.INTEGER),
    Column("pm2_5", Type.NUMBER, "ug/m3"),
    Column("stale", Type.FLAG),
)
TIME = 1_768_478_400_000_000  # 2026-01-15T12:00:00Z
BATCHES: tuple[Batch, ...] = (
    [
        Labels(np.array([0, 1], np.int32), ["air-1", "air-2"]),
        ['has "quotes", and a comma', None],
        np.array([77.0, np.nan]),
        np.array([43.48, np.nan]),
        np.array([TIME, TIME + 143_000]),
        np.array([1, 2]),
        np.array([12.5, np.nan]),
        [True, None],
    ],
    [
        repeat("air-3", 1),
        ["ә"],
        np.array([77.1]),
        np.array([43.5]),
        np.array([TIME]),
        np.array([3]),
        np.array([0.0]),
        np.array([False]),
    ],
)
ROWS = [
    ("air-1", 'has "quotes", and a comma', 77.0, 43.48, "2026-01-15T12:00:00.000000Z", 1, 12.5, True),
    ("air-2", None, None, None, "2026-01-15T12:00:00.143000Z", 2, None, None),
    ("air-3", "ә", 77.1, 43.5, "2026-01-15T12:00:00.000000Z", 3, 0.0, False),
]


def table(*batches: Batch) -> Table:
    return Table("test", COLUMNS, in_memory(batches), ("longitude", "latitude"))


async def written(format_: Format, *batches: Batch) -> bytes:
    return b"".join([piece async for piece in encode(table(*batches), format_)])


def _from_arrow(read: pa.Table) -> list[tuple[Any, ...]]:
    rows = [tuple(row.values()) for row in read.to_pylist()]
    return [tuple(_as_text(value) for value in row) for row in rows]


def _as_text(value: Any) -> Any:
    if not isinstance(value, dt.datetime):
        return value
    assert value.utcoffset() == dt.timedelta(0)
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}"


def read_parquet(content: bytes) -> list[tuple[Any, ...]]:
    return _from_arrow(pa.parquet.read_table(io.BytesIO(content)))


def read_arrow(content: bytes) -> list[tuple[Any, ...]]:
    return _from_arrow(pa.ipc.open_stream(content).read_all())


def read_ndjson(content: bytes) -> list[tuple[Any, ...]]:
    return [tuple(json.loads(line).values()) for line in content.splitlines()]


def read_csv(content: bytes) -> list[tuple[Any, ...]]:
    header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
    assert header == [column.name for column in COLUMNS]
    of_text: list[Callable[[str], Any]] = [
        str,
        str,
        float,
        float,
        str,
        int,
        float,
        lambda word: word == "true",
    ]
    return [
        tuple(None if word == "" else read(word) for read, word in zip(of_text, line, strict=True))
        for line in lines
    ]


READERS: dict[Format, Callable[[bytes], list[tuple[Any, ...]]]] = {
    Format.PARQUET: read_parquet,
    Format.ARROW: read_arrow,
    Format.NDJSON: read_ndjson,
    Format.CSV: read_csv,
}


@pytest.mark.parametrize("format_", READERS)
async def test_every_format_has_the_same_rows(format_: Format) -> None:
    assert READERS[format_](await written(format_, *BATCHES)) == ROWS


@pytest.mark.parametrize("format_", READERS)
async def test_a_table_without_rows_is_still_one(format_: Format) -> None:
    assert READERS[format_](await written(format_)) == []


@pytest.mark.parametrize("format_", [Format.PARQUET, Format.ARROW])
async def test_units_and_types_are_in_the_schema(format_: Format) -> None:
    content = await written(format_, *BATCHES)
    schema = (
        pa.parquet.read_schema(io.BytesIO(content))
        if format_ is Format.PARQUET
        else pa.ipc.open_stream(content).schema
    )
    assert schema.field("pm2_5").metadata[b"unit"] == b"ug/m3"
    assert b"unit" not in (schema.field("count").metadata or {})
    assert schema.field("time").type == pa.timestamp("us", "UTC")
    assert schema.names == [column.name for column in COLUMNS]


async def test_small_batches_are_written_as_one_group() -> None:
    content = await written(Format.PARQUET, *BATCHES * 50)
    read = pa.parquet.ParquetFile(io.BytesIO(content))
    assert read.metadata.num_row_groups == 1
    assert read_parquet(content) == ROWS * 50


async def test_large_batches_leave_at_once() -> None:
    rows = 100_000
    numbers = np.zeros(rows)
    whole = np.zeros(rows, np.int64)
    texts = [repeat("air-1", rows), repeat(None, rows)]
    values: Batch = [*texts, numbers, numbers, whole, whole, numbers, np.zeros(rows, bool)]
    pieces = [piece async for piece in encode(table(values, values), Format.ARROW)]
    assert len(pieces) == 3
    assert pa.ipc.open_stream(b"".join(pieces)).read_all().num_rows == 2 * rows


async def test_places_are_points_or_nowhere() -> None:
    collection = json.loads(await written(Format.GEOJSON, *BATCHES))
    assert collection["type"] == "FeatureCollection"
    first, second, _ = collection["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [77.0, 43.48]}
    assert second["geometry"] is None
    assert first["properties"]["device"] == "air-1"
    assert "longitude" not in first["properties"]
    assert json.loads(await written(Format.GEOJSON)) == {"type": "FeatureCollection", "features": []}


def test_a_table_without_a_place_is_no_geojson() -> None:
    assert Format.GEOJSON not in Table("test", COLUMNS, in_memory([])).formats
    assert Format.GEOJSON in table().formats


async def test_whoever_stops_reading_closes_the_batches() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Batch, None]:
        try:
            while True:
                yield [np.zeros(100_000)]
        finally:
            closed.set()

    pieces = encode(Table("test", (Column("value", Type.NUMBER),), endless()), Format.CSV)
    await anext(pieces)
    await pieces.aclose()
    assert closed.is_set()
