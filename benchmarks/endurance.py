"""What time and outages do: a full window, a backlog at the broker, half an hour of load."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence

from benchmarks.load import Load
from benchmarks.rig import (
    INGEST,
    Publishing,
    Worker,
    forget,
    scratch_database,
    stored_rows,
    until,
    worker,
)
from cli.local import LocalStack
from stack.errors import StackError
from stack.progress import Report
from storage.database import INGEST_ROLE, OWNER_ROLE, connect
from storage.kinds import SCHEMA

WINDOW = 60_000  # what a worker may hold unacknowledged, unless it is told otherwise
_DRAIN_SECONDS = 300.0
# What comes meanwhile is published somewhat later than asked for: a process and a connection have to start.
_BEHIND_SECONDS = 2.0
_BYTES_A_ROW = 250  # with index and write-ahead log, generously
_RESERVE_BYTES = 8 * 1024**3


@dataclasses.dataclass(frozen=True, slots=True)
class FullWindow:
    """Memory in MB while the window is full and after it was committed; readings that are not stored."""

    held: float
    peak: float
    lost: int


@contextlib.asynccontextmanager
async def _blocked(stack: LocalStack, database: str, load: Load) -> AsyncIterator[None]:
    """Keep a kind's table locked, so that no transaction of the worker can end."""
    connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
    try:
        async with connection.transaction():
            await connection.execute(f'LOCK TABLE "{SCHEMA}"."{load.kind}" IN ACCESS EXCLUSIVE MODE')
            yield
    finally:
        await connection.close()


async def full_window(stack: LocalStack, load: Load) -> FullWindow:
    """Let the worker hold all that it may hold unacknowledged, then let it write; a load larger than ``WINDOW``."""
    async with scratch_database(stack, load) as database, contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(forget, stack)
        ingest = await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, database)))
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, load))
        async with _blocked(stack, database, load):
            publishing.go()
            async with asyncio.timeout(_DRAIN_SECONDS):
                await publishing.result()
            await until(lambda: ingest.in_flight() >= WINDOW, 60, "the window full")
            held = ingest.resident_bytes() / 1e6
        await until(lambda: ingest.acknowledged() >= load.count, 120, "everything acknowledged")
        return FullWindow(
            held, ingest.peak_bytes() / 1e6, load.count - await stored_rows(stack, database, load)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Burst:
    """How fast a backlog went, in readings/s with those that came meanwhile; readings that are not stored."""

    rate: float
    lost: int


async def burst(
    stack: LocalStack, backlog: Load, meanwhile: Load, report: Report, program: Sequence[str] = INGEST
) -> Burst:
    """Publish a backlog while no worker runs, then start one while other readings go on coming at their rate."""
    async with scratch_database(stack, backlog) as database, contextlib.AsyncExitStack() as exits:
        url = stack.database_url(INGEST_ROLE, database)
        exits.push_async_callback(forget, stack)
        async with worker(stack, url, program=program):
            pass  # from now on the broker keeps a session for it
        report(f"the broker takes {backlog.count:,} readings", None)
        async with (
            await Publishing.prepare(stack, backlog) as publishing,
            asyncio.timeout(2 * _DRAIN_SECONDS),
        ):
            publishing.go()
            published = (await publishing.result())["published"]
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, meanwhile))
        publishing.go()
        started = time.monotonic()
        # Its work begins before it is ready, so it is watched from before that.
        ingest = await exits.enter_async_context(worker(stack, url, program=program, ready_path="/healthz"))
        rate = await _drain(ingest, backlog, meanwhile, started, report)
        publishing.stop()
        async with asyncio.timeout(_DRAIN_SECONDS):
            published += (await publishing.result())["published"]
        await until(lambda: ingest.acknowledged() >= published, 60, "everything acknowledged")
        return Burst(rate, int(published) - await stored_rows(stack, database, backlog))


async def _drain(ingest: Worker, backlog: Load, meanwhile: Load, started: float, report: Report) -> float:
    """Return readings/s from the first that arrives until the worker is hardly behind."""
    arriving = meanwhile.rate or 0.0
    behind = min(_BEHIND_SECONDS * arriving, backlog.count / 2)
    await until(lambda: ingest.received() > 0, 60, "the first reading", pause=0.005)
    began = time.monotonic()
    while time.monotonic() < began + 2 * _DRAIN_SECONDS:
        done, now = await asyncio.to_thread(ingest.acknowledged), time.monotonic()
        due = backlog.count + min(meanwhile.count, arriving * (now - started))
        report(f"{done:,} of {due:,.0f}", done / due)
        if done >= due - behind:
            return done / (now - began)
        await asyncio.sleep(0.1)
    raise RuntimeError("the backlog did not drain in time")


@dataclasses.dataclass(frozen=True, slots=True)
class Soak:
    """Readings/s and resident MB of the first and the last sixth of the time; what the generator used of one
    core; readings that are not stored."""

    rate: float
    first_rate: float
    last_rate: float
    first_resident: float
    last_resident: float
    generator: float
    lost: int


def soak_load(rate: float, seconds: int, start: int) -> Load:
    """Return readings of 1,000 devices at a rate, their own times as far apart as they are sent."""
    devices = 1000
    step = round(devices / rate * 1000)
    return Load(int(rate * seconds), devices, 5, rate=rate, start=start, step=step)


async def soak(stack: LocalStack, load: Load, report: Report) -> Soak:
    """Publish at a steady rate for long. Raises StackError where the disk is too small for what that stores."""
    _require_space(load)
    seconds = load.count / (load.rate or 1.0)
    async with scratch_database(stack, load) as database, contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(forget, stack)
        ingest = await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, database)))
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, load))
        publishing.go()
        samples = await _sample(ingest, seconds, report)
        async with asyncio.timeout(_DRAIN_SECONDS):
            counts = await publishing.result()
        await until(lambda: ingest.acknowledged() >= load.count, _DRAIN_SECONDS, "everything acknowledged")
        lost = load.count - await stored_rows(stack, database, load)
    sixth = seconds / 6
    first = [sample for sample in samples if sample[0] <= sixth]
    last = [sample for sample in samples if sample[0] >= seconds - sixth]
    return Soak(
        rate=_rate(samples),
        first_rate=_rate(first),
        last_rate=_rate(last),
        first_resident=max(resident for _, _, resident in first),
        last_resident=max(resident for _, _, resident in last),
        generator=counts["cpu_seconds"] / counts["seconds"],
        lost=lost,
    )


Sample = tuple[float, int, float]  # seconds since the beginning, messages acknowledged, resident MB


async def _sample(ingest: Worker, seconds: float, report: Report) -> list[Sample]:
    started = time.monotonic()
    samples: list[Sample] = []
    while (passed := time.monotonic() - started) < seconds:
        acknowledged = await asyncio.to_thread(ingest.acknowledged)
        samples.append((time.monotonic() - started, acknowledged, ingest.resident_bytes() / 1e6))
        report(f"{passed / 60:.0f} of {seconds / 60:.0f} min, {acknowledged:,} readings", passed / seconds)
        await asyncio.sleep(min(1.0, seconds / 60))
    return samples


def _rate(samples: Sequence[Sample]) -> float:
    return (samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])


def _require_space(load: Load) -> None:
    needed = load.count * _BYTES_A_ROW + _RESERVE_BYTES
    place = tempfile.gettempdir()
    if shutil.disk_usage(place).free < needed:
        raise StackError(
            f"{place} has no {needed / 1e9:.0f} GB free, which the soak stores.",
            "Free some, set TMPDIR to a larger disk, or run other parts with --only.",
        )
