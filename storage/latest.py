"""Latest values: of each metric the newest by event time, never by arrival."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import numpy as np

from sensors.kinds import Kind
from sensors.readings import ReadingBatch, concatenate
from storage.copy import BEGINNING_OF_TIME, Column, copy_stream, encode_rows
from storage.kinds import table

_STAGE = "latest_stage"
_COLUMNS = "device_id, time, received_at, times, values"
_MERGE = f"INSERT INTO alatau.latest AS old ({_COLUMNS})"


def newest_values(batches: Sequence[ReadingBatch]) -> list[Column]:
    """Return for each device of some batches of one kind, its newest value of each metric, as COPY columns.

    A metric that no reading has is BEGINNING_OF_TIME with NaN.
    """
    batch = concatenate(list(batches)).sorted_unique()
    last = np.flatnonzero(np.append(batch.device[1:] != batch.device[:-1], True))
    first = np.concatenate(([0], last[:-1] + 1))
    # Row number of the newest present value so far, per metric; one below the device's first row is none.
    present = np.where(np.isnan(batch.values), -1, np.arange(len(batch))[:, None])
    row = np.maximum.accumulate(present, axis=0)[last]
    found = row >= first[:, None]
    column = np.arange(batch.values.shape[1])
    return [
        Column("device_id", "int4", batch.device[last]),
        Column("time", "timestamptz", batch.time[last]),
        Column("received_at", "timestamptz", batch.received[last]),
        Column("times", "timestamptz[]", np.where(found, batch.time[row], BEGINNING_OF_TIME)),
        Column("values", "float8[]", np.where(found, batch.values[row, column], np.nan)),
    ]


async def flush_latest(connection: asyncpg.Connection, batches: Sequence[ReadingBatch]) -> None:
    """Merge committed batches of one kind into the latest values; older readings change nothing."""
    columns = newest_values(batches)
    device = columns[0].data
    rows = 0 if device is None else len(device)
    async with connection.transaction():
        await connection.execute(
            f"""
            CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGE} (LIKE alatau.latest INCLUDING DEFAULTS)
            ON COMMIT DELETE ROWS
            """
        )
        await connection.copy_to_table(
            _STAGE,
            source=copy_stream(iter([encode_rows(columns, rows)])),
            columns=[column.name for column in columns],
            format="binary",
        )
        # In the order of their numbers, so that two workers never wait for each other in a circle.
        await connection.execute(
            f"{_MERGE} SELECT {_COLUMNS} FROM {_STAGE} ORDER BY device_id {_on_conflict(batches[0].kind)}"
        )


def _on_conflict(kind: Kind) -> str:
    positions = range(1, len(kind.columns) + 1)
    newer = [f"EXCLUDED.times[{n}] > COALESCE(old.times[{n}], '-infinity')" for n in positions]
    values = [
        f"CASE WHEN {test} THEN EXCLUDED.values[{n}] ELSE old.values[{n}] END"
        for n, test in zip(positions, newer, strict=True)
    ]
    times = [f"GREATEST(old.times[{n}], EXCLUDED.times[{n}])" for n in positions]
    return f"""
        ON CONFLICT (device_id) DO UPDATE SET
            time = GREATEST(old.time, EXCLUDED.time),
            received_at = CASE WHEN EXCLUDED.time > old.time
                               THEN EXCLUDED.received_at ELSE old.received_at END,
            times = ARRAY[{", ".join(times)}],
            values = ARRAY[{", ".join(values)}],
            changed = EXCLUDED.changed
        WHERE {" OR ".join(newer)}
    """


async def heal_latest(connection: asyncpg.Connection, kind: Kind) -> int:
    """Take over rows that the last ingest committed and did not flush; return how many devices had some.

    Reads, per device, from ten minutes before its newest reading on: what comes late by more than that, and
    with a metric of its own, is missed until the device sends again.
    """
    newest = ", ".join(
        f'last(r."{name}", r.time) FILTER (WHERE r."{name}" IS NOT NULL) AS value_{n}, '
        f'max(r.time) FILTER (WHERE r."{name}" IS NOT NULL) AS time_{n}'
        for n, name in enumerate(kind.columns)
    )
    positions = range(len(kind.columns))
    status = await connection.execute(
        f"""
        {_MERGE}
        SELECT d.device_id, n.time, n.received_at,
               ARRAY[{", ".join(f"COALESCE(n.time_{p}, '-infinity')" for p in positions)}],
               ARRAY[{", ".join(f"COALESCE(n.value_{p}, 'NaN')" for p in positions)}]
        FROM alatau.device d
        LEFT JOIN alatau.latest l USING (device_id)
        CROSS JOIN LATERAL (
            SELECT max(r.time) AS time, last(r.received_at, r.time) AS received_at, {newest}
            FROM {table(kind)} r
            WHERE r.device_id = d.device_id AND r.time > COALESCE(l.time, '-infinity') - interval '10 minutes') n
        WHERE d.kind = $1 AND n.time IS NOT NULL
        ORDER BY d.device_id
        {_on_conflict(kind)}
        """,
        kind.name,
    )
    return int(status.rpartition(" ")[2])
