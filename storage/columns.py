"""Reading whole columns: a query's result by binary COPY straight into numpy, no object for a value."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt

from storage.kinds import Connection
from storage.literals import with_literals

# Source: PostgreSQL 17 documentation, COPY, "Binary Format": signature, flags, header extension; the trailer.
_HEADER_BYTES = 19
_TRAILER = b"\xff\xff"
_TRAILER_BYTES = len(_TRAILER)
_LAST_DATA_SECONDS = 0.25
_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in Unix µs
_IS_NULL = "a column that must not be NULL is; every column of the query needs a COALESCE"
_WIRE = {"int4": ">i4", "int8": ">i8", "float8": ">f8", "timestamptz": ">i8"}


async def read_columns(
    connection: Connection, query: str, arguments: Sequence[Any], types: Sequence[str]
) -> list[npt.NDArray[Any]]:
    """Return the columns of a query, each of shape (rows,); ``types`` are int4, int8, float8, timestamptz.

    Timestamps are int64 Unix µs. No value may be NULL: a row's length then is always the same, and that is
    what makes this 20 times as fast as rows. Raises ValueError where one is.
    """
    received = io.BytesIO()
    is_closed = False

    # asyncpg awaits the sink for each of its pieces.
    async def sink(data: bytes) -> None:
        if is_closed:
            _refuse(data)
        else:
            received.write(data)

    copying = asyncio.create_task(
        connection.copy_from_query(with_literals(query, arguments), output=sink, format="binary"),
        name="storage.copy",
    )
    try:
        await asyncio.shield(copying)
    finally:
        # When we are cancelled, it goes on until it is ended in a way that its connection survives.
        is_closed = True
        await _end(connection, copying)
    layout = _layout(types)
    body = received.getbuffer()[_HEADER_BYTES:-_TRAILER_BYTES]
    if len(body) % layout.itemsize:
        raise ValueError(_IS_NULL)
    return _columns(body, layout, types)


async def stream_columns(
    connection: Connection,
    query: str,
    arguments: Sequence[Any],
    types: Sequence[str],
    *,
    batch_rows: int = 65_536,
) -> AsyncGenerator[list[npt.NDArray[Any]], None]:
    """Yield what ``read_columns`` returns in batches of about ``batch_rows``, in memory of a few batches.

    A slow reader slows the server down. Close the generator (``contextlib.aclosing``) before the connection is
    used for anything else: when it was not read to its end, that cancels the query at the server.
    """
    layout = _layout(types)
    wanted = batch_rows * layout.itemsize
    # One batch waits while the reader works on the one before.
    bodies: asyncio.Queue[bytearray] = asyncio.Queue(1)
    received = bytearray()
    is_closed = False

    async def sink(data: bytes) -> None:
        nonlocal received
        if is_closed:
            _refuse(data)
            return
        received += data
        if len(received) >= wanted:
            body, received = received, bytearray()
            await bodies.put(body)

    copying = asyncio.create_task(
        connection.copy_from_query(with_literals(query, arguments), output=sink, format="binary"),
        name="storage.copy",
    )
    try:
        rest, skipped = bytearray(), _HEADER_BYTES
        while (body := await _next_body(bodies, copying)) is not None:
            rest += body
            rows = (len(rest) - skipped) // layout.itemsize
            end = skipped + rows * layout.itemsize
            if rows > 0:
                yield _columns(memoryview(rest)[skipped:end], layout, types)
                rest, skipped = rest[end:], 0
        rest = (rest + received)[skipped:]
        if len(rest) % layout.itemsize != _TRAILER_BYTES:
            raise ValueError(_IS_NULL)
        if len(rest) > _TRAILER_BYTES:
            yield _columns(memoryview(rest)[:-_TRAILER_BYTES], layout, types)
    finally:
        is_closed = True
        while not bodies.empty():
            bodies.get_nowait()  # the sink may wait for room
        await _end(connection, copying)


class _ClosedError(Exception):
    """Nobody reads any more."""


def _refuse(data: bytes) -> None:
    """Let a sink end its copy, unless this piece is the last.

    To refuse that one would cancel a query that has ended, and wait for its end for ever (asyncpg 0.32).
    """
    if data[-_TRAILER_BYTES:] != _TRAILER:
        raise _ClosedError


async def _end(connection: Connection, copying: asyncio.Task[str]) -> None:
    """Wait until a copy has ended that its sink refuses to go on with.

    A copy that is cancelled in the moment in which data come is not cancelled at the server, and its connection is
    no good any more (asyncpg 0.32: the waiter that its callback looks for is gone). So only one that brings nothing is
    cancelled, and then looked after.
    """
    if copying.done() or (await asyncio.wait([copying], timeout=_LAST_DATA_SECONDS))[0]:
        await asyncio.gather(copying, return_exceptions=True)
        return
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    try:
        await connection.execute("SELECT 1")
    except asyncpg.PostgresError:
        pass  # a transaction that failed: that it can be asked at all is enough
    except (asyncpg.InternalClientError, asyncpg.InterfaceError):
        connection.terminate()


async def _next_body(bodies: asyncio.Queue[bytearray], copying: asyncio.Task[str]) -> bytearray | None:
    """Return the next of the bodies, or None when the copy has ended. Raises what the copy raised."""
    getting = asyncio.ensure_future(bodies.get())
    try:
        await asyncio.wait({getting, copying}, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        copying.result()
        # The last one may have come in the moment in which the copy ended.
        return None if bodies.empty() else bodies.get_nowait()
    finally:
        getting.cancel()


def _layout(types: Sequence[str]) -> np.dtype[Any]:
    row = [("fields", ">i2")]
    for number, name in enumerate(types):
        row += [(f"size{number}", ">i4"), (f"value{number}", _WIRE[name])]
    return np.dtype(row)


def _columns(body: memoryview, layout: np.dtype[Any], types: Sequence[str]) -> list[npt.NDArray[Any]]:
    rows = np.frombuffer(body, dtype=layout)
    # A NULL has no value, so that everything behind it stands elsewhere.
    if not (rows["fields"] == len(types)).all():
        raise ValueError(_IS_NULL)
    return [_native(rows[f"value{number}"], name) for number, name in enumerate(types)]


def _native(column: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    native = column.astype(column.dtype.newbyteorder("="))
    return native + _POSTGRES_EPOCH if name == "timestamptz" else native


def places_of(known: npt.NDArray[np.int64], wanted: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the place among ``known``, in no order and each once, of each that is ``wanted``; -1 of one not there."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(known)
    place = order[np.minimum(np.searchsorted(known[order], wanted), len(order) - 1)]
    return np.where(known[place] == wanted, place, -1)
