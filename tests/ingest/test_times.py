"""Clocks that jump, readings in any order and any number of times, workers that race: each is stored once."""

from __future__ import annotations

import contextlib
import json
import pathlib
import random
import time

from benchmarks.sabotage import set_clock
from tests.ingest.conftest import Rig
from tests.ingest.counting import counted, expect_clean, finish, published, victim

_WEEK_MS = 7 * 86_400_000


async def test_clock_that_jumps_by_hours_costs_and_doubles_no_reading(
    rig: Rig, tmp_path: pathlib.Path
) -> None:
    """The worker's clock, not the machine's: it is shifted from outside the product, and only for this process.

    Stated times are three hours old, so that they are never in this clock's future; those have to be refused.
    """
    load, ledger, clock = counted(200_000, minutes_ago=180), tmp_path / "ledger", tmp_path / "clock"
    set_clock(clock, 0)
    with victim(rig, tmp_path) as worker:
        worker.start(["--clock", str(clock)])
        await worker.until_ready()
        seen = 0
        async with published(rig, load, ledger) as gateway:
            for hours in (1, -1, 0, -1):
                seen += 900
                await rig.until(lambda expected=seen: gateway.counts.get("acknowledged", 0) > expected)  # type: ignore[misc]
                set_clock(clock, hours * 3600)
            await finish(gateway)
        await expect_clean(rig, load, ledger)
        assert await worker.terminate() == 0


async def test_readings_in_any_order_and_twice_are_stored_once(rig: Rig) -> None:
    """Three messages about each moment of ten weeks, each message twice, shuffled: one row a moment, complete."""
    device = await rig.add_device()
    now, moments = time.time_ns() // 1_000_000, 120
    messages = [
        {"ts": now - moment * _WEEK_MS // 12, metric: float(moment)}
        for moment in range(moments)
        for metric in ("pm2_5", "pm10", "no2")
    ]
    shuffled = random.Random(7).sample(messages * 2, 2 * len(messages))  # noqa: S311 - an order
    async with rig.worker() as worker:
        for message in shuffled:
            payload = json.dumps(message)
            device.client.publish(f"alatau/v1/{device.id}/telemetry", payload, qos=1)
        await rig.until(lambda: worker.metrics.acknowledged._value.get() == len(shuffled))
    rows = await rig.rows(device)
    assert len(rows) == moments
    for age, row in enumerate(reversed(rows)):
        assert (row["pm2_5"], row["pm10"], row["no2"]) == (age, age, age)
    assert await rig.letters(device) == []


async def test_two_workers_that_race_on_the_same_rows_store_each_once(
    rig: Rig, tmp_path: pathlib.Path
) -> None:
    """Each has the whole load to itself, so both write every row, at the same time."""
    load, ledger = counted(8_000, stamped=True), tmp_path / "ledger"
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(rig.worker()) for _ in range(2)]
        gateway = await stack.enter_async_context(published(rig, load, ledger))
        await gateway.result()
        for worker in workers:
            await rig.until(lambda one=worker: one.metrics.acknowledged._value.get() == load.count)  # type: ignore[misc]
        await expect_clean(rig, load, ledger)
        assert sum(worker.metrics.duplicate._value.get() for worker in workers) > 0
