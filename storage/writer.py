"""Writing readings: binary COPY in one transaction, through a staging table where rows meet stored ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from sensors.kinds import Kind
from sensors.readings import ReadingBatch
from storage.arrivals import store_arrivals
from storage.copy import copy_stream, encode_readings, reading_columns
from storage.dead_letters import Letters, fold_letters, insert_letters
from storage.device_status import Heard, record_statuses
from storage.kinds import SCHEMA, table
from storage.lessons import Lesson, keep_lessons
from storage.rollup_marks import begin_write, note_write
from storage.sequences import Clockless, Entered, Numbers, enter_numbers, sift_clockless
from storage.wire_sources import Seen, note_seen


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What became of the rows of one transaction; ``entered`` of their numbers, ``clockless`` has those stored
    of the batch's clockless readings."""

    stored: int = 0
    merged: int = 0  # filled in metrics that a stored row had left out
    duplicate: int = 0  # said nothing new
    entered: Entered | None = None
    clockless: tuple[ReadingBatch, ...] = ()

    def __add__(self, other: Written) -> Written:
        return Written(
            self.stored + other.stored,
            self.merged + other.merged,
            self.duplicate + other.duplicate,
            self.entered or other.entered,
            self.clockless + other.clockless,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores: readings (one batch for each kind), dead letters, the worker's times of
    arrival as (worker, slot, records), and the numbers of readings and letters.

    ``clockless`` readings, whose numbers are among ``numbers``, are stored if their number was not kept yet. Of other
    formats: what sources said that nobody has claimed, statuses, and what later messages are read by.
    """

    readings: Sequence[ReadingBatch]
    letters: Letters = Letters()  # noqa: RUF009 - frozen
    arrivals: tuple[str, int, bytes] | None = None
    numbers: Numbers | None = None
    clockless: Sequence[Clockless] = ()
    seen: Sequence[Seen] = ()
    heard: Sequence[Heard] = ()
    lessons: Sequence[Lesson] = ()


async def write(connection: asyncpg.Connection, batch: Batch) -> Written:
    """Store a batch in one transaction.

    When this returns, all of it is committed; when it raises, none of it is, or the commit's outcome is
    unknown, and the same again is harmless: the unique index on (device, time) makes a row once.
    """
    unique = [readings.sorted_unique() for readings in batch.readings]
    repeated = Written(duplicate=sum(map(len, batch.readings)) - sum(map(len, unique)))
    try:
        async with connection.transaction():
            return repeated + await _store(connection, unique, batch, _insert)
    except asyncpg.UniqueViolationError:
        pass  # redelivered or completing rows are among them
    async with connection.transaction():
        return repeated + await _store(connection, unique, batch, _merge)


_Put = Callable[[asyncpg.Connection, ReadingBatch], Awaitable[Written]]


async def _store(
    connection: asyncpg.Connection, unique: Sequence[ReadingBatch], batch: Batch, put: _Put
) -> Written:
    # In compressed chunks it would be 100,000: late rows that meet many stored ones would be refused for ever.
    await connection.execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
    written, bounds = Written(), await begin_write(connection)

    async def put_and_note(connection: asyncpg.Connection, readings: ReadingBatch) -> Written:
        if readings.kind.name in bounds:
            await note_write(connection, readings, bounds[readings.kind.name])
        return await put(connection, readings)

    for readings in unique:
        written += await put_and_note(connection, readings)
    if batch.numbers is not None:
        # After the other rows, because a device's sequence stays locked from here to the commit.
        written += await _store_numbers(connection, batch.numbers, batch.clockless, put_and_note)
    await _store_letters(connection, batch)
    return written


async def _store_letters(connection: asyncpg.Connection, batch: Batch) -> None:
    # Rows are stored once by their key; letters have none, but the slot tells whether they are stored already.
    if batch.arrivals and not await store_arrivals(connection, *batch.arrivals):
        return
    await insert_letters(connection, batch.letters.kept)
    await fold_letters(connection, batch.letters.folds)
    if batch.seen:
        await note_seen(connection, batch.seen)
    if batch.heard:
        await record_statuses(connection, batch.heard)
    if batch.lessons:
        await keep_lessons(connection, batch.lessons)


async def _store_numbers(
    connection: asyncpg.Connection, numbers: Numbers, clockless: Sequence[Clockless], put: _Put
) -> Written:
    fresh = await sift_clockless(connection, numbers, clockless) if clockless else []
    given = sum(len(one.number) for one in clockless)
    written = Written(duplicate=given - sum(map(len, fresh)), clockless=tuple(fresh))
    for readings in fresh:
        written += await put(connection, readings.sorted_unique())
    return written + Written(entered=await enter_numbers(connection, numbers))


async def _insert(connection: asyncpg.Connection, batch: ReadingBatch) -> Written:
    await _copy(connection, batch, batch.kind.name, SCHEMA)
    return Written(stored=len(batch))


async def _copy(
    connection: asyncpg.Connection, batch: ReadingBatch, table_name: str, schema: str | None
) -> None:
    await connection.copy_to_table(
        table_name,
        schema_name=schema,
        columns=reading_columns(batch),
        source=copy_stream(encode_readings(batch)),
        format="binary",
    )


async def _merge(connection: asyncpg.Connection, batch: ReadingBatch) -> Written:
    kind = batch.kind
    stage = f"stage_{kind.name}"
    await connection.execute(f'CREATE TEMPORARY TABLE "{stage}" (LIKE {table(kind)}) ON COMMIT DROP')
    await _copy(connection, batch, stage, None)
    known = await connection.fetchval(
        f"""
        SELECT count(*) FROM "{stage}" AS new
        WHERE EXISTS (SELECT FROM {table(kind)} AS old
                      WHERE (old.device_id, old.time) = (new.device_id, new.time))
        """
    )
    status = await connection.execute(_merge_statement(kind, stage))
    touched = int(status.rpartition(" ")[2])
    # At once: another batch of this kind, with more metrics, may be in the same transaction.
    await connection.execute(f'DROP TABLE "{stage}"')
    stored = len(batch) - known
    # Another worker may store the same rows in between; the counts then are off by these, the rows never.
    merged = max(touched - stored, 0)
    return Written(stored, merged, len(batch) - stored - merged)


def _merge_statement(kind: Kind, stage: str) -> str:
    columns = ", ".join(f'"{name}"' for name in ("time", "received_at", "device_id", *kind.columns))
    fill_in = ", ".join(f'"{name}" = COALESCE(old."{name}", EXCLUDED."{name}")' for name in kind.columns)
    says_more = " OR ".join(
        f'(old."{name}" IS NULL AND EXCLUDED."{name}" IS NOT NULL)' for name in kind.columns
    )
    return f"""
        INSERT INTO {table(kind)} AS old ({columns})
        SELECT {columns} FROM "{stage}" ORDER BY device_id, time
        ON CONFLICT (device_id, time) DO UPDATE SET {fill_in} WHERE {says_more}
    """
