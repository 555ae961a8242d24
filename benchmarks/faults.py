"""What can go wrong with a running city, each as something that is done to it; and a schedule of such faults."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg

from benchmarks.gateway import Publishing
from benchmarks.proxy import Proxy
from benchmarks.sabotage import set_clock
from benchmarks.victim import Victim
from cli.local import LocalStack
from stack.cluster import running_postmaster
from storage.database import connect


@dataclasses.dataclass(slots=True)
class Scene:
    """A city under load. ``clock`` is the file that says how far ingest's clock is off."""

    stack: LocalStack
    worker: Victim
    clock: pathlib.Path
    broker_link: Proxy
    database_link: Proxy
    gateway: Publishing
    random: random.Random
    stall_seconds: float
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    started: float = dataclasses.field(default_factory=time.monotonic)

    def start_worker(self) -> None:
        """Start ingest, its clock as the file says."""
        self.worker.start(["--clock", str(self.clock)])

    async def note(self, fault: str) -> None:
        """Write into the history what is about to be done, and what is on its way at this moment."""
        counts = self.gateway.counts
        at_gateway = counts.get("sent", 0) - counts.get("acknowledged", 0) - counts.get("unheard", 0)
        self.history.append(
            {
                "seconds": round(time.monotonic() - self.started, 3),
                "fault": fault,
                "sent": counts.get("sent", 0),
                "unacknowledged_by_broker": at_gateway,
                "unacknowledged_by_ingest": await asyncio.to_thread(self._in_flight),
            }
        )

    def _in_flight(self) -> int | None:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.worker.port}/metrics", timeout=0.5
            ) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None  # it is dead, or starting
        wanted = "alatau_ingest_messages_in_flight "
        return next((int(float(line.split()[1])) for line in lines if line.startswith(wanted)), None)


async def _ingest_killed(scene: Scene) -> None:
    scene.worker.kill()
    scene.start_worker()


async def _ingest_stopped(scene: Scene) -> None:
    scene.worker.signal(signal.SIGSTOP)
    await asyncio.sleep(scene.random.uniform(0.5, 3))
    scene.worker.signal(signal.SIGCONT)


async def _postmaster_killed(scene: Scene) -> None:
    postmaster = running_postmaster(scene.stack.postgres.data_dir)
    if postmaster is not None:
        os.kill(postmaster, signal.SIGKILL)
    await scene.stack.postgres.stop()
    await scene.stack.postgres.start()


async def _backend(scene: Scene) -> int | None:
    """Return one of the processes that serve ingest."""
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        connection = await connect(scene.stack.postgres.superuser_url, application="chaos")
        try:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'alatau-ingest%'"
            )
        finally:
            await connection.close()
        return int(scene.random.choice(rows)["pid"]) if rows else None
    return None


async def _backend_killed(scene: Scene) -> None:
    if (backend := await _backend(scene)) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(backend, signal.SIGKILL)


async def _backend_stopped(scene: Scene) -> None:
    if (backend := await _backend(scene)) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(backend, signal.SIGSTOP)
            await asyncio.sleep(scene.random.uniform(0.5, 3))
            os.kill(backend, signal.SIGCONT)


async def _database_stalled(scene: Scene) -> None:
    """Longer than ingest waits for a transaction, which is 30 s, unless the run is a quick one."""
    with contextlib.suppress(asyncpg.PostgresError, OSError):
        connection = await connect(scene.stack.owner_url, application="chaos")
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE reading.air_quality IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(scene.stall_seconds)
        finally:
            await connection.close()


async def _broker_restarted(scene: Scene) -> None:
    await scene.stack.mosquitto.restart()


async def broker_killed(scene: Scene) -> None:
    """Kill the broker, and start it on what it had saved."""
    os.kill(scene.stack.mosquitto.pid, signal.SIGKILL)
    await scene.stack.mosquitto.stop()
    await scene.stack.mosquitto.start()


async def _broker_stopped(scene: Scene) -> None:
    os.kill(scene.stack.mosquitto.pid, signal.SIGSTOP)
    await asyncio.sleep(scene.random.uniform(0.5, 3))
    os.kill(scene.stack.mosquitto.pid, signal.SIGCONT)


async def _clock_stepped(scene: Scene) -> None:
    set_clock(scene.clock, 3600 * scene.random.choice((-1, 0, 1)))


def _link(scene: Scene) -> Proxy:
    return scene.random.choice((scene.broker_link, scene.database_link))


async def _link_cut(scene: Scene) -> None:
    _link(scene).cut()


async def _link_cut_in_mid_packet(scene: Scene) -> None:
    _link(scene).cut_in_mid_packet(scene.random.randrange(1, 5000))


async def _link_slow(scene: Scene) -> None:
    link = _link(scene)
    link.delay = scene.random.uniform(0.01, 0.1)
    await asyncio.sleep(2)
    link.restore()


async def _link_trickling(scene: Scene) -> None:
    link = _link(scene)
    link.bytes_per_second = 1
    await asyncio.sleep(2)
    link.restore()


async def _link_silent(scene: Scene) -> None:
    """Half open for ever; ingest finds out within half a minute."""
    link = _link(scene)
    link.silence()
    await asyncio.sleep(1)
    link.restore()


async def _commit_answer_cut(scene: Scene) -> None:
    scene.database_link.cut_answer_to(b"COMMIT")


Fault = Callable[[Scene], Awaitable[None]]
FAULTS: Mapping[str, Fault] = {
    "ingest killed": _ingest_killed,
    "ingest stopped": _ingest_stopped,
    "postmaster killed": _postmaster_killed,
    "backend killed": _backend_killed,
    "backend stopped": _backend_stopped,
    "database stalled": _database_stalled,
    "broker restarted": _broker_restarted,
    "broker killed": broker_killed,
    "broker stopped": _broker_stopped,
    "clock stepped": _clock_stepped,
    "link cut": _link_cut,
    "link cut in mid-packet": _link_cut_in_mid_packet,
    "link slow": _link_slow,
    "link trickling": _link_trickling,
    "link silent": _link_silent,
    "commit's answer cut off": _commit_answer_cut,
}


def schedule(times: Mapping[str, int], seed: int) -> list[str]:
    """Return each fault so many times, in an order that follows from the seed."""
    faults = [fault for fault, count in times.items() for _ in range(count)]
    random.Random(seed).shuffle(faults)  # noqa: S311 - an order, not a secret
    return faults


def write_history(path: pathlib.Path, seed: int, history: list[dict[str, Any]]) -> None:
    """Write what was done, one fault a line, after a line with the seed."""
    path.write_text("\n".join(json.dumps(line) for line in [{"seed": seed}, *history]) + "\n")
