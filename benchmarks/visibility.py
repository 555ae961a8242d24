"""From a device's publish to the answer of the API that holds the reading, while other readings go on coming."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import numpy.typing as npt
import orjson
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.asking import Asker
from benchmarks.load import Load
from benchmarks.rig import Publishing, forget, running, scratch_database, stored_rows, until, worker
from broker.accounts import Service
from cli.local import LocalStack
from cli.probes import answers_ok
from sensors.times import format_timestamp
from sensors.topics import Channel, Topics
from stack.ports import free_port
from stack.progress import Report
from storage.database import API_ROLE, INGEST_ROLE

PROBE = "bench-probe"
POLL_SECONDS = 0.01  # between the end of one question and the next
_EVERY_SECONDS = 0.05  # between the beginnings of two probes, when the first was seen by then
_WARM_UP_SECONDS = 2.0
_GIVE_UP_SECONDS = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Visibility:
    """Seconds (probes,) from publish to visible; ``question``, the median of what one question takes;
    the load's ``rate`` in readings/s; readings that are not stored."""

    seconds: npt.NDArray[np.float64]
    question: float
    rate: float
    lost: int


def _has_reading(asker: Asker, stamp: int) -> bool:
    """Return whether the probe's reading of a time (Unix ms) is there."""
    question = {
        "device": PROBE,
        "start": format_timestamp(stamp * 1000),
        "end": format_timestamp((stamp + 1) * 1000),
        "limit": "1",
    }
    return len(orjson.loads(asker.ask("readings", question))["time"]) > 0


@contextlib.contextmanager
def probe_device(stack: LocalStack) -> Iterator[mqtt.Client]:
    """Connect the probe as firmware would, by the account that may speak for any device."""
    account = Service.SIMULATOR
    client = mqtt.Client(CallbackAPIVersion.VERSION2, PROBE, protocol=mqtt.MQTTv5)
    client.username_pw_set(account, stack.secrets.services[account])
    client.connect("127.0.0.1", stack.ports.mqtt)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.asynccontextmanager
async def api(stack: LocalStack, database: str) -> AsyncIterator[int]:
    """Run the API as a process; yields its port."""
    async with api_process(stack, database) as (port, _):
        yield port


@contextlib.asynccontextmanager
async def api_process(stack: LocalStack, database: str) -> AsyncIterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the API; yields its port and its process."""
    port, account = free_port(), Service.SIMULATOR
    environment = {
        "ALATAU_DATABASE_URL": stack.database_url(API_ROLE, database),
        "ALATAU_BROKER_ADMIN_PASSWORD": stack.secrets.services[Service.ADMIN],
        "ALATAU_MQTT_URL": stack.mqtt_url,
        "ALATAU_MQTT_USERNAME": account,
        "ALATAU_MQTT_PASSWORD": stack.secrets.services[account],
        "ALATAU_API_PORT": str(port),
    }
    async with running(["cli", "api"], environment, port, answers_ok(port)) as process:
        yield port, process


def _probe(stack: LocalStack, asker: Asker, probes: int, report: Report) -> npt.NDArray[np.float64]:
    """Publish reading after reading, and ask for each until it is there; return the seconds of each."""
    topic = Topics().of(PROBE, Channel.TELEMETRY)
    seconds, stamp = np.zeros(probes), 0
    with probe_device(stack) as device:
        for number in range(probes):
            stamp = max(stamp + 1, time.time_ns() // 1_000_000)
            started = time.perf_counter()
            device.publish(topic, f'{{"ts":{stamp},"pm2_5":{number % 100}}}', qos=1)
            while not _has_reading(asker, stamp):
                if time.perf_counter() - started > _GIVE_UP_SECONDS:
                    raise RuntimeError(f"probe {number} is not visible after {_GIVE_UP_SECONDS:.0f} s")
                time.sleep(POLL_SECONDS)
            seconds[number] = time.perf_counter() - started
            report(f"probe {number + 1} of {probes}", (number + 1) / probes)
            time.sleep(max(0.0, _EVERY_SECONDS - seconds[number]))
    return seconds


async def visibility(stack: LocalStack, load: Load, probes: int, report: Report) -> Visibility:
    """Measure a number of probes beside a load that has a rate and lasts longer than they do."""
    async with scratch_database(stack, load, [PROBE]) as database, contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(forget, stack)
        ingest = await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, database)))
        port = await exits.enter_async_context(api(stack, database))
        publishing = await exits.enter_async_context(await Publishing.prepare(stack, load))
        asker = exits.enter_context(contextlib.closing(Asker(port, stack.secrets.api_key, "identity")))
        publishing.go()
        await asyncio.sleep(_WARM_UP_SECONDS)
        seconds = await asyncio.to_thread(_probe, stack, asker, probes, report)
        publishing.stop()
        async with asyncio.timeout(_GIVE_UP_SECONDS):
            counts = await publishing.result()
        published = int(counts["published"]) + probes
        await until(lambda: ingest.acknowledged() >= published, 60, "everything acknowledged")
        lost = published - await stored_rows(stack, database, load)
    rate = counts["published"] / counts["seconds"]
    return Visibility(seconds, float(np.median(asker.took)), rate, lost)
