"""The refresher beside a load: what it costs, and how long after their end the rollups of five minutes are there."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time

from benchmarks.load import Load
from benchmarks.rig import Publishing, cpu_of, forget, running, scratch_database, worker
from cli.local import LocalStack
from cli.probes import answers_ok
from sensors.times import SECOND
from stack.ports import free_port
from stack.progress import Report
from storage.database import INGEST_ROLE, MAINTENANCE_ROLE, OWNER_ROLE, connect
from storage.rollup_progress import read_progress
from storage.rollup_tables import MINUTES

_DEVICES = 2000
_WARM_UP_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Keeping:
    """``cpu`` of the maintenance process as a share of one core; ``behind``, seconds from a bucket's end until it
    was clean, the most; ``rate`` of the load in readings/s."""

    cpu: float
    behind: float
    rate: float


def live_load(rate: float, seconds: float) -> Load:
    """Return readings of now at a rate, their own times as far apart as they are sent."""
    step = round(_DEVICES / rate * 1000)
    now = time.time_ns() // 1_000_000
    return Load(
        int(rate * seconds), _DEVICES, 5, rate=rate, start=now, step=step, interval=f"PT{step / 1000}S"
    )


async def keep_up(stack: LocalStack, rate: float, buckets: int, report: Report) -> Keeping:
    """Let a load go on until so many buckets have ended after the first that it was part of, and are clean."""
    now = time.time_ns() // 1000
    first = now - now % MINUTES + MINUTES
    last = first + buckets * MINUTES
    load = live_load(rate, (last - now) / SECOND + 120)
    async with scratch_database(stack, load) as database, contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(forget, stack)
        await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, database)))
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, load))
        publishing.go()
        await asyncio.sleep(_WARM_UP_SECONDS)
        port = free_port()
        environment = {
            "ALATAU_DATABASE_URL": stack.database_url(MAINTENANCE_ROLE, database),
            "ALATAU_MAINTENANCE_PORT": str(port),
        }
        process = await exits.enter_async_context(
            running(["cli", "maintain"], environment, port, answers_ok(port))
        )
        connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
        exits.push_async_callback(connection.close)
        began, used, behind = time.monotonic(), cpu_of(process.pid), 0.0
        bound = first
        while bound <= last:
            progress = (await read_progress(connection)).get(load.kind)
            now = time.time_ns() // 1000
            if progress is not None and progress.clean_to >= bound:
                behind = max(behind, (now - bound) / SECOND)
                bound += MINUTES
            report(f"bucket {(bound - first) // MINUTES + 1} of {buckets + 1}", None)
            await asyncio.sleep(0.2)
        cpu = (cpu_of(process.pid) - used) / (time.monotonic() - began)
        publishing.stop()
        counts = await publishing.result()
        return Keeping(cpu, behind, counts["published"] / counts["seconds"])
