"""A city of 20,000 devices at 2,000 readings a second for ten minutes: ``./alatau bench city``.

The simulator, the broker, the worker and the database on one machine: what share of its processors they use,
whether their memory stays, and whether everything published is stored.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import uvloop

from benchmarks.report import Measure, Result, options
from benchmarks.rig import PROJECT, Worker, cpu_of, cpu_of_database, resident_of, servers, worker
from broker.accounts import Service
from cli.console import Steps, errors
from cli.local import LocalStack
from cli.probes import simulator_state
from sensors.catalogue import build_catalogue, builtin_file
from sensors.fleet import plan_fleet
from storage.database import connect
from storage.devices import register_devices

_RATE = 2000


async def _register(stack: LocalStack, devices: int) -> None:
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    connection = await connect(stack.owner_url, application="bench")
    try:
        await register_devices(connection, plan_fleet(catalogue, devices), catalogue)
    finally:
        await connection.close()


def _simulate(stack: LocalStack, devices: int, seconds: int, log: pathlib.Path) -> subprocess.Popen[bytes]:
    account = Service.SIMULATOR
    environment = {
        **os.environ,
        "ALATAU_MQTT_URL": stack.mqtt_url,
        "ALATAU_MQTT_USERNAME": account,
        "ALATAU_MQTT_PASSWORD": stack.secrets.services[account],
    }
    arguments = ["--devices", str(devices), "--rate", str(_RATE), "--duration", str(seconds), "--json"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "simulate", *arguments], cwd=PROJECT, env=environment, stdout=output
        )


def _cpu(stack: LocalStack, ingest: Worker, simulator: subprocess.Popen[bytes]) -> dict[str, float]:
    return {
        "simulator": cpu_of(simulator.pid),
        "broker": cpu_of(stack.mosquitto.pid),
        "ingest": ingest.cpu_seconds(),
        "database": cpu_of_database(stack),
    }


async def measure(stack: LocalStack, devices: int, seconds: int, result: Result, steps: Steps) -> None:
    """Let the city live, and take its figures."""
    with steps.step(f"registering {devices:,} devices"):
        await _register(stack, devices)
    log = pathlib.Path(tempfile.gettempdir()) / f"alatau-bench-city-{os.getpid()}.log"
    async with worker(stack, stack.ingest_url) as ingest:
        simulator = _simulate(stack, devices, seconds, log)
        with steps.step("starting"):
            while simulator_state(log, 0).phase != "live":  # noqa: ASYNC110 - another process's readiness
                await asyncio.sleep(0.1)
        before, started = _cpu(stack, ingest, simulator), time.monotonic()
        memory: list[tuple[float, float]] = []
        with steps.step("the city lives") as report:
            # The last second is the simulator's farewell: its processor time can't be read once it is gone.
            while (passed := time.monotonic() - started) < seconds - 1:
                report(f"{passed:.0f} of {seconds} s", passed / seconds)
                await asyncio.sleep(1)
                memory.append((resident_of(stack.mosquitto.pid), ingest.resident_bytes()))
            after, wall = _cpu(stack, ingest, simulator), time.monotonic() - started
        with steps.step("draining"):
            await asyncio.to_thread(simulator.wait)
            counts = json.loads(log.read_bytes().splitlines()[-1])
            log.unlink()
            while await asyncio.to_thread(ingest.acknowledged) < counts["acknowledged"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        stored = await asyncio.to_thread(ingest.stored)
    cores = os.cpu_count() or 1
    shares = {name: (after[name] - before[name]) / wall / cores * 100 for name in before}
    result.measures += [
        Measure("rate", counts["readings"] / seconds, "readings/s", "asked for", _RATE * 0.99),
        *(Measure(f"{name} CPU", share, "% of all cores") for name, share in shares.items()),
        Measure("everything's CPU", sum(shares.values()), "% of all cores", "", 60, at_least=False),
        Measure(
            "lost", counts["readings"] - stored, "readings", "published by the simulator", 0, at_least=False
        ),
    ]
    for column, name in enumerate(("broker", "ingest")):
        sizes = [sample[column] / 1e6 for sample in memory]
        # Once warm: from the first tenth of the time on.
        growth = max(sizes) / sizes[len(sizes) // 10]
        result.measures += [
            Measure(f"{name} resident memory, most", max(sizes), "MB"),
            Measure(f"{name} memory growth", growth, "ratio", "after the first tenth", 1.2, at_least=False),
        ]


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    devices, seconds = (2000, 20) if asked.quick else (20_000, 600)
    result = Result("city", {"devices": devices, "rate": _RATE, "seconds": seconds, "quick": asked.quick})
    with Steps(errors) as steps:
        async with servers() as stack:
            await measure(stack, devices, seconds, result, steps)
    result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
