"""Parts that end are started again; all are stopped in the reverse of their order."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from cli import supervisor as module
from cli.supervisor import Server, Supervisor
from stack.errors import StackError


@dataclasses.dataclass
class Fake:
    """A part that lives until it is told to end, and fails to start as often as it is told to."""

    name: str
    events: list[str]
    failures: list[Exception] = dataclasses.field(default_factory=list)
    ended: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    started: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(0))

    async def start(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.ended.clear()
        self.events.append(f"start {self.name}")
        self.started.release()

    async def wait(self) -> int:
        await self.ended.wait()
        return 9

    async def stop(self) -> None:
        self.events.append(f"stop {self.name}")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)


async def started(part: Fake) -> None:
    async with asyncio.timeout(5):
        await part.started.acquire()


async def test_parts_are_stopped_in_the_reverse_of_their_order() -> None:
    events: list[str] = []
    supervisor = Supervisor(events.append)
    for name in ("database", "broker", "ingest"):
        await supervisor.start(Fake(name, events))
    events.clear()
    await supervisor.stop()
    assert events == ["stop ingest", "stop broker", "stop database"]


async def test_a_part_that_ends_is_cleared_away_and_started_again() -> None:
    events: list[str] = []
    supervisor, part = Supervisor(events.append), Fake("ingest", events)
    await supervisor.start(part)
    await started(part)
    part.ended.set()
    await started(part)
    await supervisor.stop()
    assert events == [
        "start ingest",
        "ingest ended (exit status 9); starting it again",
        "stop ingest",
        "start ingest",
        "stop ingest",
    ]


@pytest.mark.parametrize(
    "failure", [StackError("not ready", "look"), ConnectionRefusedError("database away"), KeyError("odd")]
)
async def test_a_part_that_fails_to_start_is_tried_until_it_does(failure: Exception) -> None:
    said: list[str] = []
    supervisor, part = Supervisor(said.append), Fake("broker", [])
    await supervisor.start(part)
    await started(part)
    part.failures = [failure, failure]
    part.ended.set()
    await started(part)
    await supervisor.stop()
    assert len([line for line in said if line.startswith("broker did not start: ")]) == 2


async def test_a_part_that_is_restarted_has_not_ended() -> None:
    events: list[str] = []
    said: list[str] = []
    supervisor, part = Supervisor(said.append), Fake("broker", events)
    await supervisor.start(part)
    part.failures = [StackError("not ready", "look")]
    await supervisor.restart("broker")
    assert events == ["start broker", "stop broker", "stop broker", "start broker"]
    assert len(said) == 1
    # It is watched on.
    await started(part)
    await started(part)
    part.ended.set()
    await started(part)
    await supervisor.stop()


async def test_the_first_start_that_fails_is_the_callers_to_report() -> None:
    supervisor, part = Supervisor(print), Fake("api", [], [StackError("port taken", "choose another")])
    with pytest.raises(StackError, match="port taken"):
        await supervisor.start(part)
    await supervisor.stop()
    assert part.events == []


async def test_a_server_that_began_and_could_not_finish_is_stopped() -> None:
    events: list[str] = []

    async def start() -> None:
        events.append("began")
        raise ConnectionRefusedError

    async def stop() -> None:
        events.append("stopped")

    async def wait() -> int:
        return 0

    with pytest.raises(ConnectionRefusedError):
        await Server("database", start, wait, stop).start()
    assert events == ["began", "stopped"]
