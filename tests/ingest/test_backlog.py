"""What waits at the broker is known, also while the database keeps the worker from reading."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import pathlib
import time
from collections.abc import AsyncIterator

import pytest

from benchmarks.load import Load
from broker.accounts import Service
from cli.local import LocalStack
from ingest.backlog import Backlog
from ingest.readiness import State
from sensors.topics import BROKER_STORED
from tests.conftest import broker_beside
from tests.ingest.conftest import Rig
from tests.ingest.test_kills import expect_all_stored, publishing, register


@pytest.fixture
async def alone(rig: Rig, local_stack: LocalStack, directory_for_servers: pathlib.Path) -> AsyncIterator[Rig]:
    """At a broker of its own: the others' holds what is for workers of other tests."""
    stack = broker_beside(local_stack, directory_for_servers, "backlog")
    try:
        await stack.start_broker()
        yield dataclasses.replace(rig, stack=stack)
    finally:
        await stack.mosquitto.stop()


async def test_a_backlog_is_counted_while_the_database_hangs_and_drained_when_it_does_not(alone: Rig) -> None:
    load = Load(count=6000, devices=10, metrics=3, start=time.time_ns() // 1_000_000 - 3_600_000)
    await register(alone, load)
    options = alone.options()
    options = dataclasses.replace(options, session=dataclasses.replace(options.session, receive_maximum=500))
    async with alone.worker(options) as ingest:
        backlog = ingest._backlog.value
        await alone.until(lambda: backlog() == 0)
        async with alone.connection.transaction():
            await alone.connection.execute("LOCK TABLE reading.air_quality IN ACCESS EXCLUSIVE MODE")
            async with publishing(alone, load) as published:
                await published
            await alone.until(lambda: backlog() == load.count)
            sentence = f"draining a backlog of {load.count:,} messages"
            assert ingest.readiness() == (True, sentence, State.DRAINING)
            (family,) = ingest.metrics.backlog.collect()
            assert family.samples[0].value == load.count
        await expect_all_stored(alone, load)
        await alone.until(lambda: ingest.readiness().state is State.RECEIVING)


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
