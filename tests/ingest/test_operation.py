"""What an operator does to workers and sees of them: real processes, signals, logs, metrics."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import pathlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from benchmarks.load import Load
from cli.ingest_status import Scrape, observe, scrape
from storage.database import connect
from tests.docs.markdown import first_column, read
from tests.ingest.conftest import Rig
from tests.ingest.test_kills import Worker, expect_all_stored, publishing, register
from tests.ingest.test_outages import _start_database, _stop_database


@pytest.fixture
def worker(rig: Rig, tmp_path: pathlib.Path) -> Iterator[Worker]:
    worker = Worker(rig, tmp_path, ports=2)
    yield worker
    worker.close()


def _load(minutes_ago: int, count: int = 30_000) -> Load:
    start = time.time_ns() // 1_000_000 - minutes_ago * 60_000
    return Load(count=count, devices=100, metrics=5, rate=6000, start=start)


async def until(is_true: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for something that another process does; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(is_true):
        assert time.monotonic() < deadline, "it did not come in time"
        await asyncio.sleep(0.05)


def place(worker: Worker, number: int = 0) -> str:
    return f"http://127.0.0.1:{worker.port + number}"


def scraped(worker: Worker, number: int = 0) -> Scrape:
    found = scrape(place(worker, number))
    assert found is not None
    return found


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not ended."""
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextlib.asynccontextmanager
async def locked(rig: Rig, table: str = "reading.air_quality") -> AsyncIterator[None]:
    """Keep whoever uses a table waiting, on a connection that no other lock hangs on."""
    connection = await connect(rig.database.owner_url, application="test")
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


# -- metrics ----------------------------------------------------------------------------------------


async def test_a_worker_has_the_metrics_that_are_documented_and_no_other(rig: Rig, worker: Worker) -> None:
    worker.start()
    await worker.until_ready()
    text = read("docs/operations.md")
    documented = {*first_column(text, "Metrics of ingest"), *first_column(text, "Metrics of every process")}
    names = {name for name, _ in scraped(worker).samples}
    ends = ("", "_total", "_bucket", "_count", "_sum")
    assert {name for name in documented if not any(name + end in names for end in ends)} == set()
    assert {name for name in names if not any(name.removesuffix(end) in documented for end in ends)} == set()


# -- logs -------------------------------------------------------------------------------------------


async def test_an_incident_is_one_line_and_a_bad_message_none(rig: Rig, worker: Worker) -> None:
    load = _load(50)
    await register(rig, load)
    gateway, device = await rig.gateway(), await rig.add_device()
    worker.start()
    await worker.until_ready()
    for _ in range(1000):
        gateway.client.publish(f"alatau/v1/{device.id}/telemetry", b"{", qos=1)
    kept, folded = (f"dead_letters{form}_total" for form in ("", "_folded"))
    await until(lambda: sum(scraped(worker).value(name, "undecodable") for name in (kept, folded)) == 1000)
    async with publishing(rig, load) as published:
        await until(lambda: scraped(worker).value("readings_stored_total") > 3000)
        await _stop_database(rig, signal.SIGINT)
        # About five seconds of trying.
        await until(lambda: scraped(worker).value("commit_retries_total") >= 6)
        await _start_database(rig)
        await published
    await expect_all_stored(rig, load)
    assert await asyncio.to_thread(worker.terminate) == 0
    lines = collections.Counter(str(line["event"]) for line in worker.events())
    away = "database away; nothing is acknowledged until it is back"
    assert {"receiving", away, "database is back", "stopping; draining what has arrived"} <= set(lines)
    assert set(lines.values()) == {1}
    assert len(lines) <= 8, "the database's and the latest values' comings and goings, and the alarm's"
    assert {line["worker"] for line in worker.events()} == {0}


async def test_the_api_says_once_that_the_database_is_away(rig: Rig, worker: Worker) -> None:
    with worker.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "cli", "api"),
            env={
                **os.environ,
                "ALATAU_DATA_DIR": str(worker.log.parent),
                "ALATAU_DATABASE_URL": rig.database.api_url,
                "ALATAU_API_PORT": str(worker.port),
            },
            stderr=log,
        )
    try:
        await worker.until_ready()
        await _stop_database(rig, signal.SIGINT)
        # The pool tries by itself to have a connection again, each request for its own sake.
        for _ in range(20):
            await worker.ask()
        await until(lambda: "pool" in worker.log.read_text())
        await _start_database(rig)
        await worker.until_ready()
    finally:
        process.terminate()
        await process.wait()
    lines = collections.Counter(str(line["event"]) for line in worker.events())
    assert lines["database away"] == 1
    assert set(lines.values()) == {1}
    assert "Traceback" not in worker.log.read_text()


