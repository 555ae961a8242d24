"""Servers of a benchmark's own, a worker as a process, and what each costs in processor time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator

from benchmarks.load import PASSWORD_VARIABLE, Load, arguments, device_names
from broker.accounts import Service
from cli.local import LocalStack, Ports
from cli.probes import answers_ok
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.kinds import DeviceSpec
from stack.cluster import running_postmaster
from stack.ports import free_port
from stack.servers import ensure_servers
from storage.database import OWNER_ROLE, connect
from storage.devices import register_devices

PROJECT = pathlib.Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


def _public_directory() -> pathlib.Path:
    # Root's servers run as another user, who must be able to enter it.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="alatau-bench-"))
    directory.chmod(0o755)
    return directory


@contextlib.asynccontextmanager
async def servers() -> AsyncIterator[LocalStack]:
    """Run TimescaleDB and Mosquitto as ``up`` configures them, on a directory that is removed."""
    directory = _public_directory()
    stack = LocalStack(
        await asyncio.to_thread(ensure_servers, os.environ), directory, Ports(free_port(), free_port())
    )
    try:
        await stack.start_database()
        await stack.apply(builtin_file("alatau"), "alatau.toml")
        await stack.start_broker()
        yield stack
    finally:
        await stack.stop()
        shutil.rmtree(directory)


async def fresh_database(stack: LocalStack, name: str, load: Load) -> Catalogue:
    """Create a database with the devices of a load, and return its catalogue."""
    await stack.create_database(name)
    await stack.apply(builtin_file("alatau"), "alatau.toml", name)
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    connection = await connect(stack.database_url(OWNER_ROLE, name), application="bench")
    try:
        specs = [
            DeviceSpec(device, load.kind, "gate", interval=load.interval) for device in device_names(load)
        ]
        await register_devices(connection, specs, catalogue)
    finally:
        await connection.close()
    return catalogue


@dataclasses.dataclass(slots=True)
class Worker:
    """``alatau ingest`` as a process."""

    process: subprocess.Popen[bytes]
    port: int

    def acknowledged(self) -> int:
        """Return how many messages it has acknowledged."""
        return int(self._metric("alatau_ingest_messages_acknowledged_total"))

    def stored(self) -> int:
        """Return how many readings it has stored as new rows."""
        return int(self._metric("alatau_ingest_readings_stored_total"))

    def _metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def cpu_seconds(self) -> float:
        """Return the processor time it has used."""
        return cpu_of(self.process.pid)

    def resident_bytes(self) -> int:
        """Return the memory it holds."""
        return resident_of(self.process.pid)


@contextlib.asynccontextmanager
async def worker(stack: LocalStack, database_url: str) -> AsyncIterator[Worker]:
    """Run a worker, ready when the block begins."""
    port, account = free_port(), Service.INGEST
    log = pathlib.Path(tempfile.gettempdir()) / f"alatau-bench-{port}.log"
    environment = {
        **os.environ,
        "ALATAU_DATABASE_URL": database_url,
        "ALATAU_MQTT_URL": stack.mqtt_url,
        "ALATAU_MQTT_USERNAME": account,
        "ALATAU_MQTT_PASSWORD": stack.secrets.services[account],
        "ALATAU_INGEST_PORT": str(port),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "cli", "ingest"], cwd=PROJECT, env=environment, stderr=output
        )
    probe = answers_ok(port)
    try:
        async with asyncio.timeout(60):
            while not await probe():  # noqa: ASYNC110 - another process's readiness
                await asyncio.sleep(0.05)
        yield Worker(process, port)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)
        log.unlink()


class Publishing:
    """A load on its way from a process of its own; ``go`` lets it begin."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def prepare(cls, stack: LocalStack, load: Load) -> Publishing:
        """Start the process, and return when its packets are prepared."""
        account = Service.SIMULATOR
        process = await asyncio.create_subprocess_exec(
            *arguments(load, stack.ports.mqtt, account),
            cwd=PROJECT,
            env={**os.environ, PASSWORD_VARIABLE: stack.secrets.services[account]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if process.stdout is None or await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the load generator did not start")
        return cls(process)

    def go(self) -> None:
        """Begin to publish."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    async def result(self) -> dict[str, float]:
        """Wait until everything is acknowledged by the broker; return the counts and seconds."""
        output, _ = await self._process.communicate()
        counts: dict[str, float] = json.loads(output)
        return counts


def resident_of(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _ticks(pid: int, fields: slice) -> int:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return sum(map(int, text.rpartition(") ")[2].split()[fields]))


def cpu_of(pid: int) -> float:
    """Return the processor time of a process, user and system, in seconds."""
    return _ticks(pid, slice(11, 13)) / _TICKS


def cpu_of_database(stack: LocalStack) -> float:
    """Return the processor time of the database: the postmaster, what it has reaped, and its live children."""
    postmaster = running_postmaster(stack.postgres.data_dir)
    if postmaster is None:
        raise RuntimeError("the database does not run")
    ticks = _ticks(postmaster, slice(11, 15))
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            if parent == postmaster:
                ticks += _ticks(int(entry.name), slice(11, 13))
    return ticks / _TICKS
