"""The maintenance process: its loops side by side, each started again when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from maintenance.compression import compression_loop
from maintenance.loops import Loop
from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from maintenance.refresher import Refresher
from maintenance.retention import retention_loop
from storage.database import connect, read_edition
from storage.deadline import deadline
from storage.errors import StorageError, classify

_DEADLINE_SECONDS = 5.0
_FAILED = "a loop failed; starting it again"
log = structlog.get_logger("maintenance")


def _of_the_database(error: Exception) -> StorageError | None:
    return error if isinstance(error, StorageError) else classify(error)


class Readiness(NamedTuple):
    """Whether maintenance can work, and a sentence that says what keeps it."""

    is_ready: bool
    sentence: str


def build_loops(options: MaintenanceOptions, metrics: MaintenanceMetrics) -> list[Loop]:
    """Return every loop, in the order in which they begin."""
    return [
        Refresher(options, metrics),
        retention_loop(options, metrics),
        compression_loop(options, metrics),
    ]


class Maintenance:
    """Runs the loops. Two of these at once do no harm and no good."""

    def __init__(
        self,
        options: MaintenanceOptions,
        metrics: MaintenanceMetrics | None = None,
        loops: Sequence[Loop] | None = None,
    ) -> None:
        self.options = options
        self.metrics = metrics or MaintenanceMetrics()
        self._loops = build_loops(options, self.metrics) if loops is None else loops
        self._away: str | None = "the database has not been asked yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``. What is under way then is rolled back, and done at the next start."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._watch(), name="maintenance.watch"),
                *(
                    group.create_task(self._keep(loop), name=f"maintenance.{loop.name}")
                    for loop in self._loops
                ),
            ]
            log.info("maintaining", loops=[loop.name for loop in self._loops])
            await stop.wait()
            log.info("stopping")
            for task in tasks:
                task.cancel()

    async def _keep(self, loop: Loop) -> None:
        while True:
            try:
                await loop.run()
            except Exception as error:
                if (ours := _of_the_database(error)) is None:
                    raise
                self.metrics.failed(loop.name, str(ours))
                log.warning(_FAILED, loop=loop.name, error=str(ours))
            await asyncio.sleep(self.options.retry_seconds)

    async def _watch(self) -> None:
        """Look again and again whether the database answers and is at our revision."""
        while True:
            try:
                self._away = await self._what_is_amiss()
            except Exception as error:
                if (ours := _of_the_database(error)) is None:
                    raise
                self._away = f"the database is away: {ours}"
            self.metrics.database_up.set(self._away is None)
            if self._away is not None:
                log.warning("maintenance waits", error=self._away)
            await asyncio.sleep(self.options.watch_seconds)

    async def _what_is_amiss(self) -> str | None:
        connection = await connect(self.options.database_url, application="alatau-maintain-watch")
        try:
            async with deadline(connection, _DEADLINE_SECONDS):
                edition = await read_edition(connection)
        finally:
            connection.terminate()
        if edition.is_current:
            return None
        return f"the schema is at revision {edition.revision}, which is not ours; run: alatau migrate"

    def readiness(self) -> Readiness:
        """Return whether the work goes on."""
        if self._away is not None:
            return Readiness(is_ready=False, sentence=self._away)
        if failing := self.metrics.failing:
            return Readiness(
                is_ready=False, sentence="; ".join(f"{loop}: {error}" for loop, error in failing.items())
            )
        return Readiness(is_ready=True, sentence="maintaining")
