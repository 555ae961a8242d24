"""Asking a process whether it is ready."""

from __future__ import annotations

import asyncio
import pathlib
import ssl
from collections.abc import Awaitable, Callable

import msgspec

# To be asked, not listened on: who listens everywhere listens here.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


def address_of(host: str) -> str:
    """Return the address at which one that listens at ``host`` is asked from this machine."""
    return _EVERYWHERE.get(host, host)


def answers_ok(
    port: int,
    path: str = "/readyz",
    host: str = "127.0.0.1",
    trust: Callable[[], ssl.SSLContext | None] = lambda: None,
) -> Callable[[], Awaitable[bool]]:
    """Return a probe that asks an HTTP port of this machine, by TLS where ``trust`` says so, and takes 200 for yes."""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(address_of(host), port, ssl=trust())
                try:
                    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in status

    return probe


class SimulatorState(msgspec.Struct):
    """The part of a simulator's progress line that tells where it is."""

    phase: str = "connecting"
    fraction: float = 0.0
    published: int = 0


def simulator_state(log: pathlib.Path, since: int) -> SimulatorState:
    """Return the newest progress that a simulator has printed after an offset of its log."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        # A log that is smaller than it was has been put aside for a new one.
        file.seek(max(since if since <= size else 0, size - 4096))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=SimulatorState)
        except msgspec.MsgspecError:
            continue
    return SimulatorState()
