"""Tables: the one shape from which every format but columnar JSON is written, batch by batch.

To answer with one, name its columns and yield batches, one array for each column::

    columns = (Column("metric", Type.TEXT), Column("start", Type.TIME), Column("avg", Type.NUMBER, "ug/m3"))

    async def batches() -> AsyncGenerator[Batch, None]:
        for one in series:
            yield [repeat(one.metric, len(starts)), starts, one.values[Aggregate.AVG]]

    return await table_response(Table("series", columns, batches()), Format.CSV)

Batches may be of any size; those in memory already are ``in_memory(…)``. A large result is never whole in memory:
``batches`` is asked for the next batch when the client has taken what was written of the last ones, and is closed
(``aclose``) when the client goes away.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import io
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from api.formats import Format
from api.streams import Streamed

# Rows that are written at once: a row group of Parquet, a batch of Arrow.
_GROUP_ROWS = 65_536
TABLE_FORMATS = (Format.NDJSON, Format.CSV, Format.PARQUET, Format.ARROW)
JSON_OR_TABLE = (Format.JSON, *TABLE_FORMATS)


class Type(enum.Enum):
    """What a column holds, as Arrow stores it."""

    TEXT = pa.string()
    LABEL = pa.dictionary(pa.int32(), pa.string())  # few different texts: an array of Labels
    INTEGER = pa.int64()
    NUMBER = pa.float64()  # NaN is null
    TIME = pa.timestamp("us", "UTC")  # int64 Unix µs
    FLAG = pa.bool_()


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column; ``unit`` is a UCUM code."""

    name: str
    type: Type
    unit: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Labels:
    """An array of texts, written as (n,) int32 positions in ``texts``; -1 is null."""

    position: npt.NDArray[np.int32]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.position)


