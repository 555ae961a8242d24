"""Flushes latest values in coalesced batches, beside the path that acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from ingest.metrics import IngestMetrics
from ingest.options import IngestOptions
from sensors.readings import ReadingBatch
from storage.catalogue import load_catalogue
from storage.database import connect_alone
from storage.dead_letters import trim_letters
from storage.deadline import deadline
from storage.errors import classify
from storage.latest import flush_latest, heal_latest
from storage.latest_changes import announce_latest
from storage.sequences import trim_gaps

_TRIM_EVERY_SECONDS = 600.0
# What is pending grows while a flush waits; after a long gap the healing reads many rows, and the first trim of
# a table that has grown deletes many.
_DEADLINE_SECONDS, _HEALING_SECONDS, _TRIMMING_SECONDS = 30.0, 600.0, 600.0
log = structlog.get_logger("ingest.latest")


class LatestFlusher:
    """Collects committed readings and merges them into the latest values once an interval.

    What a crash leaves unflushed is taken over from the stored rows at the next start.
    """

    def __init__(
        self, options: IngestOptions, metrics: IngestMetrics, monotonic: Callable[[], float]
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._monotonic = monotonic
        self._pending: dict[int, list[ReadingBatch]] = {}  # by identity of the kind, as in a cut
        self._connection: asyncpg.Connection | None = None
        self._next_trim = 0.0
        self.is_away = False  # found out even while nothing arrives

    def add(self, batches: list[ReadingBatch]) -> None:
        """Take committed readings."""
        for batch in batches:
            self._pending.setdefault(id(batch.kind), []).append(batch)

    async def run(self) -> None:
        """Flush for ever; ends by cancellation, and the last flush is the caller's."""
        while True:
            await asyncio.sleep(self._options.latest_interval_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Merge what is pending; what a database that is away does not take is healed from the rows later."""
        pending, self._pending = self._pending, {}
        try:
            connection = await self._open()
            async with deadline(connection, _DEADLINE_SECONDS):
                for batches in pending.values():
                    await flush_latest(connection, batches)
                if pending:
                    # Here, and not with each cut: the commits of those who notify queue behind one lock.
                    await announce_latest(connection)
            await self._trim(connection)
        except Exception as error:
            if classify(error) is None:
                raise
            log.warning("latest values wait for the database", error=str(error))
            await self.close()

    async def _open(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self.is_away = True
            connection = await connect_alone(
                self._options.database_url, application=f"{self._options.worker}-latest"
            )
            self.is_away = False
            self._connection = connection
            # After every gap, ours or the database's, rows may be ahead of the latest values.
            async with deadline(connection, _HEALING_SECONDS):
                stored = await load_catalogue(connection)
                for kind in stored[1].kinds if stored else ():
                    await heal_latest(connection, kind)
        return self._connection

    async def _trim(self, connection: asyncpg.Connection) -> None:
        if self._monotonic() < self._next_trim:
            return
        self._next_trim = self._monotonic() + _TRIM_EVERY_SECONDS
        options = self._options
        async with deadline(connection, _TRIMMING_SECONDS):
            trimmed = await trim_letters(
                connection, options.keep_dead_letters, options.keep_dead_letters_days
            )
            await trim_gaps(connection, options.keep_gaps)
        self._metrics.letters_trimmed.inc(trimmed)

    async def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
