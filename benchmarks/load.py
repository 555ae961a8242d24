"""A load generator that is faster than what it measures: prepared packets on the codec, in a process of its own.

    python -m benchmarks.load --port 1883 --count 100000 --rate 5000

Reading ``n`` is of device ``n % devices`` at ``start + n // devices * step``: whoever counts knows what was sent.
With a rate the packets are prepared as they are needed, so that a load may be longer than memory; without one,
all of them before the first is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator

import mqtt5
import numpy as np
import uvloop

from benchmarks.bad import REASONS, bad_message, choose_bad
from sensors.catalogue import build_catalogue, builtin_file
from sensors.topics import Channel, Topics

_BLOCK = 500
_BLOCKS_A_SECOND = 100  # of a load with a rate
_IDS = 65_535
# How long acknowledgements gather at the kernel: read one by one, each would cost the broker a wake-up of ours.
_GULP_SECONDS = 0.005
PASSWORD_VARIABLE = "ALATAU_LOAD_PASSWORD"  # noqa: S105 - the name of a variable


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What is sent: ``rate`` readings/s, or as fast as they are acknowledged; ``start`` and ``step`` in ms;
    ``bad``, the share of messages that are refused, for every reason; ``interval``, what its devices are
    registered with."""

    count: int
    devices: int
    metrics: int
    kind: str = "air_quality"
    rate: float | None = None
    seed: int = 1
    start: int = 0
    step: int = 1
    window: int = 10_000
    bad: float = 0.0
    interval: str = "PT0.001S"

    @property
    def good(self) -> int:
        """How many of its messages are good readings."""
        return self.count if not self.bad else int((choose_bad(self.count, self.bad, self.seed) < 0).sum())


def device_names(load: Load) -> list[str]:
    """Return the ids of the devices that send."""
    return [f"load-{load.kind.replace('_', '-')}-{number:05d}" for number in range(load.devices)]


def packets(load: Load) -> Iterator[bytes]:
    """Yield every packet, prepared: QoS 1, its id as the codec would write it."""
    kind = build_catalogue(builtin_file("alatau"), "alatau.toml").kind_of[load.kind]
    random = np.random.default_rng(load.seed)
    chosen = kind.metrics[: load.metrics]
    low = np.array([metric.minimum for metric in chosen])
    high = np.array([min(metric.maximum, metric.minimum + 500) for metric in chosen])
    names = [f'"{metric.name}":' for metric in chosen]
    devices = device_names(load)
    topics = [Topics().of(name, Channel.TELEMETRY) for name in devices]
    values = np.round(random.uniform(low, high, (997, len(chosen))), 1).tolist()
    bodies = [",".join(f"{n}{v}" for n, v in zip(names, row, strict=True)) for row in values]
    bad = choose_bad(load.count, load.bad, load.seed).tolist() if load.bad else itertools.repeat(-1)
    for number, reason in zip(range(load.count), bad, strict=False):
        stamp = load.start + number // load.devices * load.step
        if reason < 0:
            topic = topics[number % load.devices]
            payload = f'{{"ts":{stamp},{bodies[number % 997]}}}'.encode()
        else:
            topic, payload = bad_message(REASONS[reason], kind, devices[number % load.devices], stamp)
        packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number % _IDS + 1)
        yield packet.write()


def blocks(load: Load) -> Iterator[tuple[bytes, int]]:
    """Yield the packets joined to what one write sends, with their number."""
    size = _BLOCK if load.rate is None else max(1, min(_BLOCK, int(load.rate / _BLOCKS_A_SECOND)))
    every = packets(load)
    while part := list(itertools.islice(every, size)):
        yield b"".join(part), len(part)


