"""What waits at the broker is known, also while the database keeps the worker from reading."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time

from benchmarks.load import Load
from broker.accounts import Service
from ingest.backlog import Backlog
from ingest.readiness import State
from sensors.topics import BROKER_STORED
from tests.ingest.conftest import Rig
from tests.ingest.test_kills import expect_all_stored, publishing, register


async def test_a_backlog_is_counted_while_the_database_hangs_and_drained_when_it_does_not(rig: Rig) -> None:
    load = Load(count=6000, devices=10, metrics=3, start=time.time_ns() // 1_000_000 - 3_600_000)
    await register(rig, load)
    options = rig.options()
    options = dataclasses.replace(options, session=dataclasses.replace(options.session, receive_maximum=500))
    async with rig.worker(options) as ingest:
        backlog = ingest._backlog.value
        # What the broker says first may count what it held for workers of other tests, which have gone meanwhile.
        await rig.until(lambda: backlog() < 1000)
        async with rig.connection.transaction():
            await rig.connection.execute("LOCK TABLE reading.air_quality IN ACCESS EXCLUSIVE MODE")
            async with publishing(rig, load) as published:
                await published
            await rig.until(lambda: load.count <= backlog() < load.count + 1000)
            sentence = f"draining a backlog of {backlog():,.0f} messages"
            assert ingest.readiness() == (True, sentence, State.DRAINING)
            (family,) = ingest.metrics.backlog.collect()
            assert family.samples[0].value == backlog()
        await expect_all_stored(rig, load)
        await rig.until(lambda: ingest.readiness().state is State.RECEIVING)


async def test_a_broker_that_does_not_say_what_it_holds_is_no_error(rig: Rig) -> None:
    """The simulator's account may not subscribe to anything."""
    account = Service.SIMULATOR
    session = dataclasses.replace(
        rig.options().session, username=account, password=rig.stack.secrets.services[account]
    )
    backlog = Backlog(session)
    task = asyncio.create_task(backlog.run(), name="test.backlog")
    try:
        await asyncio.wait({task}, timeout=0.5)
        assert not task.done()
        assert backlog.messages is None
        assert math.isnan(backlog.value())
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_the_count_is_unknown_while_the_broker_is_away(rig: Rig) -> None:
    async with rig.worker() as ingest:
        await rig.until(lambda: ingest._backlog.messages is not None)
        assert BROKER_STORED in ingest._backlog._counts
        await rig.stack.mosquitto.stop()
        await rig.until(lambda: ingest._backlog.messages is None)
        assert ingest.readiness() == (False, "broker away", State.BROKER_AWAY)
        await rig.stack.mosquitto.start()
        await rig.until(lambda: ingest.readiness().is_ready)
        await rig.until(lambda: ingest._backlog.messages is not None)
