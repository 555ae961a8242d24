"""Making the rollups: what has changed is made again from the readings, in the transaction that takes the note of it.

Every bucket is replaced by what the readings say now, so a refresh that is killed, or run twice, changes nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import zoneinfo
from collections.abc import Sequence

import asyncpg

from sensors.kinds import Kind
from sensors.times import from_microseconds
from storage.kinds import Connection
from storage.refresh_windows import Mark, Window, day_windows, windows_of
from storage.rollup_making import Making
from storage.rollup_marks import as_microseconds, as_timestamp
from storage.rollup_progress import Progress, read_progress
from storage.rollup_tables import Tier, edges_of, floor_to

# Writers queue behind us: no longer than they would notice.
_LOCK_TIMEOUT = "500ms"
_MARKS = 20_000  # of one transaction


@dataclasses.dataclass(frozen=True, slots=True)
class Refreshed:
    """What one refresh did: notes taken, rows of 5 minutes made, how far it came, and whether that is all for now."""

    marks: int
    rows: int
    clean_to: int
    is_done: bool


async def due_kinds(connection: Connection) -> set[str]:
    """Return the kinds with something to refresh."""
    rows = await connection.fetch(
        """
        SELECT kind FROM alatau.rollup_progress AS progress WHERE clean_to < logged_to
               OR EXISTS (SELECT FROM alatau.rollup_dirty AS dirty WHERE dirty.kind = progress.kind)
        """
    )
    return {row["kind"] for row in rows}


async def move_bound(connection: asyncpg.Connection, kinds: Sequence[str], zone: str, to: int) -> None:
    """Let writers note what they write before a time (Unix µs); never moves back. ``zone`` is the city's.

    A kind keeps the zone of its first time: a city that changes its zone keeps the days that it had.
    Waits for the writes under way, for half a second at most. Raises asyncpg.LockNotAvailableError.
    """
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('alatau.rollup'))")
        await connection.execute(
            """
            INSERT INTO alatau.rollup_progress (kind, zone, logged_to) SELECT unnest($1::text[]), $2, $3
            ON CONFLICT (kind) DO UPDATE
            SET logged_to = greatest(rollup_progress.logged_to, EXCLUDED.logged_to)
            """,
            kinds,
            zone,
            from_microseconds(to),
        )


async def refresh(connection: asyncpg.Connection, kind: Kind) -> Refreshed:
    """Make again what was noted, and what became due, a day at most; one transaction.

    The kind's bound has been moved before. Nobody else may refresh at the same time.
    """
    async with connection.transaction(isolation="repeatable_read"):
        progress = (await read_progress(connection))[kind.name]
        zone = zoneinfo.ZoneInfo(progress.zone)
        making = await Making.begin(connection, kind, zone)
        marks = await _take_marks(connection, kind)
        # What lies before the horizon stays what it is; what is not clean yet is made as a whole.
        windows = windows_of(marks, progress.horizon, progress.clean_to, zone)
        for window in windows:
            await making.minutes(window)
            await making.coarser(Tier.HOUR, window, progress.clean_to)
        for window in day_windows(windows, zone):
            await making.coarser(Tier.DAY, window, progress.clean_to)
        clean_to = await _advance(connection, kind, zone, progress, making)
        is_done = len(marks) < _MARKS and clean_to >= progress.logged_to
        return Refreshed(len(marks), making.rows, clean_to, is_done)


async def _take_marks(connection: Connection, kind: Kind) -> list[Mark]:
    rows = await connection.fetch(
        """
        DELETE FROM alatau.rollup_dirty WHERE rollup_dirty_id IN (
            SELECT rollup_dirty_id FROM alatau.rollup_dirty WHERE kind = $1 ORDER BY rollup_dirty_id LIMIT $2)
        RETURNING device_id, start, stop, district
        """,
        kind.name,
        _MARKS,
    )
    return [
        Mark(row["device_id"], as_microseconds(row["start"]), as_microseconds(row["stop"]), row["district"])
        for row in rows
    ]


async def _advance(
    connection: Connection, kind: Kind, zone: zoneinfo.ZoneInfo, progress: Progress, making: Making
) -> int:
    """Make what is not clean yet, to the end of its first day with readings; return to where all is clean now."""
    begin = await _next_readings(connection, kind, progress.clean_to)
    end = progress.logged_to
    if begin is not None and begin < end:
        begin = max(floor_to(Tier.DAY, begin, zone), progress.clean_to)
        end = min(end, int(edges_of(Tier.DAY, begin, begin + 1, zone)[1]))
        everything = Window(begin, end)
        await making.minutes(everything)
        await making.coarser(Tier.HOUR, everything, end)
        await making.coarser(Tier.DAY, everything, end)
    await connection.execute(
        "UPDATE alatau.rollup_progress SET clean_to = $2 WHERE kind = $1",
        kind.name,
        from_microseconds(end),
    )
    return end


async def _next_readings(connection: Connection, kind: Kind, since: int) -> int | None:
    """Return a time, not before ``since``, before which no more readings lie: at worst a chunk early."""
    first: dt.datetime | None = await connection.fetchval(
        """
        SELECT min(range_start) FROM timescaledb_information.chunks
        WHERE (hypertable_schema, hypertable_name) = ('reading', $1) AND range_end > $2
        """,
        kind.name,
        as_timestamp(since),
    )
    return None if first is None else max(as_microseconds(first), since)
