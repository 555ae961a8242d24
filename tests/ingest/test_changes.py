"""The city changes while readings flow: new metrics, new devices, a database that hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import numpy as np
import pytest

from benchmarks.load import Load
from broker.accounts import Service
from ingest.arrivals import Arrivals
from ingest.intake import Cut
from ingest.latest import LatestFlusher
from ingest.metrics import IngestMetrics
from ingest.routes import Routes
from sensors.catalogue import Catalogue, build_catalogue, parse_city_file, validate_device
from sensors.checks import TimeWindow
from sensors.errors import CatalogueError
from sensors.kinds import DeviceSpec
from sensors.readings import ReadingBatch
from sensors.topics import Topics
from storage.catalogue import apply_city_file
from storage.database import connect
from storage.devices import register_devices
from storage.latest import flush_latest
from storage.latest_changes import LATEST_CHANNEL
from storage.writer import Batch, Written, write
from tests.ingest.conftest import Rig
from tests.ingest.test_kills import expect_all_stored, publishing, register
from tests.ingest.test_parts import NOW, packet

ANOTHER_METRIC = """
[[metric]]
kind = "air_quality"
name = "{name}"
title = "Another"
unit = "1"
minimum = 0
maximum = 10
resolution = 1
"""


async def test_a_metric_added_under_load_loses_nothing(rig: Rig) -> None:
    start = time.time_ns() // 1_000_000 - 20 * 60_000
    load = Load(count=20_000, devices=50, metrics=5, rate=5000, start=start)
    await register(rig, load)
    async with rig.worker(), publishing(rig, load) as published:
        for number in range(3):
            await asyncio.sleep(0.5)
            file = parse_city_file(ANOTHER_METRIC.format(name=f"added_{number}"), "more.toml")
            await apply_city_file(rig.connection, file, "more.toml")
        await published
    await expect_all_stored(rig, load)


async def test_rows_of_two_catalogues_are_written_in_one_transaction(rig: Rig) -> None:
    device = await rig.add_device()
    number = await rig.number_of(device)
    file = parse_city_file(ANOTHER_METRIC.format(name="of_two"), "more.toml")
    await apply_city_file(rig.connection, file, "more.toml")
    old = rig.catalogue.kind_of["air_quality"]
    new = build_catalogue(file, "more.toml", rig.catalogue).kind_of["air_quality"]
    batches = [
        ReadingBatch(
            kind,
            np.array([number] * 2, dtype=np.int32),
            np.array([NOW, NOW + first], dtype=np.int64),
            np.array([NOW] * 2, dtype=np.int64),
            np.full((2, len(kind.columns)), value),
        )
        for kind, first, value in ((old, 1, 1.0), (new, 2, 2.0))
    ]
    assert await write(rig.connection, Batch(batches)) == Written(stored=3, merged=1)
    for batch in batches:
        await flush_latest(rig.connection, [batch])
    rows = await rig.rows(device)
    assert [(row["pm1"], row["of_two"]) for row in rows] == [(1, 2), (1, None), (2, 2)]


async def test_one_notification_tells_of_all_that_was_merged(rig: Rig) -> None:
    heard: list[object] = []
    await rig.connection.add_listener(LATEST_CHANNEL, lambda *_: heard.append(1))
    flusher = LatestFlusher(rig.options(), IngestMetrics(), time.monotonic)
    for kind in (rig.catalogue.kind_of[name] for name in ("air_quality", "noise")):
        number = await rig.number_of(await rig.add_device(kind.name))
        devices, times = np.array([number, number], dtype=np.int32), np.array([NOW, NOW + 1], dtype=np.int64)
        batch = ReadingBatch(kind, devices, times, times, np.ones((2, len(kind.columns))))
        await write(rig.connection, Batch([batch]))
        flusher.add([batch])
    await flusher.flush()
    await flusher.flush()  # nothing is new
    await flusher.close()
    await rig.connection.fetchval("SELECT 1")  # what was said before is heard with the answer
    assert heard == [1]


async def test_a_device_whose_registration_commits_late_is_found(rig: Rig) -> None:
    other = await connect(rig.database.owner_url, application="test")
    gateway = await rig.gateway()
    try:
        async with rig.worker():
            slow = other.transaction()
            await slow.start()
            spec = DeviceSpec("commits-late", "noise", "gate")
            (late,) = (await register_devices(other, [spec], rig.catalogue)).values()
            await register_devices(
                rig.connection, [DeviceSpec("commits-first", "noise", "gate")], rig.catalogue
            )
            await asyncio.to_thread(gateway.publish, {"laeq": 1}, "commits-first")
            await rig.until_sql("SELECT count(*) FROM reading.noise")
            await slow.commit()
            await asyncio.to_thread(gateway.publish, {"laeq": 2}, "commits-late")
            await rig.until_sql("SELECT count(*) FROM reading.noise WHERE device_id = $1", late)
    finally:
        await other.close()


async def test_a_database_that_hangs_is_seen(rig: Rig) -> None:
    device, options = await rig.add_device(), rig.options()
    async with rig.worker(options) as ingest:
        backend = await rig.connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1", options.worker
        )
        os.kill(backend, signal.SIGSTOP)
        try:
            await asyncio.to_thread(device.publish, {"pm2_5": 1})
            await rig.until(lambda: "has not answered" in ingest.readiness()[1])
            assert not ingest.readiness()[0]
        finally:
            os.kill(backend, signal.SIGCONT)
        await rig.until(lambda: ingest.readiness()[0])
    assert len(await rig.rows(device)) == 1


def test_a_repeated_check_finds_the_same_and_says_it_once(catalogue: Catalogue) -> None:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "a", "noise", 60.0)])
    cut = Cut(routes, Arrivals())
    cut.feed([packet(b'{"laeq": 999}'), packet(b'{"laeq": 60}')], NOW)
    first = cut.check(NOW, TimeWindow())
    assert cut.check(NOW + 1, TimeWindow()) is first
    (letter,) = cut.letters()
    assert letter.detail == "laeq 999 is not between 0 and 160 dB"


def test_only_the_first_faults_of_a_message_are_explained(catalogue: Catalogue) -> None:
    routes = Routes(Topics())
    routes.set_catalogue(catalogue)
    routes.add([(1, "a", "noise", 60.0)])
    cut = Cut(routes, Arrivals())
    cut.feed([packet(json.dumps({f"laeq_{n}": 1 for n in range(1000)}).encode())], NOW)
    (letter,) = cut.letters()
    assert letter.detail.count("did you mean") == 5
    (message,) = cut.faulty.values()
    assert all(callable(fault.explanation) for fault in message.faults), "explained once that is wanted"


async def test_bytes_that_wait_are_bounded(rig: Rig) -> None:
    """A device that sends large messages makes the worker pause, not grow; all of it arrives all the same."""
    device = await rig.add_device()
    payload = {"pm2_5": 1, "padding": "x" * 100_000}
    async with rig.worker(rig.options(pending_bytes=200_000)):
        for _ in range(20):
            await asyncio.to_thread(device.publish, payload)
        waits = "SELECT count(*) = 20 FROM alatau.dead_letter WHERE topic LIKE $1"
        await rig.until_sql(waits, f"%/{device.id}/%")


@pytest.mark.parametrize("name", [*Service, "telegraf", "alatau"])
def test_a_device_can_t_be_called_like_a_service_or_what_topics_begin_with(
    name: str, catalogue: Catalogue
) -> None:
    with pytest.raises(CatalogueError, match="is not free"):
        validate_device(DeviceSpec(name, "noise", "gate"), catalogue)


async def test_a_device_that_is_deleted_in_mid_stream_stops_nobody(rig: Rig) -> None:
    """No command deletes one; a person with SQL may."""
    gone, other = await rig.add_device(), await rig.add_device()
    async with rig.worker() as ingest:
        await asyncio.to_thread(gone.publish, {"seq": 1, "ts": time.time(), "pm2_5": 1})
        await rig.until_sql(
            "SELECT count(*) FROM alatau.sequence WHERE device_id = $1", await rig.number_of(gone)
        )
        await rig.connection.execute("DELETE FROM alatau.device WHERE id = $1", gone.id)
        await asyncio.to_thread(gone.publish, {"seq": 2, "ts": time.time(), "pm2_5": 2})
        await asyncio.to_thread(other.publish, {"pm2_5": 3})
        stored = "SELECT count(*) FROM reading.air_quality WHERE device_id = $1"
        await rig.until_sql(stored, await rig.number_of(other))
        await rig.until(lambda: ingest.metrics.in_flight._value.get() == 0)
    (letter,) = await rig.letters(gone)
    assert (letter["reason"], letter["device_id"]) == ("refused_by_database", None)
