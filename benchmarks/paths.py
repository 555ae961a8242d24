"""The full path, from the first publish to the last acknowledgement, and its variants: other loads, more workers,
another receiver and writer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Sequence

from benchmarks.load import Load
from benchmarks.rig import (
    INGEST,
    Publishing,
    Worker,
    cpu_of,
    cpu_of_database,
    forget,
    scratch_database,
    stored_rows,
    until,
    worker,
)
from cli.local import LocalStack
from storage.database import INGEST_ROLE

_SECONDS = 300.0  # after which a run is given up


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """What a run came to: ``rate`` in messages/s, processor time in µs a message, memory in MB;
    ``lost``, good readings that are not stored; ``repeated``, readings that came more than once."""

    rate: float
    ingest: float
    broker: float
    database: float
    resident: float
    lost: int
    repeated: int

    @property
    def total(self) -> float:
        """Processor time of the three together, in µs a message."""
        return self.ingest + self.broker + self.database


async def full_path(stack: LocalStack, load: Load, workers: int = 1, program: Sequence[str] = INGEST) -> Path:
    """Publish a load as fast as it is acknowledged, and wait until all of it is committed and acknowledged."""
    async with scratch_database(stack, load) as database, contextlib.AsyncExitStack() as exits:
        url = stack.database_url(INGEST_ROLE, database)
        running = []
        for number in range(workers) if workers > 1 else [None]:
            exits.push_async_callback(forget, stack, number or 0)
            running.append(await exits.enter_async_context(worker(stack, url, number, program)))
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, load))
        async with asyncio.timeout(_SECONDS):
            return await _measure(stack, load, database, running, publishing)


async def _measure(
    stack: LocalStack, load: Load, database: str, workers: Sequence[Worker], publishing: Publishing
) -> Path:
    before = _processor_times(stack, workers)
    publishing.go()
    started = time.monotonic()
    await publishing.result()
    await until(
        lambda: sum(one.acknowledged() for one in workers) >= load.count,
        _SECONDS,
        "everything acknowledged",
    )
    seconds = time.monotonic() - started
    after = _processor_times(stack, workers)
    ingest, broker, postgres = (
        (late - early) / load.count * 1e6 for early, late in zip(before, after, strict=True)
    )
    return Path(
        rate=load.count / seconds,
        ingest=ingest,
        broker=broker,
        database=postgres,
        resident=max(one.resident_bytes() for one in workers) / 1e6,
        lost=load.good - await stored_rows(stack, database, load),
        repeated=await asyncio.to_thread(lambda: sum(one.repeated() for one in workers)),
    )


def _processor_times(stack: LocalStack, workers: Sequence[Worker]) -> tuple[float, float, float]:
    return (
        sum(one.cpu_seconds() for one in workers),
        cpu_of(stack.mosquitto.pid),
        cpu_of_database(stack),
    )
