"""``alatau ingest`` as a process that is killed, stopped and started again, with what sabotage one likes."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from cli.probes import answers_ok
from stack.ports import free_port

PROJECT = pathlib.Path(__file__).parents[1]


class Victim:
    """One worker; ``start`` again after each death. What it logs goes to a file that stays."""

    def __init__(self, environment: Mapping[str, str], log: pathlib.Path) -> None:
        self.port = free_port()
        self.log = log
        self._environment = {**os.environ, **environment, "ALATAU_INGEST_PORT": str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, sabotage: Sequence[str] = ()) -> None:
        """Start the process; ``sabotage`` are options of ``benchmarks.sabotage``."""
        module = ["benchmarks.sabotage", *sabotage] if sabotage else ["cli"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module, "ingest"],
                cwd=PROJECT,
                env=self._environment,
                stderr=log,
            )

    async def until_ready(self, seconds: float = 30) -> None:
        """Wait until it receives. Raises TimeoutError."""
        probe, deadline = answers_ok(self.port), time.monotonic() + seconds
        while not await probe():
            if time.monotonic() > deadline or not self.is_running:
                raise TimeoutError(f"ingest is not ready:\n{self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    async def until_dead(self, seconds: float = 30) -> int:
        """Wait until it has ended by itself; return its exit status. Raises TimeoutError."""
        if self._process is None:
            raise RuntimeError("ingest was not started")
        deadline = time.monotonic() + seconds
        while (status := self._process.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError("ingest lives on")
            await asyncio.sleep(0.02)
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, and return when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def terminate(self) -> int:
        """Have it drain and end; return its exit status."""
        self.signal(signal.SIGTERM)
        return await self.until_dead(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.kill()
