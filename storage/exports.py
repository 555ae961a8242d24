"""Jobs that write readings into files: asked for, claimed, finished, and forgotten with their files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any

from storage.api_keys import WHOLE, Scope
from storage.kinds import Connection
from storage.selection import Selection


class ExportFormat(enum.StrEnum):
    """What a file is."""

    PARQUET = "parquet"
    CSV_GZ = "csv.gz"


class ExportState(enum.StrEnum):
    """How far a job has come."""

    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class NewExport:
    """What is asked for: readings from ``start`` to before ``stop``, of devices selected of exactly one kind."""

    selection: Selection
    start: dt.datetime
    stop: dt.datetime
    format: ExportFormat
    rows_estimated: int
    requested_by: str = ""
    scope: Scope = WHOLE

    @property
    def kind(self) -> str:
        """The kind of the devices."""
        (kind,) = self.selection.kinds
        return kind


@dataclasses.dataclass(frozen=True, slots=True)
class Export:
    """A job; ``attempt`` counts its starts. ``size`` in bytes and ``sha256`` are those of the file once it is ready."""

    export_id: int
    asked: NewExport
    state: ExportState
    attempt: int
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    expires_at: dt.datetime | None
    rows_done: int
    size: int
    sha256: bytes | None
    problem: str | None
    data_version: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """What a finished file is; ``size`` in bytes."""

    rows: int
    size: int
    sha256: bytes
    data_version: int | None


def _export(row: Any) -> Export:
    return Export(
        export_id=row["export_id"],
        asked=NewExport(
            selection=_selection(row),
            start=row["start"],
            stop=row["stop"],
            format=ExportFormat(row["format"]),
            rows_estimated=row["rows_estimated"],
            requested_by=row["requested_by"],
            scope=Scope(
                *(
                    None if row[name] is None else tuple(row[name])
                    for name in ("scope_districts", "scope_kinds")
                )
            ),
        ),
        state=ExportState(row["state"]),
        attempt=row["attempt"],
        requested_at=row["requested_at"],
        finished_at=row["finished_at"],
        expires_at=row["expires_at"],
        rows_done=row["rows_done"],
        size=row["bytes"],
        sha256=row["sha256"],
        problem=row["problem"],
        data_version=row["data_version"],
    )


def _selection(row: Any) -> Selection:
    return Selection(
        kinds=(row["kind"],),
        districts=tuple(row["districts"]),
        devices=tuple(row["devices"]),
        simulated=row["simulated"],
        bbox=None if row["bbox"] is None else tuple(row["bbox"]),
        near=None if row["near"] is None else tuple(row["near"]),
        polygon=tuple(map(tuple, row["polygon"])),
        tags=tuple(map(tuple, row["tags"])),
    )


async def add_export(connection: Connection, asked: NewExport, most_waiting: int) -> Export | None:
    """Enter a job, or return None where ``most_waiting`` wait already."""
    selection = asked.selection
    row = await connection.fetchrow(
        """
        INSERT INTO alatau.export (
            start, stop, format, rows_estimated, kind, districts, devices, simulated, bbox, near, polygon, tags,
            requested_by, scope_districts, scope_kinds)
        SELECT $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
        WHERE alatau.waiting_exports() < $1
        RETURNING *
        """,
        most_waiting,
        asked.start,
        asked.stop,
        asked.format.value,
        asked.rows_estimated,
        asked.kind,
        selection.districts,
        selection.devices,
        selection.simulated,
        selection.bbox,
        selection.near,
        # Of an array's elements asyncpg takes only lists for arrays.
        [list(vertex) for vertex in selection.polygon],
        [list(tag) for tag in selection.tags],
        asked.requested_by,
        asked.scope.districts,
        asked.scope.kinds,
    )
    return None if row is None else _export(row)


async def find_export(connection: Connection, export_id: int) -> Export | None:
    """Return one job."""
    row = await connection.fetchrow("SELECT * FROM alatau.export WHERE export_id = $1", export_id)
    return None if row is None else _export(row)


async def list_exports(connection: Connection, *, before: int | None, limit: int) -> list[Export]:
    """Return jobs, the newest first, beginning before one of them."""
    rows = await connection.fetch(
        """
        SELECT * FROM alatau.export WHERE $1::bigint IS NULL OR export_id < $1
        ORDER BY export_id DESC LIMIT $2
        """,
        before,
        limit,
    )
    return [_export(row) for row in rows]


async def delete_export(connection: Connection, export_id: int) -> bool:
    """Forget a job; return whether there was one. Its file is deleted by whoever keeps the files."""
    status = await connection.execute("DELETE FROM alatau.export WHERE export_id = $1", export_id)
    return status != "DELETE 0"


async def claim_export(connection: Connection) -> Export | None:
    """Start the job that has waited longest; of several that claim, each gets another one."""
    row = await connection.fetchrow(
        """
        UPDATE alatau.export SET state = 'running', attempt = attempt + 1, seen_at = now(), rows_done = 0, bytes = 0
        WHERE export_id = (
            SELECT export_id FROM alatau.export WHERE state = 'waiting'
            ORDER BY export_id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING *
        """
    )
    return None if row is None else _export(row)


async def report_export(connection: Connection, export: Export, rows: int, size: int) -> bool:
    """Note that a running job lives and how far it is; return False where it is no longer this process's."""
    status = await connection.execute(
        """
        UPDATE alatau.export SET seen_at = now(), rows_done = $3, bytes = $4
        WHERE export_id = $1 AND attempt = $2 AND state = 'running'
        """,
        export.export_id,
        export.attempt,
        rows,
        size,
    )
    return status != "UPDATE 0"


async def finish_export(
    connection: Connection, export: Export, finished: Finished, keep: dt.timedelta
) -> bool:
    """Make a job's file known, for ``keep``; return False where it is no longer this process's."""
    status = await connection.execute(
        """
        UPDATE alatau.export
        SET state = 'ready', finished_at = now(), expires_at = now() + $3::interval, rows_done = $4, bytes = $5,
            sha256 = $6, data_version = $7
        WHERE export_id = $1 AND attempt = $2 AND state = 'running'
        """,
        export.export_id,
        export.attempt,
        keep,
        finished.rows,
        finished.size,
        finished.sha256,
        finished.data_version,
    )
    return status != "UPDATE 0"


async def fail_export(connection: Connection, export: Export, problem: str, keep: dt.timedelta) -> None:
    """Note why a job failed; the note is kept for ``keep``."""
    await connection.execute(
        """
        UPDATE alatau.export
        SET state = 'failed', finished_at = now(), expires_at = now() + $3::interval, problem = $4, bytes = 0
        WHERE export_id = $1 AND attempt = $2 AND state = 'running'
        """,
        export.export_id,
        export.attempt,
        keep,
        problem,
    )


async def return_export(connection: Connection, export: Export) -> None:
    """Let a job that its process had to leave wait again."""
    await connection.execute(
        """
        UPDATE alatau.export SET state = 'waiting'
        WHERE export_id = $1 AND attempt = $2 AND state = 'running'
        """,
        export.export_id,
        export.attempt,
    )


async def tidy_exports(
    connection: Connection, *, silent: dt.timedelta, most_attempts: int, keep: dt.timedelta
) -> dict[int, int | None]:
    """Forget expired jobs, let those of dead processes wait again or fail; return the attempt of each job there is,
    None of those that do not run.

    A process is dead when it has said nothing for ``silent``.
    """
    await connection.execute("DELETE FROM alatau.export WHERE expires_at < now()")
    await connection.execute(
        """
        UPDATE alatau.export
        SET state = CASE WHEN attempt < $2 THEN 'waiting' ELSE 'failed' END,
            problem = CASE WHEN attempt < $2 THEN NULL
                           ELSE format('it was interrupted %s times', attempt) END,
            expires_at = CASE WHEN attempt < $2 THEN NULL ELSE now() + $3::interval END
        WHERE state = 'running' AND seen_at < now() - $1::interval
        """,
        silent,
        most_attempts,
        keep,
    )
    rows = await connection.fetch(
        "SELECT export_id, CASE state WHEN 'running' THEN attempt END FROM alatau.export"
    )
    return dict(map(tuple, rows))


async def read_data_version(
    connection: Connection, kind: str, start: dt.datetime, stop: dt.datetime
) -> int | None:
    """Return the version of the readings of a range, or None where the database keeps none."""
    function = "alatau.data_version(text, timestamptz, timestamptz)"
    if await connection.fetchval("SELECT to_regprocedure($1) IS NULL", function):
        return None
    version = await connection.fetchval("SELECT alatau.data_version($1, $2, $3)", kind, start, stop)
    return None if version is None else int(version)
