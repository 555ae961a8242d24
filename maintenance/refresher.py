"""The loop that keeps rollups true: what has changed is made again, what became due is added."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog

from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.times import SECOND
from storage.catalogue import load_catalogue
from storage.database import connect_alone
from storage.deadline import deadline
from storage.refresh import due_kinds, move_bound, refresh
from storage.rollup_tables import MINUTES

_TRANSACTION_SECONDS = 600.0  # a day of a large city, on a busy machine
_QUESTION_SECONDS = 30.0
# Passes over one kind before the others have their turn: a long past is made day by day.
_PASSES = 10
log = structlog.get_logger("maintenance.rollups")


def _now() -> int:
    return time.time_ns() // 1000


class Refresher:
    """Refreshes the rollups of all kinds. One of several works; the others' connections are ended by it."""

    name = "rollups"

    def __init__(
        self, options: MaintenanceOptions, metrics: MaintenanceMetrics, clock: Callable[[], int] = _now
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Work for ever; ends by cancellation or by an error of the database."""
        connection = await connect_alone(
            self._options.database_url, application=f"alatau-maintain-{self.name}"
        )
        try:
            while True:
                began = time.monotonic()
                is_done = await self.once(connection)
                self._metrics.succeeded(self.name, time.monotonic() - began)
                await asyncio.sleep(self._options.rollup_seconds if is_done else 0)
        finally:
            # A transaction under way ends with its connection, and is made up for.
            connection.terminate()

    async def once(self, connection: asyncpg.Connection) -> bool:
        """Refresh every kind that is due, each a bounded number of times; return whether all is done."""
        async with deadline(connection, _QUESTION_SECONDS):
            stored = await load_catalogue(connection)
            if stored is None:
                return True
            catalogue = stored[1]
            await self._move_bound(connection, catalogue)
            due = await due_kinds(connection)
        is_done = True
        for kind in catalogue.kinds:
            if kind.name in due:
                is_done &= await self._kind(connection, kind)
        return is_done

    async def _move_bound(self, connection: asyncpg.Connection, catalogue: Catalogue) -> None:
        # A little later than the bucket's end, because readings are under way for a while.
        settled = self._clock() - round(self._options.rollup_grace_seconds * SECOND)
        names = [kind.name for kind in catalogue.kinds]
        try:
            await move_bound(connection, names, catalogue.city.timezone, settled - settled % MINUTES)
        except asyncpg.LockNotAvailableError:
            log.info("a long write is under way; the bound of the rollups moves in the next round")

    async def _kind(self, connection: asyncpg.Connection, kind: Kind) -> bool:
        for _ in range(_PASSES):
            async with deadline(connection, _TRANSACTION_SECONDS):
                made = await refresh(connection, kind)
            self._metrics.rollup_rows.labels(kind.name).inc(made.rows)
            self._metrics.rollup_notes.labels(kind.name).inc(made.marks)
            behind = max(self._clock() - made.clean_to, 0) / SECOND
            self._metrics.rollup_behind.labels(kind.name).set(behind)
            if made.is_done:
                return True
        return False
