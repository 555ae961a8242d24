"""What a loop of maintenance is, and the plainest one: a job once in a while, on a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import asyncpg

from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from storage.database import connect_alone
from storage.deadline import deadline

Job = Callable[[asyncpg.Connection], Awaitable[None]]


class Loop(Protocol):
    """Work that goes on until it is cancelled.

    It need not mend a lost connection: where ``run`` raises an error of the database, the service logs it, waits
    and calls ``run`` anew. After each round it calls ``metrics.succeeded(name, seconds)``. It may be cancelled at
    any moment, and what it does must bear being done twice, also by two processes at once.
    """

    @property
    def name(self) -> str:
        """Names it in metrics, logs and ``/readyz``."""
        ...

    async def run(self) -> None:
        """Work for ever; ends by cancellation or by an error."""
        ...


class Periodic:
    """Does ``job`` at once and then each ``every`` seconds; a job of more than ``within`` seconds is ended."""

    def __init__(
        self,
        name: str,
        job: Job,
        options: MaintenanceOptions,
        metrics: MaintenanceMetrics,
        *,
        every: float,
        within: float,
    ) -> None:
        self.name = name
        self._job = job
        self._options = options
        self._metrics = metrics
        self._every = every
        self._within = within

    async def run(self) -> None:
        """Work for ever; ends by cancellation or by the job's error."""
        while True:
            began = time.monotonic()
            await self._round()
            self._metrics.succeeded(self.name, time.monotonic() - began)
            await asyncio.sleep(self._every)

    async def _round(self) -> None:
        # Not kept in between: an hour later it may be gone without a word.
        connection = await connect_alone(
            self._options.database_url, application=f"alatau-maintain-{self.name}"
        )
        try:
            async with deadline(connection, self._within):
                await self._job(connection)
        finally:
            # A transaction under way ends with its connection.
            connection.terminate()
