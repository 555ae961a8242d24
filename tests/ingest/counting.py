"""Faults under a counted load: published through a gateway that comes back, compared with its ledger."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import pathlib
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.counted import Counted
from benchmarks.gateway import Plan, Publishing, publishing
from benchmarks.ledger import compare, read_ledger
from benchmarks.victim import Victim
from broker.accounts import Service
from ingest.options import IngestOptions
from storage.devices import register_devices
from tests.ingest.conftest import Rig

_numbers = itertools.count(1)


def counted(count: int, devices: int = 50, *, minutes_ago: int = 50, **changes: Any) -> Counted:
    """Return a load whose devices no other test has; of a large one, ``finish`` lets the rest be."""
    start = time.time_ns() // 1_000_000 - minutes_ago * 60_000
    return Counted(f"counted{next(_numbers)}", devices, count, start, **changes)


@contextlib.asynccontextmanager
async def published(
    rig: Rig, load: Counted, ledger: pathlib.Path, *, rate: float = 2500, **changes: Any
) -> AsyncIterator[Publishing]:
    """Register the devices of a load and publish it, beside what happens in the block."""
    specs = load.specs()
    await register_devices(rig.connection, specs, rig.catalogue)
    account = Service.SIMULATOR
    plan = Plan(load, rig.stack.ports.mqtt, account, str(ledger), rate)
    plan = dataclasses.replace(plan, **changes)
    async with publishing(plan, rig.stack.secrets.services[account]) as gateway:
        yield gateway


async def finish(gateway: Publishing) -> dict[str, int]:
    """Begin no more readings, and wait until those that were begun have their promise; return the counts."""
    gateway.stop()
    return await gateway.result()


async def expect_clean(rig: Rig, load: Counted, ledger: pathlib.Path, seconds: float = 30) -> None:
    """Wait until everything promised is stored; then nothing may be lost, doubled or invented."""
    deadline = time.monotonic() + seconds
    while True:
        verdict = await compare(rig.connection, load, read_ledger(ledger, load.count))
        if not verdict.lost or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    print(verdict, verdict.lost_numbers)
    assert verdict.promised == verdict.sent > 0, "not everything was acknowledged by the broker"
    assert (verdict.lost, verdict.doubled, verdict.invented) == (0, 0, 0)


def victim(rig: Rig, directory: pathlib.Path, *, database: int = 0, mqtt_port: int = 0) -> Victim:
    """Return a worker's process, not started; the ports of proxies stand for those of the servers."""
    ports = rig.stack.ports
    return Victim(
        {
            "ALATAU_DATA_DIR": str(directory),
            "ALATAU_DATABASE_URL": through(rig.database.ingest_url, ports.database, database),
            "ALATAU_MQTT_URL": f"mqtt://127.0.0.1:{mqtt_port or ports.mqtt}",
            "ALATAU_MQTT_USERNAME": Service.INGEST,
            "ALATAU_MQTT_PASSWORD": rig.stack.secrets.services[Service.INGEST],
        },
        directory / "ingest.log",
    )


def through(url: str, port: int, proxy: int) -> str:
    """Return a URL with the port of a proxy, if there is one."""
    return url.replace(f":{port}/", f":{proxy}/") if proxy else url


def linked(rig: Rig, *, database: int = 0, mqtt_port: int = 0, **changes: Any) -> IngestOptions:
    """Return options of a worker that reaches its servers through proxies."""
    options = rig.options(**changes)
    session = dataclasses.replace(options.session, port=mqtt_port or options.session.port)
    url = through(options.database_url, rig.stack.ports.database, database)
    return dataclasses.replace(options, session=session, database_url=url)
