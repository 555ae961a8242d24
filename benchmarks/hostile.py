"""What healthy devices notice of a hostile one: the time from publish to commit, alone and beside it.

The attacks and the time alone take turns, so that what the machine
does else meets both. Each attack also runs against a server that does nothing: what is slower then as well is the
attacker's own cost on the same processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import asyncpg
import numpy as np
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.attack import SECRET_VARIABLE
from benchmarks.load import Load, device_names
from benchmarks.report import Measure
from benchmarks.rig import PROJECT, Publishing, forget, scratch_database, stored_rows, until, worker
from benchmarks.visibility import api
from broker.accounts import Service
from broker.secrets import generate_secret
from cli.local import LocalStack
from sensors.catalogue import build_catalogue, builtin_file
from sensors.kinds import DeviceSpec
from sensors.times import from_microseconds, to_microseconds
from sensors.topics import Channel, Topics
from stack.ports import free_port, is_free
from stack.progress import Report
from storage.database import INGEST_ROLE, OWNER_ROLE, connect
from storage.devices import register_devices
from storage.kinds import SCHEMA

ATTACKS = ("flood", "malformed", "connections", "queries")
_HOSTILE = "bench-hostile"
_KINDS = ("air_quality", "noise")  # a connection of a thousand devices each, a reading a second
_DEVICES, _RATE = 1000, 1000.0
_PROBE_KIND, _PROBES, _PROBES_A_SECOND = "street_light", 50, 50.0
_POLL_SECONDS = 0.005
_SETTLE_SECONDS = 1.0
_GIVE_UP_SECONDS = 60.0
_TARGET = 1.1


class Probes:
    """Healthy devices whose readings are looked for in the database; ``seconds`` are those from publish to commit."""

    def __init__(self, stack: LocalStack, names: list[str], connection: asyncpg.Connection) -> None:
        self._names, self._connection = names, connection
        self._sent: dict[int, float] = {}  # by the reading's own time, Unix ms
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="probes")
        self.seconds: list[float] = []
        account = Service.SIMULATOR
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-probes", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(account, stack.secrets.services[account])
        self._client.connect("127.0.0.1", stack.ports.mqtt)
        self._client.loop_start()
        self._thread.start()
        self._looking = asyncio.create_task(self._look(), name="probes.look")

    def _publish(self) -> None:
        began, stamp = time.perf_counter(), 0
        for number in itertools.count():
            if self._stop.wait(max(0.0, began + number / _PROBES_A_SECOND - time.perf_counter())):
                return
            stamp = max(stamp + 1, time.time_ns() // 1_000_000)
            self._sent[stamp] = time.perf_counter()
            topic = Topics().of(self._names[number % len(self._names)], Channel.TELEMETRY)
            self._client.publish(topic, f'{{"ts":{stamp},"dimming":50}}', qos=1)

    async def _look(self) -> None:
        """Look for new readings: one connection's are committed in their order."""
        newest = from_microseconds(0)
        while True:
            rows = await self._connection.fetch(
                f'SELECT time FROM "{SCHEMA}"."{_PROBE_KIND}" WHERE time > $1 ORDER BY time',
                newest,
            )
            now = time.perf_counter()
            for (newest,) in rows:
                self.seconds.append(now - self._sent.pop(to_microseconds(newest) // 1000))
            await asyncio.sleep(_POLL_SECONDS)

    async def late(self, seconds: float) -> float:
        """Return within how many seconds 99 of 100 are committed, of those that are from now on."""
        await asyncio.sleep(_SETTLE_SECONDS)
        self.seconds.clear()
        await asyncio.sleep(seconds)
        if self._looking.done():
            self._looking.result()
        return float(np.percentile(self.seconds, 99)) if self.seconds else _GIVE_UP_SECONDS

    async def finish(self) -> int:
        """Publish no more; return how many are not in the database when they had time enough."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        with contextlib.suppress(RuntimeError):
            await until(lambda: not self._sent, _GIVE_UP_SECONDS, "all probes committed")
        return len(self._sent)

    async def close(self) -> None:
        """Publish and look no more."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join)
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)


@contextlib.asynccontextmanager
async def _attack(name: str, port: int, secret: str, rates: list[float]) -> AsyncIterator[None]:
    """Attack for the time of the block; its rate a second is added. Raises RuntimeError if nothing came of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.attack", name, f"--port={port}", f"--name={_HOSTILE}"),
        cwd=PROJECT,
        env={**os.environ, SECRET_VARIABLE: secret},
        start_new_session=True,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None or await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the attack {name} did not start")
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            output, _ = await process.communicate(b"")  # which closes its input
        counts = json.loads(output or b"{}")
        if not counts.get("done"):
            raise RuntimeError(
                f"nothing came of the attack {name}: it ended with {process.returncode}, {counts}"
            )
        rates.append(counts["done"] / seconds)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _sink() -> AsyncIterator[int]:
    """Run a server that only acknowledges; yields its port."""
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-m", "benchmarks.sink", f"--port={port}"], cwd=PROJECT
    )
    try:
        await until(lambda: not is_free(port), _GIVE_UP_SECONDS, "the sink")
        yield port
    finally:
        process.terminate()
        process.wait()


async def _register(stack: LocalStack, database: str, second: Load, probes: list[str], secret: str) -> None:
    """Register the other healthy devices, and the hostile one, which the broker lets in with its own account."""
    connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
    try:
        catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
        specs = [
            *(
                DeviceSpec(name, second.kind, "gate", interval=second.interval)
                for name in device_names(second)
            ),
            *(DeviceSpec(name, _PROBE_KIND, "gate", interval="PT1S") for name in probes),
            DeviceSpec(_HOSTILE, "weather", "gate"),
        ]
        await register_devices(connection, specs, catalogue)
    finally:
        await connection.close()
    async with stack.admin as admin:
        await admin.add_device(_HOSTILE, secret)


async def hostile(stack: LocalStack, rounds: int, seconds: float, report: Report) -> list[Measure]:
    """Run every attack in turns with the time alone; return the ratios of the 99th percentiles."""
    first, second = _loads(rounds, seconds)
    probes, secret = [f"bench-healthy-{number:03d}" for number in range(_PROBES)], generate_secret()
    async with scratch_database(stack, first) as database, contextlib.AsyncExitStack() as exits:
        await _register(stack, database, second, probes, secret)
        exits.push_async_callback(forget, stack)
        ingest = await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, database)))
        port = await exits.enter_async_context(api(stack, database))
        sink = await exits.enter_async_context(_sink())
        places = {name: (port if name == "queries" else stack.ports.mqtt) for name in ATTACKS}
        secrets = {name: (stack.secrets.api_key if name == "queries" else secret) for name in ATTACKS}
        publishing = [
            await exits.enter_async_context(await Publishing.prepare(stack, load)) for load in (first, second)
        ]
        for one in publishing:
            one.go()
        connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
        exits.push_async_callback(connection.close)
        healthy = Probes(stack, probes, connection)
        exits.push_async_callback(healthy.close)
        await healthy.late(_SETTLE_SECONDS)  # what is slow only once
        taken: dict[str, list[float]] = {}
        for number in range(rounds):
            for place, name in enumerate(ATTACKS):
                report(
                    f"round {number + 1} of {rounds}: {name}",
                    (number + place / len(ATTACKS)) / rounds,
                )
                alone = await healthy.late(seconds)
                taken.setdefault("alone", []).append(alone)
                rates = taken.setdefault(f"{name}: rate", [])
                async with _attack(name, places[name], secrets[name], rates):
                    beside = await healthy.late(seconds)
                taken.setdefault(f"beside {name}", []).append(beside)
                taken.setdefault(f"{name} against alone", []).append(beside / alone)
                if name != "queries":
                    async with _attack(name, sink, secrets[name], []):
                        taken.setdefault(f"{name} of nothing against alone", []).append(
                            await healthy.late(seconds) / alone
                        )
        missing = await healthy.finish()
        lost = await _lost(stack, database, ingest.acknowledged, publishing, (first, second))
    async with stack.admin as admin:
        await admin.delete_device(_HOSTILE)
    return [*_measures(taken), _none("hostile: lost", lost), _none("hostile: probes lost", missing)]


def _loads(rounds: int, seconds: float) -> tuple[Load, Load]:
    # Twice as long as it takes; stopped at the end.
    count = int(_RATE * 2 * (rounds * len(ATTACKS) * 3 * (seconds + _SETTLE_SECONDS + 1) + 30))
    start = time.time_ns() // 1_000_000  # as of now, so that the questions for the last hour find them
    first, second = (
        Load(count, _DEVICES, 3, kind, rate=_RATE, start=start, step=1000, interval="PT1S") for kind in _KINDS
    )
    return first, second


async def _lost(
    stack: LocalStack,
    database: str,
    acknowledged: Callable[[], int],
    publishing: Sequence[Publishing],
    loads: Sequence[Load],
) -> int:
    for one in publishing:
        one.stop()
    published = [int((await one.result())["published"]) for one in publishing]
    before = -1
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        # The hostile one's messages are acknowledged too: when no more are, everything was.
        while (now := await asyncio.to_thread(acknowledged)) != before:
            before = now
            await asyncio.sleep(1.0)
    stored = [await stored_rows(stack, database, load) for load in loads]
    return sum(published) - sum(stored)


def _measures(taken: Mapping[str, Sequence[float]]) -> Iterator[Measure]:
    alone = statistics.median(taken["alone"])
    yield Measure("hostile: committed, alone", alone * 1000, "ms", "99th percentile")
    for name in ATTACKS:
        rate = statistics.median(taken[f"{name}: rate"])
        yield Measure(f"hostile: {name}", rate, "a second", "what the attacker got through")
        beside = statistics.median(taken[f"beside {name}"])
        yield Measure(f"hostile: committed, beside {name}", beside * 1000, "ms", "99th percentile")
        ratio = statistics.median(taken[f"{name} against alone"])
        title = f"hostile: {name} against alone"
        yield Measure(title, ratio, "ratio", "median of the rounds", _TARGET, at_least=False)
        if of_nothing := taken.get(f"{name} of nothing against alone"):
            ratio, title = statistics.median(of_nothing), f"hostile: {name} of a sink against alone"
            yield Measure(title, ratio, "ratio", "the attacker's own cost")


def _none(title: str, count: int) -> Measure:
    return Measure(title, count, "readings", "published by the healthy", 0, at_least=False)
