"""Makes the files that were asked for, a few at once, for as long as the API runs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator

import structlog

from api.database import Database
from api.export_files import ExportFile, delete_files, our_files, prepare_directory
from api.formats import Format
from api.options import ExportOptions
from api.problems import ProblemError, ProblemType, unavailable
from api.reading_table import reading_batches, readings_table
from api.snapshot import CatalogueWatch
from api.tables import Batch, encode
from sensors.errors import AlatauError
from sensors.times import to_microseconds
from storage.exports import (
    Export,
    ExportFormat,
    Finished,
    claim_export,
    fail_export,
    finish_export,
    read_data_version,
    report_export,
    return_export,
    tidy_exports,
)
from storage.kinds import Connection
from storage.reading_stream import Extract
from storage.selection import select_devices

log = structlog.get_logger("api.exports")

_FORMATS = {ExportFormat.PARQUET: Format.PARQUET, ExportFormat.CSV_GZ: Format.CSV}


@dataclasses.dataclass(slots=True)
class _Job:
    """A job that runs here, and how far it is."""

    export: Export
    rows: int = 0
    size: int = 0

    async def counted(self, batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
        """Yield batches and count their rows."""
        try:
            async for batch in batches:
                self.rows += len(batch[0])
                yield batch
        finally:
            await batches.aclose()


class ExportRunner:
    """Claims jobs and runs them. ``run`` lasts until it is cancelled; jobs that run then wait again."""

    def __init__(self, options: ExportOptions, database: Database, snapshot: CatalogueWatch) -> None:
        self._options = options
        self._database = database
        self._snapshot = snapshot
        self._running: dict[asyncio.Task[None], _Job] = {}
        self._wake = asyncio.Event()

    def require(self) -> ExportOptions:
        """Return the options, where files can be made. Raises a problem otherwise."""
        try:
            prepare_directory(self._options.directory)
        except OSError as error:
            raise unavailable(f"no files can be made: {self._told(error)}", retry_after_seconds=60) from error
        return self._options

    def _told(self, error: OSError) -> str:
        return f"{self._options.directory}: {error.strerror or error}; see ALATAU_EXPORT_DIR"

    def wake(self) -> None:
        """Look for jobs now."""
        self._wake.set()

    async def run(self) -> None:
        """Run jobs until cancelled. A database or a disk that is away is waited for."""
        await self._database.attempted.wait()
        try:
            while True:
                self._wake.clear()
                try:
                    await asyncio.to_thread(prepare_directory, self._options.directory)
                    await self._look()
                except OSError as error:
                    log.warning("no exports", reason=self._told(error))
                except ProblemError:
                    pass  # the database is away, which its own log and /readyz say
                except AlatauError as error:
                    log.warning("no exports", reason=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._options.poll_seconds):
                        await self._wake.wait()
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _look(self) -> None:
        """Report the jobs that run here, tidy up, and start what waits."""
        options = self._options
        # Before the jobs are listed: then a file whose job or attempt is not among them was of one that is gone.
        files = await asyncio.to_thread(our_files, options.directory)
        async with self._database.connection() as connection:
            for task, job in list(self._running.items()):
                if not await report_export(connection, job.export, job.rows, job.size):
                    task.cancel()
            jobs = await tidy_exports(
                connection, silent=options.silent, most_attempts=options.most_attempts, keep=options.keep
            )
            strays = [
                path
                for path, (number, attempt) in files.items()
                if number not in jobs or (attempt is not None and attempt != jobs[number])
            ]
            await asyncio.to_thread(delete_files, strays)
            while len(self._running) < options.at_once and (export := await claim_export(connection)):
                job = _Job(export)
                task = asyncio.create_task(self._run(job), name=f"api.export.{export.export_id}")
                self._running[task] = job
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.wake()

    async def _run(self, job: _Job) -> None:
        """Make one file, and note what came of it."""
        problem = ""
        try:
            await self._make(job)
        except asyncio.CancelledError:
            # Of a job that was deleted this changes nothing.
            with contextlib.suppress(AlatauError):
                async with self._database.connection() as connection:
                    await return_export(connection, job.export)
            raise
        except ProblemError as error:
            # A database that is away lets the job wait for it: it is not reported any more, and so begins again.
            problem = "" if error.kind is ProblemType.UNAVAILABLE else error.detail
        except AlatauError as error:
            problem = str(error)
        except Exception:
            # Each job is an edge of its own: the others go on.
            log.exception("export failed", export=job.export.export_id)
            problem = "an unexpected error, which is logged; tell the operator the number of this export"
        if problem:
            with contextlib.suppress(AlatauError):
                async with self._database.connection() as connection:
                    await fail_export(connection, job.export, problem, self._options.keep)

    async def _make(self, job: _Job) -> None:
        options = self._options
        file = ExportFile(options.directory, job.export, options.max_bytes)
        try:
            asked = job.export.asked
            database = self._database
            if not asked.scope.is_whole:
                database = database.seen_by(asked.scope, asked.requested_by)
            async with database.snapshot(options.timeout_seconds) as connection:
                version = await self._write(connection, job, file)
            sha256 = await asyncio.to_thread(file.finish)
            async with self._database.connection() as connection:
                finished = Finished(job.rows, file.size, sha256, version)
                if not await finish_export(connection, job.export, finished, options.keep):
                    file.abandon()
        finally:
            file.close()

    async def _write(self, connection: Connection, job: _Job, file: ExportFile) -> int | None:
        """Write the file; return the version of the data that it was made of."""
        asked = job.export.asked
        version = await read_data_version(connection, asked.kind, asked.start, asked.stop)
        devices = await select_devices(connection, asked.selection)
        kind = self._snapshot.current.kind_of[asked.kind]
        extract = Extract(kind, devices, to_microseconds(asked.start), to_microseconds(asked.stop))
        batches = job.counted(reading_batches(connection, extract, self._options.max_rows))
        pieces = encode(readings_table(kind, batches), _FORMATS[asked.format])
        try:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
                job.size = file.size
        finally:
            await pieces.aclose()
        return version
