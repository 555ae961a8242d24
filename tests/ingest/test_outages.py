"""The servers go away in mid-stream and come back: everything published is stored, once."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from benchmarks.load import Load
from stack.cluster import running_postmaster
from storage.database import connect
from tests.ingest.conftest import Rig
from tests.ingest.test_kills import expect_all_stored, publishing, register


def _load(minutes_ago: int) -> Load:
    start = time.time_ns() // 1_000_000 - minutes_ago * 60_000
    return Load(count=30_000, devices=100, metrics=5, rate=6000, start=start)


async def _stop_database(rig: Rig, how: signal.Signals) -> None:
    await rig.connection.close()
    if how is signal.SIGKILL:
        postmaster = running_postmaster(rig.stack.postgres.data_dir)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
    await rig.stack.postgres.stop()


async def _start_database(rig: Rig) -> None:
    await rig.stack.postgres.start()
    rig.connection = await connect(rig.database.owner_url, application="test")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_database_that_stops_in_mid_stream_loses_nothing(rig: Rig, how: signal.Signals) -> None:
    load = _load(50 if how is signal.SIGKILL else 40)
    await register(rig, load)
    async with rig.worker() as ingest:
        async with publishing(rig, load) as published:
            await rig.until(lambda: ingest.metrics.stored._value.get() > 5000)
            await _stop_database(rig, how)
            await rig.until(lambda: not ingest.readiness()[0])
            assert "database away" in ingest.readiness()[1]
            await _start_database(rig)
            counts = await published
        assert counts["acknowledged"] == load.count
        await expect_all_stored(rig, load)
        assert ingest.readiness()[0]


async def test_worker_that_starts_before_the_database_waits_for_it(rig: Rig) -> None:
    device = await rig.add_device()
    await _stop_database(rig, signal.SIGINT)

    async def start_later() -> None:
        await asyncio.sleep(0.5)
        await _start_database(rig)

    later = asyncio.create_task(start_later(), name="test.start_later")
    async with rig.worker():
        await later
        await asyncio.to_thread(device.publish, {"pm2_5": 1})
        stored = "SELECT count(*) = 1 FROM reading.air_quality WHERE device_id = $1"
        await rig.until_sql(stored, await rig.number_of(device))


async def test_connection_that_the_broker_drops_is_made_again(rig: Rig) -> None:
    load = _load(30)
    await register(rig, load)
    async with rig.worker() as ingest, publishing(rig, load) as published:
        for _ in range(3):
            received = ingest.metrics.received._value.get()
            await rig.until(lambda seen=received: ingest.metrics.received._value.get() > seen + 2000)  # type: ignore[misc]
            assert ingest._session is not None
            ingest._session.abort()
        counts = await published
        await rig.until(lambda: ingest.metrics.in_flight._value.get() == 0)
        assert counts["acknowledged"] == load.count
        assert ingest.metrics.reconnects._value.get() >= 3
        assert ingest.metrics.sessions_lost._value.get() == 0
        await expect_all_stored(rig, load)


async def test_two_workers_of_one_number_do_not_drive_each_other_out_in_a_tight_loop(rig: Rig) -> None:
    options = rig.options()
    async with rig.worker(options) as first, rig.worker(options) as second:
        await asyncio.sleep(2)
        connections = sum(
            worker.metrics.registry.get_sample_value("alatau_ingest_broker_connections_total") or 0
            for worker in (first, second)
        )
    assert 2 < connections < 60, "at once again, it were hundreds"
