"""What a thousand clients of the stream see, and what they cost: ``./alatau bench stream``.

Two thousand devices send a reading a second each. First alone, then beside clients that hear of it: most of them of
twenty devices, some of everything. A probe is published now and then, and its way to each client is timed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import numpy as np
import uvloop

from benchmarks.listening import KEY_VARIABLE
from benchmarks.load import Load, device_names
from benchmarks.report import Measure, Result, options
from benchmarks.rig import PROJECT, Publishing, Worker, cpu_of, forget, scratch_database, servers, worker
from benchmarks.visibility import PROBE, api_process, probe_device
from cli.console import Steps, errors
from cli.local import LocalStack
from sensors.times import parse_timestamp
from sensors.topics import Channel, Topics
from storage.database import INGEST_ROLE

# Of one client: the probes that it saw, and the newest time of each device.
Told = dict[str, dict[str, float | str]]
_EVERY_SECONDS = 2.5  # between probes: two within a tick would be one
_SETTLE_SECONDS = 5.0
_COMMIT = "alatau_ingest_commit_seconds"


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; ``whole`` of the clients hear of everything, ``seconds`` is each phase's."""

    clients: int
    whole: int
    devices: int
    seconds: float


_FULL, _QUICK = Size(1000, 10, 2000, 60), Size(50, 2, 200, 10)


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """The API's share of a core, and the 99th of 100 transactions of ingest, in seconds."""

    share: float
    commit: float


@contextlib.asynccontextmanager
async def _listeners(
    stack: LocalStack, port: int, size: Size, devices: list[str]
) -> AsyncIterator[Callable[[], Awaitable[list[Told]]]]:
    """Run the clients; what is yielded ends them, and returns what they were told."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "devices").write_text("\n".join(devices))
        arguments = {
            "--port": port,
            "--clients": size.clients,
            "--whole": size.whole,
            "--probe": PROBE,
            "--devices": directory / "devices",
            "--told": directory / "told",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.listening"),
            *(str(part) for pair in arguments.items() for part in pair),
            cwd=PROJECT,
            env={**os.environ, KEY_VARIABLE: stack.secrets.api_key},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # as it gives way to all others: in a city its clients are other machines
        )
        try:
            async with asyncio.timeout(60):
                if process.stdout is None or await process.stdout.readline() != b"ready\n":
                    raise RuntimeError("the clients of the stream did not start")

            async def told() -> list[Told]:
                await process.communicate(b"\n")
                clients: list[Told] = json.loads((directory / "told").read_bytes())["clients"]
                return clients

            yield told
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _phase(api: int, ingest: Worker, seconds: float) -> Phase:
    before, cpu, began = await asyncio.to_thread(_commits, ingest.port), cpu_of(api), time.monotonic()
    await asyncio.sleep(seconds)
    share = (cpu_of(api) - cpu) / (time.monotonic() - began)
    after = await asyncio.to_thread(_commits, ingest.port)
    return Phase(share, _percentile(before, after, 0.99))


def _commits(port: int) -> dict[float, float]:
    """Return how many transactions have taken at most how long."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    buckets = (line.removeprefix(f'{_COMMIT}_bucket{{le="').split('"} ') for line in lines if _COMMIT in line)
    return {float(parts[0]): float(parts[1]) for parts in buckets if len(parts) == 2}


def _percentile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """Return a percentile of what a histogram has got between two moments, straight between its bounds."""
    bounds = sorted(bound for bound in after if bound != float("inf"))
    counts = [after[bound] - before.get(bound, 0) for bound in bounds]
    wanted = share * (after[float("inf")] - before.get(float("inf"), 0))
    return float(np.interp(wanted, [0, *counts], [0, *bounds]))


async def _probe(stack: LocalStack, seconds: float) -> dict[int, float]:
    """Publish probes until a time is over; return when each was."""
    topic, published = Topics().of(PROBE, Channel.TELEMETRY), {}
    with probe_device(stack) as device:
        end = time.monotonic() + seconds
        number = 0
        while (now := time.monotonic()) < end:
            number += 1
            published[number] = now
            stamp = time.time_ns() // 1_000_000
            device.publish(topic, f'{{"ts":{stamp},"pm2_5":{number}}}', qos=1)
            await asyncio.sleep(_EVERY_SECONDS)
    return published


