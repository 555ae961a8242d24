"""What the simulated city is about to send, and what is known about it that its receiver has to find out."""

from __future__ import annotations

import io
import pathlib
from typing import NamedTuple

import msgspec

from sensors.checks import Reason

STORED = "stored"
DUPLICATE = "duplicate"
ABSENT = "absent"


def dead_letter(reason: Reason) -> str:
    """Return the expectation that a part of a message becomes a dead letter for this reason."""
    return f"dead_letter:{reason.value}"


class Label(msgspec.Struct, frozen=True):
    """One injected fault in one reading: a line of the ground truth.

    ``time`` is the reading's true time, RFC 3339; ``expect`` is ``stored``, ``duplicate``, ``absent`` or
    ``dead_letter:<reason>`` of the faulty part; ``sent`` is what went out for it.
    """

    device: str
    kind: str
    time: str
    fault: str
    metric: str | None
    sent: float | str | None
    expect: str


class Outgoing(NamedTuple):
    """A message of device number ``row`` due at a Unix time (µs); no payload means a reading kept back."""

    due: int
    row: int
    payload: bytes | None
    readings: int = 1
    labels: tuple[Label, ...] = ()


class TruthLog:
    """Writes labels as NDJSON when their message has been handed to the broker's connection."""

    def __init__(self, path: pathlib.Path | None) -> None:
        self.written = 0
        self._encoder = msgspec.json.Encoder()
        self._file: io.BufferedWriter | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")

    def write(self, labels: tuple[Label, ...]) -> None:
        """Append one line for each label."""
        self.written += len(labels)
        if self._file is not None:
            self._file.writelines(self._encoder.encode(label) + b"\n" for label in labels)

    def flush(self) -> None:
        """Make the lines written so far visible to readers of the file."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
