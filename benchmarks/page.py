"""How fast the dashboard's first screen is with 10,000 devices: ``./alatau bench page``.

A real Chromium before a running city: how long the first load takes, how much of it goes over the wire, what 500
readings within a second cost the page's main thread, and how soon each of them is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import random
import secrets
import threading
import time
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import uvloop
from paho.mqtt import client as mqtt

from api.passwords import Hashing
from benchmarks.looking import Load, Visitor, Watched, chromium
from benchmarks.report import Measure, Result, options
from benchmarks.rig import servers, worker
from benchmarks.visibility import api, probe_device
from broker.accounts import Service
from cli.console import Steps, errors
from cli.local import LocalStack
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.fleet import plan_fleet
from sensors.kinds import Behaviour, DeviceSpec
from sensors.topics import Channel, Topics
from simulators.options import SimulateOptions
from simulators.run import run
from storage.database import INGEST_ROLE, OWNER_ROLE, connect
from storage.devices import count_simulated_behind, register_devices
from storage.users import NewUser, add_user

_DATABASE = "bench_page"
_NAME = "bench"
# Each kind once in each district, so that the charts of the last day have lines.
_WITH_HISTORY, _HISTORY, _STEP = 52, dt.timedelta(hours=26), dt.timedelta(minutes=10)
_INTERVAL = "PT1H"  # nobody falls silent meanwhile
_RATE = 5000.0
_SPREAD_SECONDS = 1.0
# From the first publish until the points that lit up have faded: two batches of the stream, and 1.5 s.
_UPDATE_SECONDS = 5.0
_SETTLE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: ``readings`` are of one update, ``idle`` seconds are what it is held against."""

    devices: int
    loads: int
    readings: int
    updates: int
    idle: float


_FULL, _QUICK = Size(10_000, 5, 500, 10, 20), Size(1000, 2, 500, 3, 10)


async def _settle(stack: LocalStack, catalogue: Catalogue, size: Size, password: str) -> list[DeviceSpec]:
    """Register the devices and somebody who looks at them."""
    await stack.create_database(_DATABASE)
    await stack.apply(builtin_file("alatau"), "alatau.toml", _DATABASE)
    fleet = [
        msgspec.structs.replace(spec, interval=_INTERVAL) for spec in plan_fleet(catalogue, size.devices)
    ]
    connection = await connect(stack.database_url(OWNER_ROLE, _DATABASE), application="bench")
    try:
        await register_devices(connection, fleet, catalogue)
        await add_user(connection, NewUser(_NAME, password_hash=Hashing().hash(password), created_by="bench"))
    finally:
        await connection.close()
    return fleet


async def _live(stack: LocalStack, catalogue: Catalogue, fleet: Sequence[DeviceSpec]) -> None:
    """Let some have a day behind them, and all of them a reading of now; returns when all of it is stored."""
    account = Service.SIMULATOR
    once = SimulateOptions(
        stack.mqtt_url,
        account,
        stack.secrets.services[account],
        rate=_RATE,
        devices=len(fleet),
        count=len(fleet),
    )
    past = dataclasses.replace(
        once, devices=_WITH_HISTORY, count=_WITH_HISTORY, history=_HISTORY, history_step=_STEP
    )
    for part in (past, once):
        await asyncio.to_thread(run, part, catalogue, fleet, lambda _: None, threading.Event())
    connection = await connect(stack.database_url(OWNER_ROLE, _DATABASE), application="bench")
    try:
        async with asyncio.timeout(120):
            while await count_simulated_behind(connection):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def _loads(visitor: Visitor, size: Size) -> tuple[list[Load], list[Load]]:
    """Return cold loads, each of a browser that has nothing of ours, and warm ones, each the second of its browser."""
    cold: list[Load] = []
    warm: list[Load] = []
    for _ in range(size.loads):
        async with visitor.fresh(size.devices) as context:
            for loads in (cold, warm):
                page, load = await visitor.open(context, is_first=loads is cold)
                loads.append(load)
                await page.close()
    return cold, warm


def _publish(device: mqtt.Client, catalogue: Catalogue, specs: Sequence[DeviceSpec]) -> dict[str, float]:
    """Publish a reading of each within a second; return when each was, Unix time."""
    topics, published, began = Topics(), {}, time.time()
    for number, spec in enumerate(specs):
        time.sleep(max(0.0, began + number / len(specs) * _SPREAD_SECONDS - time.time()))
        metrics = catalogue.kind_of[spec.kind].metrics
        metric = next((one for one in metrics if one.behaviour is Behaviour.GAUGE), metrics[0])
        value = (metric.minimum + min(metric.maximum, metric.minimum + 100)) / 2
        now = published[spec.id] = time.time()
        payload = json.dumps({"ts": int(now * 1000), metric.name: value})
        device.publish(topics.of(spec.id, Channel.TELEMETRY), payload, qos=1)
    return published


