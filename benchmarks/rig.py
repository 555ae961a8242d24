"""Servers of a benchmark's own, a worker as a process, and what each costs in processor time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Self, TypeAlias

from benchmarks.load import PASSWORD_VARIABLE, Load, arguments, device_names
from broker.accounts import Service
from cli.local import LocalStack, Ports
from cli.probes import answers_ok
from ingest.session import Session, SessionOptions
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.kinds import DeviceSpec
from sensors.topics import Channel, Topics
from stack.cluster import running_postmaster
from stack.ports import free_port
from stack.servers import ensure_servers
from storage.database import OWNER_ROLE, connect
from storage.devices import register_devices
from storage.kinds import SCHEMA

PROJECT = pathlib.Path(__file__).parents[1]
INGEST = ("cli", "ingest")
Probe: TypeAlias = Callable[[], Awaitable[bool]]
_READY_SECONDS, _END_SECONDS = 60, 60
_TICKS = os.sysconf("SC_CLK_TCK")
_numbers = itertools.count(1)


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


async def fresh_database(stack: LocalStack, name: str, load: Load, others: Sequence[str] = ()) -> Catalogue:
    """Create a database with the devices of a load and ``others`` of its kind, and return its catalogue."""
    await stack.create_database(name)
    await stack.apply(builtin_file("alatau"), "alatau.toml", name)
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    connection = await connect(stack.database_url(OWNER_ROLE, name), application="bench")
    try:
        names = [*device_names(load), *others]
        specs = [DeviceSpec(device, load.kind, "gate", interval=load.interval) for device in names]
        await register_devices(connection, specs, catalogue)
    finally:
        await connection.close()
    return catalogue


@contextlib.asynccontextmanager
async def scratch_database(stack: LocalStack, load: Load, others: Sequence[str] = ()) -> AsyncIterator[str]:
    """Lend a fresh database, by name, that is dropped afterwards."""
    name = f"bench_{next(_numbers)}"
    try:
        await fresh_database(stack, name, load, others)
        yield name
    finally:
        connection = await connect(stack.postgres.superuser_url, application="bench")
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()


async def stored_rows(stack: LocalStack, database: str, load: Load) -> int:
    """Return how many readings a database holds of a load's kind."""
    connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
    try:
        # Kinds' names are validated by the catalogue.
        rows: int = await connection.fetchval(f'SELECT count(*) FROM "{SCHEMA}"."{load.kind}"')
        return rows
    finally:
        await connection.close()


@dataclasses.dataclass(slots=True)
class Worker:
    """``alatau ingest`` as a process."""

    process: subprocess.Popen[bytes]
    port: int

    def acknowledged(self) -> int:
        """Return how many messages it has acknowledged."""
        return int(self._metric("alatau_ingest_messages_acknowledged_total"))

    def received(self) -> int:
        """Return how many messages it has taken from the broker."""
        return int(self._metric("alatau_ingest_messages_received_total"))

    def stored(self) -> int:
        """Return how many readings it has stored as new rows."""
        return int(self._metric("alatau_ingest_readings_stored_total"))

    def repeated(self) -> int:
        """Return how many readings it has seen more than once."""
        return int(self._metric("alatau_ingest_readings_duplicate_total"))

    def in_flight(self) -> int:
        """Return how many messages it holds that are not acknowledged."""
        return int(self._metric("alatau_ingest_messages_in_flight"))

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

    def peak_bytes(self) -> int:
        """Return the most memory it has held."""
        return peak_of(self.process.pid)


