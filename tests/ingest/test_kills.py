"""Nothing is lost and nothing is doubled, whatever dies: real processes, killed for real, everything counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from benchmarks.load import PASSWORD_VARIABLE, Load, arguments, device_names
from broker.accounts import Service
from cli.probes import answers_ok
from sensors.kinds import DeviceSpec
from stack.ports import free_port, is_free
from storage.devices import register_devices
from tests.ingest.conftest import Rig

PROJECT = pathlib.Path(__file__).parents[2]


class Worker:
    """``alatau ingest`` as a process, as an operator has it."""

    def __init__(self, rig: Rig, directory: pathlib.Path, ports: int = 1, **settings: str) -> None:
        self.port = free_port()
        while not all(is_free(port) for port in range(self.port, self.port + ports)):
            self.port = free_port()
        self.log = directory / f"ingest-{self.port}.log"
        self._log = self.log.open("ab")
        self._environment = {
            **os.environ,
            "ALATAU_DATA_DIR": str(directory),
            "ALATAU_DATABASE_URL": rig.database.ingest_url,
            "ALATAU_MQTT_URL": rig.stack.mqtt_url,
            "ALATAU_MQTT_USERNAME": Service.INGEST,
            "ALATAU_MQTT_PASSWORD": rig.stack.secrets.services[Service.INGEST],
            "ALATAU_INGEST_PORT": str(self.port),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "cli", "ingest", *arguments],
            cwd=PROJECT,
            env=self._environment,
            stderr=self._log,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def events(self) -> list[dict[str, object]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def until_ready(self) -> None:
        probe = answers_ok(self.port)
        deadline = time.monotonic() + 30
        while not await probe():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    async def ask(self) -> tuple[int, str]:
        """Return how `/readyz` answers, and the state that it tells."""
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/readyz")
        return answer.status_code, str(answer.json()["status"])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)

    def close(self) -> None:
        self.kill()
        self._log.close()


@pytest.fixture
def worker(rig: Rig, tmp_path: pathlib.Path) -> Iterator[Worker]:
    worker = Worker(rig, tmp_path)
    yield worker
    worker.close()


async def register(rig: Rig, load: Load) -> None:
    specs = [DeviceSpec(name, load.kind, "gate", interval=load.interval) for name in device_names(load)]
    await register_devices(rig.connection, specs, rig.catalogue)


@contextlib.asynccontextmanager
async def publishing(rig: Rig, load: Load) -> AsyncIterator[asyncio.Future[dict[str, float]]]:
    """Publish a load from a process of its own; the future has what became of it."""
    account = Service.SIMULATOR
    process = await asyncio.create_subprocess_exec(
        *arguments(load, rig.stack.ports.mqtt, account),
        cwd=PROJECT,
        env={**os.environ, PASSWORD_VARIABLE: rig.stack.secrets.services[account]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()

    async def result() -> dict[str, float]:
        assert process.stdout is not None
        counts: dict[str, float] = json.loads(await process.stdout.read())
        await process.wait()
        return counts

    task = asyncio.ensure_future(result())
    try:
        yield task
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.wait({task})


async def expect_all_stored(rig: Rig, load: Load) -> None:
    """Wait for the last reading, then compare what was published with what is stored."""
    first, last = load.start, load.start + (load.count - 1) // load.devices * load.step
    stored = """
        SELECT count(*) FROM reading.air_quality JOIN alatau.device USING (device_id)
        WHERE id = ANY($1) AND time BETWEEN to_timestamp($2) AND to_timestamp($3)
    """
    bounds = (device_names(load), first / 1000, last / 1000)
    deadline = time.monotonic() + 30
    while (rows := await rig.connection.fetchval(stored, *bounds)) < load.count:
        if time.monotonic() > deadline:
            break  # the comparison below says how many lack
        await asyncio.sleep(0.1)
    letters = await rig.connection.fetchval(
        "SELECT count(*) FROM alatau.dead_letter WHERE topic LIKE '%/load-%'"
    )
    print(f"published {load.count:,}, stored {rows:,}, dead letters {letters:,}")
    assert (rows, letters) == (load.count, 0)


def _start_ms() -> int:
    return time.time_ns() // 1_000_000 - 3_600_000


async def test_twenty_kills_under_load_lose_nothing_and_double_nothing(rig: Rig, worker: Worker) -> None:
    load = Load(count=120_000, devices=500, metrics=5, rate=5000, start=_start_ms(), step=1)
    await register(rig, load)
    worker.start()
    await worker.until_ready()
    async with publishing(rig, load) as published:
        for _ in range(20):
            # Killed at any moment of its life: while it starts, receives, commits or acknowledges.
            await asyncio.sleep(1.05)
            worker.kill()
            worker.start()
        counts = await published
    assert counts["acknowledged"] == load.count
    await expect_all_stored(rig, load)


async def test_readings_without_time_are_stored_once_over_kills(rig: Rig, worker: Worker) -> None:
    """Their time is that of their arrival, so only a remembered arrival makes a redelivered one the same."""
    gateway, device = await rig.gateway(), await rig.add_device()
    worker.start()
    await worker.until_ready()
    for number in range(2000):
        gateway.client.publish(f"alatau/v1/{device.id}/telemetry", f'{{"pm2_5": {number / 2}}}', qos=1)
        if number % 200 == 150:
            worker.kill()
            worker.start()
    number = await rig.number_of(device)
    distinct = "SELECT count(DISTINCT pm2_5) = 2000 FROM reading.air_quality WHERE device_id = $1"
    await rig.until_sql(distinct, number, seconds=30)
    assert worker.terminate() == 0
    rows = await rig.connection.fetchval(
        "SELECT count(*) FROM reading.air_quality WHERE device_id = $1", number
    )
    assert rows == 2000


async def test_term_drains_and_ends_with_success(rig: Rig, worker: Worker) -> None:
    load = Load(count=30_000, devices=100, metrics=5, rate=10_000, start=_start_ms() + 200_000)
    await register(rig, load)
    worker.start()
    await worker.until_ready()
    async with publishing(rig, load) as published:
        await asyncio.sleep(1)
        assert await asyncio.to_thread(worker.terminate) == 0
        worker.start()
        await published
    await expect_all_stored(rig, load)