# -- signals ----------------------------------------------------------------------------------------


async def test_a_second_term_ends_a_drain_that_hangs_and_loses_nothing(rig: Rig, worker: Worker) -> None:
    load = _load(40)
    await register(rig, load)
    worker.start()
    await worker.until_ready()
    async with publishing(rig, load) as published:
        await until(lambda: scraped(worker).value("readings_stored_total") > 3000)
        async with locked(rig):
            await until(lambda: scraped(worker).value("messages_in_flight") > 3000)
            os.kill(worker.pid, signal.SIGTERM)
            await until(lambda: worker.events()[-1]["event"] == "stopping; draining what has arrived")
            assert await worker.ask() == (503, "stopping")
            assert await asyncio.to_thread(worker.terminate) == 128 + signal.SIGTERM
        worker.start()
        await published
    await expect_all_stored(rig, load)


async def test_a_drain_that_hangs_ends_at_its_deadline_and_loses_nothing(rig: Rig) -> None:
    load = _load(30)
    await register(rig, load)
    options = rig.options(drain_timeout_seconds=0.5)
    async with rig.worker(options):
        pass  # from now on the broker keeps what is published
    async with publishing(rig, load) as published:
        async with locked(rig), asyncio.timeout(20), rig.worker(options) as ingest:
            await rig.until(lambda: ingest.metrics.messages_held() > 3000)
        assert ingest.metrics.acknowledged._value.get() == 0
        async with rig.worker(options):
            await published
            await expect_all_stored(rig, load)


async def test_a_drain_does_not_wait_for_latest_values(rig: Rig) -> None:
    """They are healed from the rows at the next start."""
    device = await rig.add_device()
    options = rig.options()
    async with locked(rig, "alatau.latest"), asyncio.timeout(20), rig.worker(options) as ingest:
        await asyncio.to_thread(device.publish, {"pm2_5": 5})
        await rig.until(lambda: ingest.metrics.acknowledged._value.get() == 1)
    assert len(await rig.rows(device)) == 1
    latest = "SELECT count(*) FROM alatau.latest WHERE device_id = $1"
    assert await rig.connection.fetchval(latest, await rig.number_of(device)) == 0
    async with rig.worker(options):
        await rig.until_sql(latest, await rig.number_of(device))


# -- several workers --------------------------------------------------------------------------------


async def test_a_worker_of_two_that_is_killed_comes_back_and_nothing_is_lost(
    rig: Rig, worker: Worker
) -> None:
    load = _load(10, count=40_000)
    await register(rig, load)
    worker.start("--workers", "2")
    await until(lambda: all(scrape(place(worker, number)) for number in range(2)))
    async with publishing(rig, load) as published:
        both = [place(worker, number) for number in range(2)]
        await until(lambda: all(scraped(worker, n).value("readings_stored_total") > 1000 for n in range(2)))
        before = children(worker.pid)
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: len({*children(worker.pid)} - {before[0]}) == 2)
        await published
    await expect_all_stored(rig, load)
    observed = await asyncio.to_thread(observe, both)
    assert [each["worker"] for each in observed["workers"]] == ["alatau-ingest-0", "alatau-ingest-1"]
    assert await asyncio.to_thread(worker.terminate) == 0
    events = collections.Counter((line.get("worker"), line["event"]) for line in worker.events())
    assert events[0, "stopping; draining what has arrived"] == 1
    assert events[1, "stopping; draining what has arrived"] == 1


async def test_workers_whose_parent_is_killed_end(worker: Worker) -> None:
    worker.start("--workers", "2")
    await until(lambda: all(scrape(place(worker, number)) for number in range(2)))
    orphans = children(worker.pid)
    assert len(orphans) == 2
    worker.kill()
    await until(lambda: not any(map(is_alive, orphans)))
