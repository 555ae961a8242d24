"""The stored level of delivery from end to end: devices on one side, ingest's receipts on the other."""

from __future__ import annotations

import asyncio
import json
import pathlib
import threading

from broker.accounts import Service
from sensors.fleet import plan_fleet
from simulators.connection import Broker
from simulators.delivery import Level
from simulators.journal import Journal
from simulators.options import SimulateOptions
from simulators.reference import StoredPublisher
from simulators.run import run
from storage.devices import register_devices
from tests.ingest.conftest import Rig


def options(rig: Rig, account: Service, count: int) -> SimulateOptions:
    return SimulateOptions(
        rig.stack.mqtt_url,
        username=account,
        password=rig.stack.secrets.services[account],
        delivery=Level.STORED,
        rate=500,
        count=count,
        drain_timeout=30,
    )


async def test_a_device_forgets_a_reading_when_it_is_stored(rig: Rig, tmp_path: pathlib.Path) -> None:
    registered = await rig.add_device()
    secret = str(registered.client.password)
    await asyncio.to_thread(registered.close)
    broker = Broker.at(rig.stack.mqtt_url)
    with (
        Journal(tmp_path / "spool") as journal,
        StoredPublisher(broker, registered.id, secret, journal) as device,
    ):
        for at in range(300):
            device.publish({"pm2_5": 12.5}, 1_795_000_000 + at)
        # Nobody is there to store them: the broker keeps them, and so does the device.
        await rig.until(lambda: journal.spool.is_sent)
        assert device.waiting == 300
        async with rig.worker():
            assert await asyncio.to_thread(device.wait_stored, 30)
            assert device.counts.stored == 300
    assert len(await rig.rows(registered)) == 300


async def test_a_simulated_city_hears_that_every_reading_is_stored(rig: Rig) -> None:
    fleet = plan_fleet(rig.catalogue, 40)
    await register_devices(rig.connection, fleet, rig.catalogue)
    asked = options(rig, Service.SIMULATOR, 2000)
    async with rig.worker():
        progress = await asyncio.to_thread(
            run, asked, rig.catalogue, fleet, lambda _: None, threading.Event()
        )
    assert (progress.stored, progress.waiting, progress.dropped) == (2000, 0, 0)


async def test_the_gateway_hears_the_receipts_of_its_devices(rig: Rig) -> None:
    """The test is ingest: one receipt for each device, after the readings have come."""
    fleet = plan_fleet(rig.catalogue, 5)
    await register_devices(rig.connection, fleet, rig.catalogue)
    account = Service.INGEST
    ingest = await asyncio.to_thread(
        type(await rig.gateway()), rig.stack.ports.mqtt, account, rig.stack.secrets.services[account]
    )
    rig.devices.append(ingest)
    await asyncio.to_thread(ingest.subscribe, "alatau/v1/+/telemetry")

    def answer() -> None:
        through: dict[str, int] = {}
        for topic, payload in ingest.next_message(100):
            through[topic.split("/")[2]] = json.loads(payload)["seq"]
        for device, number in through.items():
            ingest.client.publish(f"alatau/v1/{device}/stored", json.dumps({"through": number}), qos=0)

    asked = options(rig, Service.SIMULATOR, 100)
    progress, _ = await asyncio.gather(
        asyncio.to_thread(run, asked, rig.catalogue, fleet, lambda _: None, threading.Event()),
        asyncio.to_thread(answer),
    )
    assert (progress.stored, progress.waiting) == (100, 0)
