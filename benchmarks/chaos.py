"""Whether anything is lost or doubled, whatever dies, and how often: ``./alatau bench chaos``.

A counted load runs through real processes while they are killed, stopped, cut off and stalled in an order that
follows from a seed. Then everything drains, and what is stored is held against a ledger on disk of what was sent
and acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Mapping

import numpy as np
import uvloop

from benchmarks.counted import Counted
from benchmarks.faults import FAULTS, Scene, schedule, write_history
from benchmarks.gateway import Plan, publishing
from benchmarks.ledger import Event, Verdict, compare, read_ledger
from benchmarks.proxy import proxy
from benchmarks.report import Measure, Result, options
from benchmarks.rig import servers
from benchmarks.sabotage import set_clock
from benchmarks.victim import Victim
from broker.accounts import Service
from cli.console import Steps, errors
from cli.local import LocalStack
from sensors.catalogue import build_catalogue, builtin_file
from storage.database import connect
from storage.devices import register_devices

_SEED = 20_261_122
_DEVICES = 500
_DRAIN_SECONDS = 120.0
_HOURS_AGO = 3  # a clock that is an hour slow must not take stated times for future ones
_BEHIND_THE_BROKER = {
    "ingest killed": 200,
    "postmaster killed": 10,
    "backend killed": 10,
    "ingest stopped": 10,
    "backend stopped": 10,
    "link cut": 20,
    "link cut in mid-packet": 20,
    "link slow": 6,
    "link trickling": 6,
    "link silent": 6,
    "commit's answer cut off": 20,
    "database stalled": 2,
    "clock stepped": 10,
}
_WITH_THE_BROKER = {"broker restarted": 10, "broker stopped": 10, "ingest killed": 10, "link cut": 10}
_ANY_PART = {"broker killed": 10, "ingest killed": 20, "postmaster killed": 5}


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How large the run is: the faults of a phase divided by ``divisor``; ``rate`` in readings/s."""

    divisor: int
    rate: float
    longest_pause: float  # between faults, s
    stall_seconds: float
    broker_kills: int

    def times(self, full: Mapping[str, int]) -> dict[str, int]:
        """Return how often each fault of a phase happens."""
        return {fault: max(1, count // self.divisor) for fault, count in full.items()}


_FULL = Size(1, 1500, 3.5, 35, 20)
_QUICK = Size(40, 1500, 0.6, 2, 2)


async def _register(stack: LocalStack, load: Counted) -> None:
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    connection = await connect(stack.owner_url, application="chaos")
    try:
        specs = load.specs()
        await register_devices(connection, specs, catalogue)
    finally:
        await connection.close()


def _load(prefix: str, *, numbered: bool = False, stamped: bool = False, faulty_every: int = 0) -> Counted:
    start = time.time_ns() // 1_000_000 - _HOURS_AGO * 3_600_000
    # Many more than are ever sent: the publisher is told when to end.
    return Counted(
        prefix, _DEVICES, 5_000_000, start, faulty_every=faulty_every, numbered=numbered, stamped=stamped
    )


@contextlib.asynccontextmanager
async def _scene(
    stack: LocalStack, directory: pathlib.Path, load: Counted, size: Size, *, receipts: bool = False
) -> AsyncIterator[Scene]:
    """Run a worker behind proxies and a publisher; the load flows when the block begins."""
    await _register(stack, load)
    clock, account = directory / f"{load.prefix}.clock", Service.SIMULATOR
    set_clock(clock, 0)
    ledger = str(directory / f"{load.prefix}.ledger")
    plan = Plan(load, stack.ports.mqtt, account, ledger, size.rate, receipts=receipts)
    async with proxy(stack.ports.mqtt) as broker_link, proxy(stack.ports.database) as database_link:
        environment = {
            "ALATAU_DATA_DIR": str(directory),
            "ALATAU_DATABASE_URL": stack.ingest_url.replace(
                f":{stack.ports.database}/", f":{database_link.port}/"
            ),
            "ALATAU_MQTT_URL": f"mqtt://127.0.0.1:{broker_link.port}",
            "ALATAU_MQTT_USERNAME": Service.INGEST,
            "ALATAU_MQTT_PASSWORD": stack.secrets.services[Service.INGEST],
        }
        with Victim(environment, directory / "ingest.log") as worker:
            worker.start(["--clock", str(clock)])
            await worker.until_ready()
            async with publishing(plan, stack.secrets.services[account]) as gateway:
                yield Scene(
                    stack,
                    worker,
                    clock,
                    broker_link,
                    database_link,
                    gateway,
                    random.Random(_SEED),  # noqa: S311 - moments, not secrets
                    size.stall_seconds,
                )


async def _settle(
    scene: Scene, directory: pathlib.Path, load: Counted, promise: Event = Event.ACKNOWLEDGED
) -> Verdict:
    """Let the publisher end and everything drain; return what the comparison says."""
    set_clock(scene.clock, 0)
    scene.gateway.stop()
    async with asyncio.timeout(_DRAIN_SECONDS):
        await scene.gateway.result()
    ledger = await asyncio.to_thread(read_ledger, directory / f"{load.prefix}.ledger", load.count)
    connection = await connect(scene.stack.owner_url, application="chaos")
    try:
        deadline, stored = time.monotonic() + _DRAIN_SECONDS, -1
        while True:
            verdict = await compare(connection, load, ledger, promise)
            # What is lost for good does not come, however long one waits: two equal looks are enough then.
            if not verdict.lost or verdict.stored == stored or time.monotonic() > deadline:
                return verdict
            stored = verdict.stored
            await asyncio.sleep(5)
    finally:
        await connection.close()


async def _suffer(scene: Scene, faults: list[str], size: Size, steps: Steps, title: str) -> None:
    with steps.step(title) as report:
        for number, fault in enumerate(faults):
            await asyncio.sleep(scene.random.uniform(0.1, size.longest_pause))
            report(f"{number} of {len(faults)}: {fault}", number / len(faults))
            await scene.note(fault)
            await FAULTS[fault](scene)
        if not scene.worker.is_running:
            raise RuntimeError(f"ingest ended by itself: {scene.worker.log.read_text()[-2000:]}")


def _report(result: Result, title: str, verdict: Verdict) -> None:
    result.measures += [
        Measure(f"{title}: sent", verdict.sent, "readings"),
        Measure(f"{title}: acknowledged", verdict.promised, "readings", "the publisher's ledger"),
        Measure(f"{title}: stored", verdict.stored, "readings"),
        Measure(f"{title}: dead letters", verdict.letters, "messages", "faulty on purpose"),
        Measure(f"{title}: lost", verdict.lost, "readings", "acknowledged", 0, at_least=False),
        Measure(f"{title}: stored twice", verdict.doubled, "readings", "sent", 0, at_least=False),
        Measure(f"{title}: never sent", verdict.invented, "readings", "sent", 0, at_least=False),
    ]


@dataclasses.dataclass(slots=True)
class Run:
    """What the phases of one run share."""

    stack: LocalStack
    directory: pathlib.Path
    size: Size
    result: Result
    steps: Steps
    history: list[dict[str, object]] = dataclasses.field(default_factory=list)


async def whatever_dies(run: Run, title: str, load: Counted, times: Mapping[str, int]) -> None:
    """Everything acknowledged is stored, once, whatever of this happens in whatever order."""
    faults = schedule(run.size.times(times), _SEED)
    async with _scene(run.stack, run.directory, load, run.size) as scene:
        await _suffer(scene, faults, run.size, run.steps, f"{title}: {len(faults)} faults")
        with run.steps.step(f"{title}: draining and counting"):
            verdict = await _settle(scene, run.directory, load)
    run.history += [{"phase": title, **line} for line in scene.history]
    run.result.measures += [
        Measure(f"{title}: {fault}", count, "times") for fault, count in run.size.times(times).items()
    ]
    _report(run.result, title, verdict)


async def broker_killed(run: Run, title: str, *, is_ingest_away: bool) -> None:
    """Measure what PUBACK alone is worth: acknowledged, and gone with the broker. Not zero: that is the point."""
    load = _load("away" if is_ingest_away else "up", stamped=True)
    marks: list[int] = []
    async with _scene(run.stack, run.directory, load, run.size) as scene:
        with run.steps.step(f"{title}: {run.size.broker_kills} kills of the broker") as report:
            for number in range(run.size.broker_kills):
                report(f"{number} of {run.size.broker_kills}", number / run.size.broker_kills)
                await asyncio.sleep(scene.random.uniform(1.5, 3))
                if is_ingest_away:
                    scene.worker.kill()
                    await asyncio.sleep(scene.random.uniform(2, 3))
                await scene.note("broker killed")
                await FAULTS["broker killed"](scene)
                marks.append(scene.gateway.counts["sent"])
                if is_ingest_away:
                    scene.start_worker()
        with run.steps.step(f"{title}: draining and counting"):
            verdict = await _settle(scene, run.directory, load)
    run.history += [{"phase": title, **line} for line in scene.history]
    # A reading belongs to the first kill that came after it was sent.
    kills = np.searchsorted(np.array(marks), verdict.lost_numbers, side="right")
    lost = np.bincount(kills, minlength=len(marks))
    run.result.measures += [
        Measure(f"{title}: kills", len(marks), "times"),
        Measure(
            f"{title}: lost per kill, mean", float(lost.mean()), "readings", "acknowledged by PUBACK only"
        ),
        Measure(f"{title}: lost per kill, most", int(lost.max()), "readings", "acknowledged by PUBACK only"),
        Measure(f"{title}: stored twice", verdict.doubled, "readings", "sent", 0, at_least=False),
    ]


async def receipts(run: Run) -> None:
    """A publisher that keeps each reading until its receipt loses none, whichever part is killed."""
    title, load = "receipts", _load("receipt", numbered=True, stamped=True)
    faults = schedule(run.size.times(_ANY_PART), _SEED)
    async with _scene(run.stack, run.directory, load, run.size, receipts=True) as scene:
        await _suffer(scene, faults, run.size, run.steps, f"{title}: {len(faults)} faults")
        with run.steps.step(f"{title}: draining and counting"):
            verdict = await _settle(scene, run.directory, load, Event.STORED)
    run.history += [{"phase": title, **line} for line in scene.history]
    _report(run.result, title, verdict)
    missing = verdict.sent - verdict.promised
    run.result.measures.append(
        Measure(f"{title}: without a receipt", missing, "readings", "sent", 0, at_least=False)
    )


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    size = _QUICK if asked.quick else _FULL
    result = Result("chaos", {"seed": _SEED, "rate": size.rate, "devices": _DEVICES, "quick": asked.quick})
    with Steps(errors) as steps, tempfile.TemporaryDirectory(prefix="alatau-chaos-") as directory:
        async with servers() as stack:
            run = Run(stack, pathlib.Path(directory), size, result, steps)
            behind = _load("behind", faulty_every=1000)
            await whatever_dies(run, "behind the broker", behind, _BEHIND_THE_BROKER)
            # What had no acknowledgement when the broker went is sent again: it must state its time.
            await whatever_dies(run, "with the broker", _load("with", stamped=True), _WITH_THE_BROKER)
            await receipts(run)
            await broker_killed(run, "broker killed, ingest up", is_ingest_away=False)
            await broker_killed(run, "broker killed, ingest away", is_ingest_away=True)
    result.publish(asked.json)
    if asked.json is not None:
        write_history(asked.json.with_name(f"{asked.json.name}.history.ndjson"), _SEED, run.history)


if __name__ == "__main__":
    uvloop.run(main())
