"""Telling a device why its reading was refused: at once, but at most once in ten seconds."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import orjson

from ingest.decode import Fault
from ingest.hints import HINTS
from sensors.times import SECOND, format_timestamp

# The page that explains each reason, at an anchor of its name.
DOCS = "docs/devices/contract.md"
# With topic and properties a message then fits into the 1,024 bytes that ESP-MQTT has for one, unless told otherwise.
MOST_BYTES = 880
# Bytes of each member as JSON, so that what is left for the sentence is never less than a quarter.
PATH_BYTES, FOUND_BYTES, VALID_BYTES, LINK_BYTES = 120, 80, 120, 120
_CUT = "…"


@dataclasses.dataclass(frozen=True, slots=True)
class FeedbackPolicy:
    """``interval`` in µs; at most ``devices`` are remembered, the longest silent is forgotten first."""

    interval: int = 10 * SECOND
    devices: int = 100_000


class Feedback:
    """Decides what is told. No clock and no I/O: the caller passes the time and publishes.

    ``docs`` is the address of the page that explains the reasons.
    """

    def __init__(self, policy: FeedbackPolicy | None = None, docs: str = DOCS) -> None:
        self._policy = policy or FeedbackPolicy()
        self._docs = docs
        self._told: collections.OrderedDict[str, list[int]] = collections.OrderedDict()

    def withhold(self, device: str, now: int) -> bool:
        """Return whether a device was told just now and is not told again; that is counted."""
        last = self._told.get(device)
        # A clock that was set back says nothing about how long ago that was.
        if last is None or not 0 <= now - last[0] < self._policy.interval:
            return False
        last[1] += 1
        return True

    def refuse(self, device: str, fault: Fault, detail: str, received: int, now: int) -> bytes | None:
        """Return what to publish on the device's errors topic, or None when it was told just now.

        ``fault`` is the first of the message, ``detail`` the sentence of all.
        """
        if self.withhold(device, now):
            return None
        withheld = self._told.get(device, (0, 0))[1]
        self._told[device] = [now, 0]
        self._told.move_to_end(device)
        if len(self._told) > self._policy.devices:
            self._told.popitem(last=False)
        return told(fault, detail, received, withheld, self._docs)


def told(fault: Fault, detail: str, received: int, withheld: int, docs: str = DOCS) -> bytes:
    """Return the payload that tells of a refusal: JSON of at most ``MOST_BYTES``, ``received`` in Unix µs."""
    known = fault.explained
    path = None if (place := known.place) is None else _clean(place)
    link = f"{docs}#{fault.reason.value}"
    message: dict[str, Any] = {
        "reason": fault.reason.value,
        "detail": "",
        "received_at": format_timestamp(received),
        "withheld": withheld,
        # A part of a pointer or of an address points elsewhere.
        "path": path if path is None or _size(path) <= PATH_BYTES else None,
        "found": None if known.found is None else _cut(known.found, FOUND_BYTES),
        "valid": None if known.valid is None else _cut(known.valid, VALID_BYTES),
        "hint": HINTS[fault.reason],
        "link": link if _size(link) <= LINK_BYTES else None,
    }
    message["detail"] = _cut(detail, MOST_BYTES - len(orjson.dumps(message)) + 2)
    return orjson.dumps(message)


def _clean(text: str) -> str:
    return text.encode(errors="replace").decode()


def _size(text: str) -> int:
    return len(orjson.dumps(text))


def _cut(text: str, size: int) -> str:
    """Return a text of which JSON has at most ``size`` bytes, with the quotes; cut, it ends with an ellipsis."""
    text = _clean(text)
    if _size(text) <= size:
        return text
    kept = text[:size]
    while _size(kept + _CUT) > size:
        kept = kept[: -max(1, (_size(kept + _CUT) - size) // 6)]
    return kept + _CUT