@contextlib.asynccontextmanager
async def running(
    arguments: Sequence[str], environment: Mapping[str, str], port: int, is_ready: Probe
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Run a program of ours as a process, ready when the block begins. Raises RuntimeError with the end of its
    log when it does not come to that, or ends within the block."""
    log = pathlib.Path(tempfile.gettempdir()) / f"alatau-bench-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", *arguments],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # as `up` starts it: the kernel divides processors by session
        )
    try:
        await _until_ready(process, is_ready, log)
        try:
            yield process
        except (OSError, RuntimeError) as error:
            if process.poll() is None:
                raise
            raise RuntimeError(_ended(process, log)) from error
        if process.poll() is not None:
            raise RuntimeError(_ended(process, log))
    finally:
        await _end(process)
        log.unlink()


async def _until_ready(process: subprocess.Popen[bytes], is_ready: Probe, log: pathlib.Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not await is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(_ended(process, log))
        await asyncio.sleep(0.05)


def _ended(process: subprocess.Popen[bytes], log: pathlib.Path) -> str:
    last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    state = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
    return f"{process.args!r} {state}:\n{last}"


async def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        await asyncio.to_thread(process.wait, _END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


@contextlib.asynccontextmanager
async def worker(
    stack: LocalStack,
    database_url: str,
    number: int | None = None,
    program: Sequence[str] = INGEST,
    ready_path: str = "/readyz",
) -> AsyncIterator[Worker]:
    """Run a worker, ready when the block begins: alone, or one of several with a ``number``.

    The broker keeps its session: ``forget`` ends that.
    """
    port, account = free_port(), Service.INGEST
    environment = {
        "ALATAU_DATABASE_URL": database_url,
        "ALATAU_MQTT_URL": stack.mqtt_url,
        "ALATAU_MQTT_USERNAME": account,
        "ALATAU_MQTT_PASSWORD": stack.secrets.services[account],
        "ALATAU_INGEST_PORT": str(port),
    }
    arguments = [*program] if number is None else [*program, "--worker", str(number)]
    async with running(arguments, environment, port, answers_ok(port, ready_path)) as process:
        yield Worker(process, port)


def session_options(stack: LocalStack, client_id: str) -> SessionOptions:
    """Return how to connect as ingest does, with a session that ends with its connection."""
    account = Service.INGEST
    return SessionOptions(
        "127.0.0.1",
        stack.ports.mqtt,
        account,
        stack.secrets.services[account],
        client_id,
        session_expiry_seconds=0,
    )


async def forget(stack: LocalStack, number: int = 0) -> None:
    """End a worker's session at the broker, which would go on queueing what later runs publish."""
    options = session_options(stack, f"alatau-ingest-{number}")
    session = await Session.open(options, [Topics().every(Channel.STATUS)], lambda *_: True)
    await session.close()


class Publishing:
    """A load on its way from a process of its own; ``go`` lets it begin, the end of the block ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def prepare(cls, stack: LocalStack, load: Load, port: int | None = None) -> Self:
        """Start the process, and return when its packets are prepared; they go to the broker, or to a port."""
        account = Service.SIMULATOR
        process = await asyncio.create_subprocess_exec(
            *arguments(load, port or stack.ports.mqtt, account),
            cwd=PROJECT,
            env={**os.environ, PASSWORD_VARIABLE: stack.secrets.services[account]},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if process.stdout is None or await process.stdout.readline() != b"ready\n":
            raise RuntimeError("the load generator did not start")
        return cls(process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def go(self) -> None:
        """Begin to publish."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    def stop(self) -> None:
        """Publish no more; ``result`` then says how much it was."""
        if self._process.returncode is None:
            self._process.terminate()

    async def result(self) -> dict[str, float]:
        """Wait until everything is acknowledged by the broker; return the counts and seconds. Raises
        RuntimeError when the broker refuses something or closes the connection."""
        output, _ = await self._process.communicate()
        if not output:
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        counts: dict[str, float] = json.loads(output)
        if counts["refused"] or counts["acknowledged"] != counts["published"]:
            raise RuntimeError(f"the broker did not take the whole load: {counts}")
        return counts


async def until(is_true: Callable[[], bool], seconds: float, what: str, pause: float = 0.1) -> None:
    """Wait for something in another process, which each question costs a millisecond. Raises RuntimeError when it
    does not come in time."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(is_true):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(pause)


def resident_of(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_of(pid: int) -> int:
    """Return the most bytes of memory that a process has held."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _ticks(pid: int, fields: slice) -> int:
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return sum(map(int, text.rpartition(") ")[2].split()[fields]))


def cpu_of(pid: int) -> float:
    """Return the processor time of a process, user and system, in seconds; to the nanosecond, where the ticks of
    ``/proc`` are a hundredth of a second."""
    # The kernel's CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it.
    return time.clock_gettime((~pid << 3) | 2)


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
