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

    def withhold(self, device: str, now: int) -> bool:
        """Return whether a device was told just now and is not told again; that is counted."""
        last = self._told.get(device)
        # A clock that was set back says nothing about how long ago that was.
        if last is None or not 0 <= now - last[0] < self._policy.interval:
            return False
        last[1] += 1
        return True

    def refuse(self, device: str, reason: Reason, detail: str, received: int, now: int) -> bytes | None:
        """Return what to publish on the device's errors topic, or None when it was told just now."""
        if self.withhold(device, now):
            return None
        withheld = self._told.get(device, (0, 0))[1]
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