class Publisher(asyncio.Protocol):
    """Sends blocks of packets, never more than the window unacknowledged."""

    def __init__(self, username: str, password: str, window: int) -> None:
        self._login = (username, password)
        self._window = window
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._connected = asyncio.Event()
        self._room = asyncio.Event()
        self.sent = self.acknowledged = self.refused = 0
        self.closed = False
        self.stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        self._transport = transport  # type: ignore[assignment]
        packet = mqtt5.ConnectPacket(
            f"load-{os.getpid()}", username=self._login[0], password=self._login[1].encode(), clean_start=True
        )
        self._write(packet.write())

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self.closed = True
        self._connected.set()
        self._room.set()

    def data_received(self, data: bytes) -> None:
        """Count acknowledgements, and let the next ones gather."""
        data = self._tail + data
        position = self._count_alike(data)
        while position + 2 <= len(data) and position + 2 + data[position + 1] <= len(data):
            size = data[position + 1]
            if data[position] == 0x40:
                self.acknowledged += 1
                self.refused += size > 2 and data[position + 4] >= 0x80
            elif data[position] == 0x20:
                self._connected.set()
            position += 2 + size
        self._tail = data[position:]
        if self.sent - self.acknowledged <= self._window - _BLOCK:
            self._room.set()
        if self.acknowledged and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(_GULP_SECONDS, self._read_on)

    def _count_alike(self, data: bytes) -> int:
        """Count acknowledgements of one length, with a reason or without, as long as nothing else comes; return
        where that is."""
        if len(data) < 2 or data[0] != 0x40 or data[1] not in (2, 3):
            return 0
        size = data[1] + 2
        rows = np.frombuffer(data, np.uint8, len(data) // size * size).reshape(-1, size)
        alike = (rows[:, 0] == 0x40) & (rows[:, 1] == size - 2)
        count = len(rows) if alike.all() else int(alike.argmin())
        self.acknowledged += count
        if size == 5:
            self.refused += int((rows[:count, 4] >= 0x80).sum())
        return count * size

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def send(self, prepared: Iterable[tuple[bytes, int]], rate: float | None) -> float:
        """Send everything, or until ``stopping``, and wait until it is acknowledged; return the seconds."""
        await self._connected.wait()
        started = time.monotonic()
        for block, count in prepared:
            while self.sent - self.acknowledged > self._window - count and not self.closed:
                self._room.clear()
                await self._room.wait()
            if rate is not None:
                await asyncio.sleep(max(0.0, started + self.sent / rate - time.monotonic()))
            if self.closed or self.stopping:
                break
            self._write(block)
            self.sent += count
        while self.acknowledged < self.sent and not self.closed:
            self._room.clear()
            await self._room.wait()
        return time.monotonic() - started


async def run(load: Load, port: int, username: str, password: str) -> dict[str, float]:
    """Send a load, until SIGTERM if that comes before its end, and return what became of it."""
    prepared = blocks(load) if load.rate is not None else list(blocks(load))
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)  # a line, or the end of the input, lets us begin
    _, publisher = await loop.create_connection(
        lambda: Publisher(username, password, load.window), "127.0.0.1", port
    )
    loop.add_signal_handler(signal.SIGTERM, lambda: setattr(publisher, "stopping", True))
    processor = time.process_time()
    seconds = await publisher.send(prepared, load.rate)
    return {
        "published": publisher.sent,
        "acknowledged": publisher.acknowledged,
        "refused": publisher.refused,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - processor,
    }


def arguments(load: Load, port: int, username: str) -> list[str]:
    """Return the command that sends a load from a process of its own; the password is in its environment."""
    values = [f"--{field.name}={getattr(load, field.name)}" for field in dataclasses.fields(load)]
    given = [value for value in values if not value.endswith("=None")]
    return [sys.executable, "-m", "benchmarks.load", f"--port={port}", f"--username={username}", *given]


def main() -> None:
    """Parse the command line and print the result as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--username", default="alatau-simulator")
    types = {"kind": str, "rate": float, "bad": float, "interval": str}
    defaults = Load(count=100_000, devices=1000, metrics=5, start=time.time_ns() // 1_000_000 - 3_600_000)
    for field in dataclasses.fields(Load):
        parser.add_argument(
            f"--{field.name}", type=types.get(field.name, int), default=getattr(defaults, field.name)
        )
    options = vars(parser.parse_args())
    port, username = options.pop("port"), options.pop("username")
    result = uvloop.run(run(Load(**options), port, username, os.environ[PASSWORD_VARIABLE]))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