@dataclasses.dataclass(frozen=True, slots=True)
class Updates:
    """Seconds of the main thread, of each update; seconds from publish to seen; readings never seen; the main thread's
    share when nothing comes."""

    busy: list[float]
    seen: list[float]
    unseen: int
    idle: float


async def _updates(
    stack: LocalStack, catalogue: Catalogue, visitor: Visitor, fleet: Sequence[DeviceSpec], size: Size
) -> Updates:
    spec_of = {spec.id: spec for spec in fleet}
    chosen = random.Random(1)  # noqa: S311 - a load, not a secret
    busy, seen, unseen = [], [], 0
    async with visitor.fresh(size.devices) as context:
        page, _ = await visitor.open(context)
        order = await visitor.order(context)
        watched = await Watched.begin(context, page)
        await asyncio.sleep(_SETTLE_SECONDS)
        idle = await _busy(watched, size.idle) / size.idle
        with probe_device(stack) as device:
            for _ in range(size.updates):
                numbers = chosen.sample(range(len(order)), size.readings)
                specs = [spec_of[order[number]] for number in numbers]
                await watched.forget()
                publishing = asyncio.create_task(
                    asyncio.to_thread(_publish, device, catalogue, specs), name="bench.publish"
                )
                busy.append(await _busy(watched, _UPDATE_SECONDS) - idle * _UPDATE_SECONDS)
                published, heard = await publishing, await watched.heard()
                seen += _delays(numbers, order, published, heard)
                unseen += sum(number not in heard for number in numbers)
    return Updates(busy, seen, unseen, idle)


async def _busy(watched: Watched, seconds: float) -> float:
    """Return the seconds of the main thread's tasks within some seconds."""
    before = await watched.busy()
    await asyncio.sleep(seconds)
    return await watched.busy() - before


def _delays(
    numbers: Sequence[int], order: Sequence[str], published: Mapping[str, float], heard: Mapping[int, float]
) -> list[float]:
    return [heard[number] - published[order[number]] for number in numbers if number in heard]


def _of_loads(cold: Sequence[Load], warm: Sequence[Load]) -> list[Measure]:
    def median(loads: Sequence[Load], name: str) -> float:
        return float(np.median([getattr(load, name) for load in loads]))

    held = f"median of {len(cold)}"
    return [
        Measure("first load: sentence of state", median(cold, "sentence"), "s", held),
        Measure("first load: all points drawn", median(cold, "points"), "s", held),
        Measure("first load: both", median(cold, "whole"), "s", held, 2.5, at_least=False),
        Measure(
            "first load: files over the wire", median(cold, "files") / 1000, "kB", "gzip", 600, at_least=False
        ),
        Measure("first load: data over the wire", median(cold, "data") / 1000, "kB", "gzip"),
        Measure("first load: headers over the wire", median(cold, "headers") / 1000, "kB", "of all answers"),
        Measure("second load: both", median(warm, "whole"), "s", held),
        Measure("second load: files over the wire", median(warm, "files") / 1000, "kB", "gzip"),
    ]


def _of_updates(size: Size, updates: Updates) -> list[Measure]:
    middle, late = np.percentile(updates.seen, [50, 95]) if updates.seen else (np.inf, np.inf)
    name = f"update of {size.readings}"
    held = f"median of {size.updates}, less idle"
    busy = float(np.median(updates.busy)) * 1000
    return [
        Measure("idle page: main thread", updates.idle * 1000, "ms/s"),
        Measure(f"{name}: main thread", busy, "ms", held, 100, at_least=False),
        Measure("publish to seen", float(middle), "s", "50 of 100"),
        Measure("publish to seen", float(late), "s", "95 of 100", 2.0, at_least=False),
        Measure("readings not seen", updates.unseen, "readings", "", 0, at_least=False),
    ]


async def measure(stack: LocalStack, size: Size, steps: Steps) -> list[Measure]:
    """Look at a city of so many devices."""
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    password = secrets.token_urlsafe()
    async with contextlib.AsyncExitStack() as exits:
        with steps.step(f"{size.devices:,} devices"):
            fleet = await _settle(stack, catalogue, size, password)
            await exits.enter_async_context(worker(stack, stack.database_url(INGEST_ROLE, _DATABASE)))
            await _live(stack, catalogue, fleet)
        port = await exits.enter_async_context(api(stack, _DATABASE))
        browser = await exits.enter_async_context(chromium())
        visitor = await Visitor.sign_in(browser, port, _NAME, password)
        with steps.step("first and second loads"):
            cold, warm = await _loads(visitor, size)
        with steps.step(f"updates of {size.readings}"):
            updates = await _updates(stack, catalogue, visitor, fleet, size)
    return [*_of_loads(cold, warm), *_of_updates(size, updates)]


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    size = _QUICK if asked.quick else _FULL
    result = Result("page", {**dataclasses.asdict(size), "quick": asked.quick})
    with Steps(errors) as steps:
        async with servers() as stack:
            result.measures += await measure(stack, size, steps)
    result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