# For each column one array of equal length: numpy, Labels, or a list with None for what is absent.
Batch: TypeAlias = Sequence[npt.NDArray[Any] | Labels | Sequence[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Named columns and their batches; ``place`` names the columns of longitude and latitude, in WGS 84."""

    name: str
    columns: Sequence[Column]
    batches: AsyncGenerator[Batch, None]
    place: tuple[str, str] | None = None

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats in which it can be written."""
        return (*TABLE_FORMATS, Format.GEOJSON) if self.place else TABLE_FORMATS


def repeat(text: str | None, rows: int) -> Labels:
    """Return one text, or None, for all rows of a batch."""
    position = np.full(rows, -1 if text is None else 0, dtype=np.int32)
    return Labels(position, [] if text is None else [text])


def of_rows(rows: Sequence[Sequence[Any]], columns: Sequence[Column]) -> Batch:
    """Return the batch of some rows, each of a value or None for each of the columns."""
    return list(zip(*rows, strict=True)) or [()] * len(columns)


async def in_memory(batches: Iterable[Batch]) -> AsyncGenerator[Batch, None]:
    """Yield batches that are in memory already."""
    for batch in batches:
        yield batch


async def table_response(table: Table, format_: Format, headers: Mapping[str, str] | None = None) -> Streamed:
    """Return the streamed answer; problems of the first batch are raised, so that they are still answered."""
    chunks = encode(table, format_)
    first = await anext(chunks)
    name = f"{table.name}.{format_.value}"
    return Streamed(
        first,
        chunks,
        media_type=_CONTENT_TYPES.get(format_, format_.media_type),
        headers={"Content-Disposition": f'attachment; filename="{name}"', **(headers or {})},
    )


_CONTENT_TYPES = {Format.CSV: "text/csv; charset=utf-8; header=present"}


async def encode(table: Table, format_: Format) -> AsyncGenerator[bytes, None]:
    """Yield a table's bytes in a format, at least one piece. Closing it closes the table's batches."""
    schema = table_schema(table)
    writer = _WRITERS[format_](table, schema)
    try:
        waiting: list[pa.RecordBatch] = []
        async for batch in table.batches:
            waiting.append(_record_batch(table, schema, batch))
            if sum(one.num_rows for one in waiting) >= _GROUP_ROWS:
                yield await asyncio.to_thread(_write, writer, waiting)
                waiting = []
        yield await asyncio.to_thread(_finish, writer, waiting)
    finally:
        await table.batches.aclose()


def _write(writer: Writer, waiting: Sequence[pa.RecordBatch]) -> bytes:
    if len(waiting) == 1:
        return writer.write(waiting[0])
    # Each batch may have texts of its own.
    whole = pa.Table.from_batches(waiting).unify_dictionaries().combine_chunks()
    return b"".join(writer.write(batch) for batch in whole.to_batches())


def _finish(writer: Writer, waiting: Sequence[pa.RecordBatch]) -> bytes:
    last = _write(writer, waiting) if any(one.num_rows for one in waiting) else b""
    return last + writer.finish()


def table_schema(table: Table) -> pa.Schema:
    """Return the table's Arrow schema, each column's unit in its field's metadata."""
    return pa.schema(
        [
            pa.field(column.name, column.type.value, metadata={"unit": column.unit} if column.unit else None)
            for column in table.columns
        ]
    )


def _record_batch(table: Table, schema: pa.Schema, batch: Batch) -> pa.RecordBatch:
    arrays = [_array(column.type, values) for column, values in zip(table.columns, batch, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _array(type_: Type, values: Any) -> pa.Array:
    if isinstance(values, Labels):
        positions = pa.array(values.position, mask=values.position < 0)
        labels = pa.DictionaryArray.from_arrays(positions, pa.array(values.texts, pa.string()))
        return labels if type_ is Type.LABEL else labels.cast(type_.value)
    # from_pandas: NaN is null.
    return pa.array(values, type_.value, from_pandas=True)


class Writer(Protocol):
    """Writes one table. Both methods block, and return what is ready to be sent; neither is called after finish."""

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Write a batch, not empty."""
        ...

    def finish(self) -> bytes:
        """Write what ends the table, which may have had no batch."""
        ...


class _Sink(io.RawIOBase):
    """Where Arrow's writers write to; ``take`` empties it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """Say that it is."""
        return True

    def write(self, piece: Any) -> int:
        """Keep a piece."""
        copied = bytes(piece)
        self._pieces.append(copied)
        self._position += len(copied)
        return len(copied)

    def tell(self) -> int:
        """Return how many bytes were written in all."""
        return self._position

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


class _ArrowWriter:
    """Any of Arrow's own writers, on a sink."""

    def __init__(self, sink: _Sink, writer: Any) -> None:
        self._sink = sink
        self._writer = writer

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Write a batch."""
        self._writer.write_batch(batch)
        return self._sink.take()

    def finish(self) -> bytes:
        """Write footers and ends."""
        self._writer.close()
        return self._sink.take()


def _parquet(table: Table, schema: pa.Schema) -> Writer:
    sink = _Sink()
    # Sensors round: of most metrics there are few different values, so that a dictionary halves the file and its
    # time. Times are all different; their differences are small.
    repeated = [column.name for column in table.columns if column.type is not Type.TIME]
    times = {column.name: "DELTA_BINARY_PACKED" for column in table.columns if column.type is Type.TIME}
    return _ArrowWriter(
        sink,
        pa.parquet.ParquetWriter(
            sink, schema, compression="zstd", use_dictionary=repeated, column_encoding=times or None
        ),
    )


def _arrow(table: Table, schema: pa.Schema) -> Writer:
    sink = _Sink()
    return _ArrowWriter(sink, pa.ipc.new_stream(sink, schema))


class _CsvWriter:
    """CSV with a header (RFC 4180); texts and times in quotes."""

    def __init__(self, table: Table, schema: pa.Schema) -> None:
        self._sink = _Sink()
        self._writer = pa.csv.CSVWriter(self._sink, _as_text(pa.record_batch(_empty(schema))).schema)

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Write lines."""
        self._writer.write_batch(_as_text(batch))
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the header, if nothing was written before."""
        self._writer.close()
        return self._sink.take()


class _NdjsonWriter:
    """One JSON object a line."""

    def __init__(self, table: Table, schema: pa.Schema) -> None:
        pass

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Write lines."""
        parts: list[Any] = []
        for before, name in zip("{" + "," * batch.num_columns, batch.schema.names, strict=False):
            parts += [f"{before}{orjson.dumps(name).decode()}:", _as_json(batch[name])]
        lines = pa.compute.binary_join_element_wise(*parts, "}\n", "")
        # The texts of an array lie one behind the other: they are the lines already, ten times as fast as row by row.
        return bytes(lines.buffers()[2])

    def finish(self) -> bytes:
        """Return nothing: lines end by themselves."""
        return b""


class _GeojsonWriter:
    """A feature collection, one point or null for each row."""

    def __init__(self, table: Table, schema: pa.Schema) -> None:
        if table.place is None:
            raise ValueError(f"the table {table.name} has no place")
        self._longitude, self._latitude = table.place
        self._begun = False

    def write(self, batch: pa.RecordBatch) -> bytes:
        """Write features."""
        features = b",\n".join(orjson.dumps(self._feature(row)) for row in _rows(batch))
        return self._before() + features

    def _before(self) -> bytes:
        before = b",\n" if self._begun else b'{"type":"FeatureCollection","features":[\n'
        self._begun = True
        return before

    def _feature(self, row: dict[str, Any]) -> dict[str, Any]:
        longitude, latitude = row.pop(self._longitude), row.pop(self._latitude)
        is_nowhere = longitude is None or latitude is None
        geometry = None if is_nowhere else {"type": "Point", "coordinates": (longitude, latitude)}
        return {"type": "Feature", "geometry": geometry, "properties": row}

    def finish(self) -> bytes:
        """Close the collection."""
        return (b"" if self._begun else self._before()) + b"\n]}\n"


def _empty(schema: pa.Schema) -> dict[str, pa.Array]:
    return {field.name: pa.array([], field.type) for field in schema}


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with its times as RFC 3339 in UTC, always with six digits of the second."""
    return pa.record_batch([_text(column) for column in batch.columns], names=batch.schema.names)


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        # Arrow writes a space for the T.
        return pa.compute.binary_replace_slice(column.cast(pa.string()), 10, 11, "T")
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _as_json(column: pa.Array) -> pa.Array:
    """Return each value of a column as JSON."""
    if pa.types.is_timestamp(column.type):
        texts = pa.compute.binary_join_element_wise('"', _text(column), '"', "")
    elif pa.types.is_dictionary(column.type):
        texts = pa.DictionaryArray.from_arrays(column.indices, _as_json(column.dictionary)).cast(pa.string())
    elif pa.types.is_string(column.type):
        texts = pa.array([orjson.dumps(text).decode() for text in column.to_pylist()], pa.string())
    else:
        texts = column.cast(pa.string())
    return texts.fill_null("null")


def _rows(batch: pa.RecordBatch) -> Iterable[dict[str, Any]]:
    names = batch.schema.names
    columns = [column.to_pylist() for column in _as_text(batch).columns]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


_WRITERS: dict[Format, Callable[[Table, pa.Schema], Writer]] = {
    Format.NDJSON: _NdjsonWriter,
    Format.CSV: _CsvWriter,
    Format.GEOJSON: _GeojsonWriter,
    Format.PARQUET: _parquet,
    Format.ARROW: _arrow,
}