async def measure(stack: LocalStack, size: Size, steps: Steps) -> list[Measure]:
    """Measure alone and beside."""
    now = time.time_ns() // 1_000_000
    count = round(size.devices * (3 * size.seconds + 120))  # more than is needed; it is stopped
    load = Load(count, size.devices, 5, rate=float(size.devices), start=now, step=1000, interval="PT1S")
    async with contextlib.AsyncExitStack() as exits:
        database = await exits.enter_async_context(scratch_database(stack, load, [PROBE]))
        exits.push_async_callback(forget, stack)
        ingest = await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, database)))
        port, api = await exits.enter_async_context(api_process(stack, database))
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, load))
        publishing.go()
        await asyncio.sleep(_SETTLE_SECONDS)
        with steps.step("alone"):
            alone = await _phase(api.pid, ingest, size.seconds)
        with steps.step(f"beside {size.clients} clients"):
            devices = device_names(load)
            told_to = await exits.enter_async_context(_listeners(stack, port, size, devices))
            await asyncio.sleep(_SETTLE_SECONDS)
            beside, published = await asyncio.gather(
                _phase(api.pid, ingest, size.seconds), _probe(stack, size.seconds)
            )
            publishing.stop()
            counts = await publishing.result()
            await asyncio.sleep(_SETTLE_SECONDS)
            told = await told_to()
    last = _last_times(load, int(counts["published"]))
    return [*_measures(size, alone, beside), *_seen(told, published), *_lost(told, published, last)]


def _last_times(load: Load, published: int) -> dict[str, int]:
    """Return the time of each device's last reading, Unix µs."""
    rounds, rest = divmod(published, load.devices)
    return {
        name: (load.start + (rounds if place < rest else rounds - 1) * load.step) * 1000
        for place, name in enumerate(device_names(load))
    }


def _measures(size: Size, alone: Phase, beside: Phase) -> list[Measure]:
    return [
        Measure("clients", size.clients, "streams", f"{size.whole} of them hear of everything"),
        Measure("API alone", alone.share * 100, "% of a core"),
        Measure("API beside", beside.share * 100, "% of a core", "", 60, at_least=False),
        Measure("ingest alone: transaction", alone.commit * 1000, "ms", "99 of 100"),
        Measure("ingest beside: transaction", beside.commit * 1000, "ms", "99 of 100"),
        Measure(
            "ingest: beside against alone",
            beside.commit / max(alone.commit, 1e-9),
            "ratio",
            "99 of 100",
            1.25,
            at_least=False,
        ),
    ]


def _seen(told: list[Told], published: Mapping[int, float]) -> list[Measure]:
    seconds = np.array(
        [float(seen) - published[int(number)] for client in told for number, seen in client["probes"].items()]
    )
    middle, most = np.percentile(seconds, [50, 99]) if len(seconds) else (np.inf, np.inf)
    return [
        Measure("publish to seen", float(middle), "s", "50 of 100"),
        Measure("publish to seen", float(most), "s", "99 of 100", 2.0, at_least=False),
    ]


def _lost(told: list[Told], published: Mapping[int, float], last: Mapping[str, int]) -> list[Measure]:
    probes = sum(len(published) - len(client["probes"]) for client in told)
    # Of each device that a client heard of, the newest at the end is the last that was published.
    behind = sum(
        parse_timestamp(str(time)) != last[device]
        for client in told
        for device, time in client["newest"].items()
    )
    ended = sum(bool(client["ended"]) + int(bool(client["missed"])) for client in told)
    return [
        Measure("probes not seen, all clients", probes, "events", "", 0, at_least=False),
        Measure("devices not seen at their last", behind, "events", "", 0, at_least=False),
        Measure("streams that ended or missed something", ended, "streams", "", 0, at_least=False),
    ]


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    size = _QUICK if asked.quick else _FULL
    result = Result("stream", {**dataclasses.asdict(size), "quick": asked.quick})
    with Steps(errors) as steps:
        async with servers() as stack:
            result.measures += await measure(stack, size, steps)
    result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
