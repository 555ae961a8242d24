"""Telling devices up to which number their readings are kept: at most once a second each."""

from __future__ import annotations

import collections
import dataclasses

import orjson

from sensors.times import SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiptPolicy:
    """``interval`` in µs; at most ``devices`` wait to be told, and the one that has waited longest is forgotten
    beyond that: it asks again by sending its readings again."""

    interval: int = SECOND
    devices: int = 100_000


class Receipts:
    """Decides what is told when. No clock and no I/O: the caller passes the time in µs and publishes.

    A receipt that is held back is not lost: the newest of a device waits until its second is over.
    """

    def __init__(self, policy: ReceiptPolicy | None = None) -> None:
        self._policy = policy or ReceiptPolicy()
        self._waiting: collections.OrderedDict[str, int] = collections.OrderedDict()
        # Whom we told within the last interval, the earliest first.
        self._told: collections.OrderedDict[str, int] = collections.OrderedDict()

    def note(self, device: str, through: int) -> None:
        """Take what a committed transaction said of a device, which replaces what one before it said."""
        self._waiting[device] = through
        if len(self._waiting) > self._policy.devices:
            self._waiting.popitem(last=False)

    def due(self, now: int) -> list[tuple[str, bytes]]:
        """Return what to publish now, as (device, payload)."""
        # A clock that was set back says nothing about how long ago that was.
        while self._told and not 0 <= now - next(iter(self._told.values())) < self._policy.interval:
            self._told.popitem(last=False)
        return self._take([device for device in self._waiting if device not in self._told], now)

    def rest(self, now: int) -> list[tuple[str, bytes]]:
        """Return all that waits, for a worker that ends."""
        return self._take(list(self._waiting), now)

    def _take(self, devices: list[str], now: int) -> list[tuple[str, bytes]]:
        for device in devices:
            self._told[device] = now
            self._told.move_to_end(device)
        return [(device, orjson.dumps({"through": self._waiting.pop(device)})) for device in devices]
