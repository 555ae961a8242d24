"""Many clients of the stream in a process of its own, so that what they cost is not taken for the API's.

    python -m benchmarks.listening --port 8000 --clients 1000 …

Says ``ready`` when all are told from now on, and at the end of its input writes what they were told to a file, as JSON:
of each probe when each client saw it (seconds of the system's monotonic clock), and the newest time of each device.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import pathlib
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence

import orjson
import uvloop

from api.contract import PREFIX
from api.niceness import give_way

KEY_VARIABLE = "ALATAU_LISTENING_KEY"
_LONGEST_LINE = 64 * 2**20
_AT_ONCE = 50  # that connect


@dataclasses.dataclass(slots=True)
class Told:
    """What one client was told."""

    probes: dict[int, float] = dataclasses.field(default_factory=dict)
    newest: dict[str, str] = dataclasses.field(default_factory=dict)
    missed: int = 0
    has_ended: bool = False


def filters(clients: int, devices: Sequence[str], probe: str, *, whole: int) -> list[dict[str, str]]:
    """Return what each client asks for: ``whole`` everything, the others one of fifty walls of twenty devices; all of
    them the probe as well."""
    walls = []
    for number in range(50):
        chosen = [devices[(number * 20 + place) % len(devices)] for place in range(20)]
        walls.append({"events": "readings", "device": ",".join([*chosen, probe])})
    return [{} if number < whole else walls[number % len(walls)] for number in range(clients)]


async def _listen(
    port: int, key: str, query: Mapping[str, str], probe: str, told: Told, ready: asyncio.Event
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LONGEST_LINE)
    path = f"{PREFIX}/stream?{urllib.parse.urlencode(query)}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode())
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"the stream is refused: {status!r} {(await reader.read(2000))!r}")
        # One write of the server is one chunk, so that no line is in two.
        while line := await reader.readline():
            if line.startswith(b"id: "):
                ready.set()
            elif line.startswith(b"event: missed"):
                told.missed += 1
            elif line.startswith(b'data: {"readings"'):
                _note(orjson.loads(line[6:]), probe, told)
        told.has_ended = True
    finally:
        writer.close()


def _note(data: Mapping[str, Sequence[Mapping[str, object]]], probe: str, told: Told) -> None:
    now = time.monotonic()
    for reading in data["readings"]:
        device = str(reading["device"])
        if device == probe:
            for value in dict(reading["values"]).values():  # type: ignore[call-overload]
                told.probes.setdefault(round(value), now)
        else:
            told.newest[device] = str(reading["time"])


async def listen(port: int, key: str, queries: Sequence[Mapping[str, str]], probe: str) -> list[Told]:
    """Listen with one client for each query until the input ends."""
    everything = [Told() for _ in queries]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def client(query: Mapping[str, str], told: Told, ready: asyncio.Event) -> None:
        await turns.acquire()
        ready_or_ended = asyncio.ensure_future(ready.wait())
        ready_or_ended.add_done_callback(lambda _: turns.release())
        await _listen(port, key, query, probe, told, ready)

    async with asyncio.TaskGroup() as group:
        events = [asyncio.Event() for _ in queries]
        tasks = [
            group.create_task(client(query, told, ready), name="bench.client")
            for query, told, ready in zip(queries, everything, events, strict=True)
        ]
        for ready in events:
            await ready.wait()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for task in tasks:
            task.cancel()
    return everything


def main() -> None:
    """Listen, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--whole", type=int, required=True, help="clients that ask for everything")
    parser.add_argument("--probe", required=True)
    parser.add_argument(
        "--devices", type=pathlib.Path, required=True, help="file with the other devices, one a line"
    )
    parser.add_argument("--told", type=pathlib.Path, required=True, help="file for what they were told")
    asked = parser.parse_args()
    give_way(19)
    devices = asked.devices.read_text().split()
    queries = filters(asked.clients, devices, asked.probe, whole=asked.whole)
    everything = uvloop.run(listen(asked.port, os.environ[KEY_VARIABLE], queries, asked.probe))
    result = {
        "clients": [
            {
                "probes": {str(number): seen for number, seen in told.probes.items()},
                "newest": told.newest,
                "missed": told.missed,
                "ended": told.has_ended,
            }
            for told in everything
        ]
    }
    asked.told.write_bytes(orjson.dumps(result))


if __name__ == "__main__":
    main()
