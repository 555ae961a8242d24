"""What has changed since the rollups were made: noted by who writes, in the transaction that writes.

A writer notes only times before ``logged_to``; what is later, the refresher has not looked at yet. It moves that
bound while no write is under way (``alatau.begin_write``), so that every reading is either noted or seen.
"""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.readings import ReadingBatch
from sensors.times import from_microseconds, to_microseconds
from storage.kinds import Connection, table
from storage.rollup_tables import MINUTES

# What asyncpg makes of '-infinity', the one time that it gives no zone.
_NEVER = dt.datetime.min  # noqa: DTZ901
NEVER = np.iinfo(np.int64).min // 2
# Unix µs to timestamptz in SQL: asyncpg takes arrays of integers much faster than arrays of datetimes.
TIME_OF = "('epoch'::timestamptz + {} * interval '1 microsecond')"


def as_microseconds(moment: dt.datetime) -> int:
    """Return Unix µs of a time from the database, NEVER of '-infinity'."""
    return NEVER if moment == _NEVER else to_microseconds(moment)


def as_timestamp(microseconds: int) -> dt.datetime:
    """Return what the database is told of a time; the other way round."""
    return _NEVER if microseconds == NEVER else from_microseconds(microseconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Ranges:
    """Disjoint ranges of buckets of 5 minutes, by device and time: ``device`` int32, ``start`` and ``stop`` int64
    Unix µs, each (n,)."""

    device: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.device)

    def clip(self, start: int, stop: int) -> Ranges:
        """Return what of them lies between two times."""
        begin, end = np.maximum(self.start, start), np.minimum(self.stop, stop)
        some = begin < end
        return Ranges(self.device[some], begin[some], end[some])


def merge_ranges(
    device: npt.NDArray[np.int32], start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
) -> Ranges:
    """Return the disjoint ranges that cover those given, in any order."""
    order = np.lexsort((start, device))
    device, start, stop = device[order], start[order], stop[order]
    if not len(device):
        return Ranges(device, start, stop)
    # The furthest end so far within a device: devices are set further apart than times can be.
    origin = start.min()
    apart = int(stop.max() - origin) // MINUTES + 1
    rank = np.cumsum(np.append(0, device[1:] != device[:-1])) * apart
    reach = np.maximum.accumulate((stop - origin) // MINUTES + rank)
    first = np.flatnonzero(np.append(True, (start[1:] - origin) // MINUTES + rank[1:] > reach[:-1]))
    return Ranges(device[first], start[first], np.maximum.reduceat(stop, first))


def touched(batch: ReadingBatch, noted_before: int) -> Ranges:
    """Return the buckets that a batch, sorted by device and time, has readings in before a time (Unix µs)."""
    early = batch.time < noted_before
    device, bucket = batch.device[early], batch.time[early] // MINUTES
    if not len(device):
        return Ranges(device, bucket, bucket)
    begins = np.append(True, (device[1:] != device[:-1]) | (bucket[1:] > bucket[:-1] + 1))
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(device)) - 1
    return Ranges(device[first], bucket[first] * MINUTES, (bucket[last] + 1) * MINUTES)


async def begin_write(connection: Connection) -> dict[str, int]:
    """Return, for each kind that has rollups, before which time (Unix µs) a write has to be noted.

    The first statement of a transaction that writes; its bounds hold until that ends.
    """
    rows = await connection.fetch("SELECT of_kind, noted_before FROM alatau.begin_write()")
    return {row["of_kind"]: as_microseconds(row["noted_before"]) for row in rows}


async def note_write(connection: Connection, batch: ReadingBatch, noted_before: int) -> None:
    """Note what a batch, sorted by device and time, changes."""
    ranges = touched(batch, noted_before)
    if len(ranges):
        await note(connection, batch.kind.name, ranges)


async def note(connection: Connection, kind: str, ranges: Ranges, district: str | None = None) -> None:
    """Note ranges that have changed; with the district that their device has left."""
    await connection.execute(
        f"""
        INSERT INTO alatau.rollup_dirty (kind, device_id, start, stop, district)
        SELECT $1, device, {TIME_OF.format("start")}, {TIME_OF.format("stop")}, $5
        FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS range (device, start, stop)
        """,
        kind,
        ranges.device.tolist(),
        ranges.start.tolist(),
        ranges.stop.tolist(),
        district,
    )


async def note_move(connection: Connection, kind: Kind, device_id: int, left: str) -> None:
    """Note that a device is leaving a district, for all of its readings that are kept."""
    bounds = await begin_write(connection)
    oldest: dt.datetime | None = await connection.fetchval(
        f"SELECT min(time) FROM {table(kind)} WHERE device_id = $1", device_id
    )
    if oldest is None or (start := to_microseconds(oldest)) >= (stop := bounds.get(kind.name, NEVER)):
        return
    whole = Ranges(
        np.array([device_id], np.int32),
        np.array([start - start % MINUTES], np.int64),
        np.array([stop], np.int64),
    )
    await note(connection, kind.name, whole, left)
