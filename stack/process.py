"""One server as a child process: started apart from the terminal, watched, stopped step by step."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, Signals

from stack.accounts import Account, credentials
from stack.commands import clean_environment
from stack.errors import StackError
from stack.layout import make_directory

POLL_INTERVAL = 0.05
"""Seconds between looks at a child."""

_LOG_LIMIT = 10_000_000
_QUOTED_LINES = 8


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: its log file, or where ours goes, gets what it prints; it is sent `orphan_signal` if we die."""

    name: str
    argv: Sequence[str]
    log: Path | None
    orphan_signal: Signals
    account: Account | None = None
    cwd: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class Child:
    """A running program.

    It has a session of its own, so Ctrl-C reaches only us and we stop things in order. It is tied to
    the thread that started it: when that ends, by whatever cause, the kernel sends `orphan_signal`.
    """

    def __init__(self, program: Program) -> None:
        """Start `program`; raises StackError if it cannot be run."""
        self.program = program
        if program.log is None:
            self._process = _spawn(program, None)
            return
        make_directory(program.log.parent)
        _rotate(program.log)
        # A statement that failed is logged as it was, a password in it included.
        program.log.touch(mode=0o600)
        with program.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = _spawn(program, log.fileno())

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether the program has not ended yet."""
        return self._process.poll() is None

    async def wait(self) -> int:
        """Wait until the program has ended; return its exit status, minus the signal if one ended it."""
        # Asked again and again rather than awaited: the event loops differ in what they can await.
        while (status := self._process.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)
        return status

    async def wait_ready(self, probe: Callable[[], Awaitable[bool]], timeout: float) -> None:  # noqa: ASYNC109
        """Wait until `probe` says yes; raises StackError if the program ends first or `timeout` s pass."""
        deadline = time.monotonic() + timeout
        while not await probe():
            if (status := self._process.poll()) is not None:
                raise self._failure(f"ended while it started (exit status {status})")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {timeout:g} s")
            await asyncio.sleep(POLL_INTERVAL)

    async def stop(self, *steps: tuple[Signals, float]) -> int:
        """Send each signal and give it its seconds, then kill; return the exit status."""
        for signal, seconds in (*steps, (SIGKILL, 60.0)):
            self.send(signal)
            try:
                async with asyncio.timeout(seconds):
                    return await self.wait()
            except TimeoutError:
                continue
        raise self._failure("cannot be killed")

    def send(self, signal: Signals) -> None:
        """Send `signal`; nothing happens if the program has ended."""
        self._process.send_signal(signal)

    def last_lines(self) -> str:
        """Return the end of what the program has printed since it was started, if to a log of its own."""
        if self.program.log is None:
            return ""
        with self.program.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_QUOTED_LINES:])

    def _failure(self, what: str) -> StackError:
        if self.program.log is None:
            return StackError(f"{self.program.name} {what}.", "What it has printed says why.")
        return StackError(
            f"{self.program.name} {what}:\n{self.last_lines()}",
            f"The lines above say why; all of them are in {self.program.log}.",
        )


def _spawn(program: Program, log: int | None) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603 - an argument list, never a shell
            [*_leash(program.orphan_signal), *program.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=program.cwd,
            env=clean_environment(program.env),
            umask=0o077,
            start_new_session=True,
            **credentials(program.account),
        )
    except OSError as error:
        raise StackError(
            f"{program.name} cannot be started: {error}.",
            "Run `./alatau doctor` to see which servers were found.",
        ) from error


def _leash(signal: Signals) -> list[str]:
    # The kernel forgets the parent-death signal when the user changes, so it is set by a program that
    # starts after that: setpriv of util-linux, which every Debian has. Where it is missing, a killed
    # parent leaves its servers behind.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal.name.removeprefix("SIG"), "--"] if setpriv else []


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))
