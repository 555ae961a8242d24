"""Every fault that a simulated city injects has the end that its ground truth foretells."""

from __future__ import annotations

import asyncio
import collections
import json
import pathlib
import threading

from broker.accounts import Service
from sensors.fleet import plan_fleet
from simulators.faults import parse_faults
from simulators.options import SimulateOptions
from simulators.run import run
from storage.devices import register_devices
from tests.ingest.conftest import Rig


async def test_every_injected_fault_ends_as_foretold(rig: Rig, tmp_path: pathlib.Path) -> None:
    fleet = plan_fleet(rig.catalogue, 52)
    await register_devices(rig.connection, fleet, rig.catalogue)
    account = Service.SIMULATOR
    options = SimulateOptions(
        rig.stack.mqtt_url,
        username=account,
        password=rig.stack.secrets.services[account],
        rate=1000,
        count=8000,
        seed=7,
        faults=parse_faults("all=0.01"),
        truth=tmp_path / "truth.ndjson",
    )
    async with rig.worker() as ingest:
        progress = await asyncio.to_thread(
            run, options, rig.catalogue, fleet, lambda _: None, threading.Event()
        )
        await rig.until(lambda: ingest.metrics.acknowledged._value.get() >= progress.acknowledged)
    truth = [json.loads(line) for line in (tmp_path / "truth.ndjson").read_text().splitlines()]
    foretold = collections.Counter(
        line["expect"].removeprefix("dead_letter:")
        for line in truth
        if line["expect"].startswith("dead_letter:")
    )
    letters = await rig.connection.fetch(
        "SELECT reason, count(*) FROM alatau.dead_letter WHERE topic LIKE '%/sim-%' GROUP BY reason"
    )
    assert {row["reason"]: row["count"] for row in letters} == dict(foretold)
    assert len(foretold) >= 7, "the load is large enough to meet every reason"
    repeated = sum(line["expect"] == "duplicate" for line in truth)
    assert repeated > 0
    assert ingest.metrics.duplicate._value.get() == repeated
