"""Runs the ordinary command line with one thing wrong: it dies at a named point, or its clock jumps.

    python -m benchmarks.sabotage --die committed:3 ingest
    python -m benchmarks.sabotage --clock FILE ingest

The product has no hooks for this: functions are wrapped from outside before it starts. ``FILE`` holds how far the
clock is off, eight bytes, little endian, in ns; whoever writes to it lets the clock jump.
"""

from __future__ import annotations

import argparse
import mmap
import os
import pathlib
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mqtt5 import PublishPacket

import cli.main
import storage.copy
import storage.writer
from ingest.commit import Committer
from ingest.service import Ingest
from ingest.session import Session
from sensors.topics import Channel

_OFFSET = struct.Struct("<q")


class Death:
    """Counts how often a point is reached, and kills this process at the last time."""

    def __init__(self, count: int) -> None:
        self._left = count

    def is_due(self) -> bool:
        """Return whether this is the time to die."""
        self._left -= 1
        return self._left <= 0

    def pass_by(self) -> None:
        """Die, if it is time."""
        if self.is_due():
            os.kill(os.getpid(), signal.SIGKILL)


def _received(death: Death) -> None:
    take = Ingest._take

    def wrapped(self: Ingest, session: Session, packets: list[PublishPacket], size: int) -> bool:
        has_room = take(self, session, packets, size)
        death.pass_by()
        return has_room

    Ingest._take = wrapped  # type: ignore[method-assign]


def _copying(death: Death) -> None:
    stream = storage.copy.copy_stream

    async def wrapped(bodies: Iterator[bytes]) -> Any:
        async for number, part in _numbered(stream(bodies)):
            if number == 2:  # after the signature and the first body
                death.pass_by()
            yield part

    storage.writer.copy_stream = wrapped  # type: ignore[attr-defined]


async def _numbered(parts: Any) -> Any:
    number = 0
    async for part in parts:
        yield number, part
        number += 1


def _committed(death: Death) -> None:
    commit = Committer.commit

    async def wrapped(self: Committer, cut: Any) -> Any:
        stored = await commit(self, cut)
        death.pass_by()
        return stored

    Committer.commit = wrapped  # type: ignore[method-assign]


def _acknowledging(death: Death) -> None:
    acknowledge = Session.acknowledge

    def wrapped(self: Session, packet_ids: Iterable[int]) -> None:
        ids = list(packet_ids)
        if ids and death.is_due() and self._transport is not None:
            body = b"".join([b"\x40\x02" + number.to_bytes(2, "big") for number in ids])
            # Past the event loop, which would hold it back, and in the middle of a packet.
            os.write(self._transport.get_extra_info("socket").fileno(), body[: len(body) // 2 + 1])
            os.kill(os.getpid(), signal.SIGKILL)
        acknowledge(self, ids)

    Session.acknowledge = wrapped  # type: ignore[method-assign]


def _receipting(death: Death) -> None:
    publish = Session.publish

    async def wrapped(self: Session, topic: str, payload: bytes, reason: str = "") -> None:
        if topic.endswith(f"/{Channel.STORED}"):
            death.pass_by()
        await publish(self, topic, payload, reason)

    Session.publish = wrapped  # type: ignore[method-assign]


POINTS: dict[str, Callable[[Death], None]] = {
    "received": _received,
    "copying": _copying,
    "committed": _committed,
    "acknowledging": _acknowledging,
    "receipting": _receipting,
}


def shift_clock(file: pathlib.Path) -> None:
    """Let ``time.time_ns`` be off by what a file says at each moment."""
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    true_time = time.time_ns
    time.time_ns = lambda: true_time() + int(_OFFSET.unpack_from(offset)[0])


def set_clock(file: pathlib.Path, seconds: float) -> None:
    """Say how far the clock of the process that reads this file is off."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(_OFFSET.pack(int(seconds * 1e9)))


def main() -> None:
    """Do the sabotage, then run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--die", metavar="POINT:COUNT", help=f"one of {', '.join(POINTS)}")
    parser.add_argument("--clock", type=pathlib.Path)
    options, rest = parser.parse_known_args()
    if options.die:
        point, _, count = options.die.partition(":")
        POINTS[point](Death(int(count)))
    if options.clock:
        shift_clock(options.clock)
    sys.argv = ["alatau", *rest]
    cli.main.main()


if __name__ == "__main__":
    main()
