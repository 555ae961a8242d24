"""Keeps the city's processes running, and stops them in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from signal import SIGKILL, SIGTERM
from typing import Protocol

from stack.process import Child, Program

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_STABLE_SECONDS = 30.0


class Part(Protocol):
    """Something that runs. After ``stop`` has returned it is gone, and may be started again."""

    name: str

    async def start(self) -> None:
        """Return when it is ready; raise StackError, leaving nothing behind, when it does not become so."""
        ...

    async def wait(self) -> int:
        """Return its exit status when it ends, by whatever cause."""
        ...

    async def stop(self) -> None:
        """Stop it in its own orderly way; nothing if it does not run."""
        ...


class Server:
    """One of the stack's servers as a part."""

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[None]],
        wait: Callable[[], Awaitable[int]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self.name = name
        self._start, self._wait, self._stop = start, wait, stop

    async def start(self) -> None:
        """Start the server; what it began and could not finish is stopped."""
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._wait()

    async def stop(self) -> None:
        """Stop the server."""
        await self._stop()


class Worker:
    """One of our own processes as a part; ready when ``probe`` says so."""

    def __init__(
        self,
        program: Program,
        probe: Callable[[], Awaitable[bool]],
        *,
        ready_within: float,
        stop_within: float,
    ) -> None:
        self.name = program.name
        self._program = program
        self._probe = probe
        self._ready_within = ready_within
        self._stop_within = stop_within
        self._child: Child | None = None

    async def start(self) -> None:
        """Start the process."""
        self._child = Child(self._program)
        try:
            await self._child.wait_ready(self._probe, self._ready_within)
        except BaseException:
            await self._child.stop((SIGKILL, 5.0))
            raise

    async def wait(self) -> int:
        """Wait for its end."""
        return await self._running().wait()

    async def stop(self) -> None:
        """Ask it to stop; kill it when it takes too long."""
        if self._child is not None:
            await self._child.stop((SIGTERM, self._stop_within))
            self._child = None

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child


class Supervisor:
    """Parts in the order they were started. One that ends is started again, with growing pauses."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._parts: list[Part] = []
        self._watchers: dict[str, asyncio.Task[None]] = {}

    async def start(self, part: Part) -> None:
        """Start a part and watch it from then on. Raises StackError."""
        await part.start()
        self._parts.append(part)
        self._begin_watch(part)

    async def restart(self, name: str) -> None:
        """Stop a part in order and start it again; one that does not start is tried until it does."""
        part = next(part for part in self._parts if part.name == name)
        watcher = self._watchers[name]
        watcher.cancel()  # to it this would be an end
        await asyncio.gather(watcher, return_exceptions=True)
        await self._until_restarted(part, _FIRST_PAUSE)
        self._begin_watch(part)

    def _begin_watch(self, part: Part) -> None:
        self._watchers[part.name] = asyncio.create_task(self._watch(part), name=f"watch.{part.name}")

    async def _watch(self, part: Part) -> None:
        pause = _FIRST_PAUSE
        while True:
            since = time.monotonic()
            status = await part.wait()
            self._say(f"{part.name} ended (exit status {status}); starting it again")
            if time.monotonic() - since > _STABLE_SECONDS:
                pause = _FIRST_PAUSE
            pause = await self._until_restarted(part, pause)

    async def _until_restarted(self, part: Part, pause: float) -> float:
        """Restart a part until it runs, and return the pause before the next time."""
        while not await self._restart(part, pause):
            pause = min(pause * 2, _LONGEST_PAUSE)
        return min(pause * 2, _LONGEST_PAUSE)

    async def _restart(self, part: Part, pause: float) -> bool:
        """Clear away what is left of a part and start it after a pause; return whether it runs."""
        try:
            await part.stop()
            await asyncio.sleep(pause)
            await part.start()
        except Exception as error:  # noqa: BLE001 - a part that needs another one fails with that one's errors
            self._say(f"{part.name} did not start: {error}")
            return False
        return True

    async def stop(self) -> None:
        """Stop all parts, the last started first."""
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        for part in reversed(self._parts):
            await part.stop()
        self._parts.clear()
