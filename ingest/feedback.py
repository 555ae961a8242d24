"""Telling a device why its reading was refused: at once, but at most once in ten seconds."""

from __future__ import annotations

import collections
import dataclasses

import orjson

from sensors.checks import Reason
from sensors.times import SECOND, format_timestamp


@dataclasses.dataclass(frozen=True, slots=True)
class FeedbackPolicy:
    """``interval`` in µs; at most ``devices`` are remembered, the longest silent is forgotten first."""

    interval: int = 10 * SECOND
    devices: int = 100_000


class Feedback:
    """Decides what is told. No clock and no I/O: the caller passes the time and publishes."""

    def __init__(self, policy: FeedbackPolicy | None = None) -> None:
        self._policy = policy or FeedbackPolicy()
        self._told: collections.OrderedDict[str, list[int]] = collections.OrderedDict()

    def refuse(self, device: str, reason: Reason, detail: str, received: int, now: int) -> bytes | None:
        """Return what to publish on the device's errors topic, or None when it was told just now."""
        last = self._told.get(device)
        if last is not None and now - last[0] < self._policy.interval:
            last[1] += 1
            return None
        withheld = last[1] if last else 0
        self._told[device] = [now, 0]
        self._told.move_to_end(device)
        if len(self._told) > self._policy.devices:
            self._told.popitem(last=False)
        return orjson.dumps(
            {
                "reason": reason.value,
                "detail": detail,
                "received_at": format_timestamp(received),
                "withheld": withheld,
            }
        )
