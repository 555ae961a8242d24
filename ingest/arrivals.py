"""What was committed outlasts a redelivery.

A reading without a time of its own has that of its arrival. If we die between commit and acknowledgement, the
broker delivers it again, later: with a new time of arrival it would be stored twice. A refused message would be
counted twice. So those of the last cuts are noted in the transaction that stores them, and one that is delivered
again after it has committed is only acknowledged.
"""

from __future__ import annotations

import collections
import hashlib
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

_RECORD = struct.Struct(">H8sq")  # packet id, digest of topic and payload, Unix µs
# How many cuts are remembered: as many as could be unacknowledged on a link that has just gone silent.
SLOTS = 256
# No more messages can be unacknowledged, because packet ids have 16 bits: older ones are forgotten.
_OUTSTANDING = 65_535


def _digest(packet: PublishPacket) -> bytes:
    return hashlib.blake2b(packet.topic.encode() + b"\0" + packet.payload, digest_size=8).digest()


class Arrivals:
    """The messages of the last cuts that only their arrival tells apart: their times, by packet id and contents."""

    def __init__(self) -> None:
        self._times: dict[tuple[int, bytes], int] = {}
        self._slots: collections.OrderedDict[int, list[tuple[int, bytes, int]]] = collections.OrderedDict()
        self._noted: list[tuple[int, bytes, int]] = []
        self._next_slot = 0

    def load(self, slots: Iterable[tuple[int, bytes]]) -> None:
        """Take over what an earlier run stored, as (slot, records), oldest first."""
        for slot, records in slots:
            self._remember(slot, list(_RECORD.iter_unpack(records)))
            self._next_slot = (slot + 1) % SLOTS

    def forget(self) -> None:
        """Forget everything: in a new session of the broker the same packet id is another packet."""
        self._times.clear()
        self._slots.clear()

    def knows(self, packet: PublishPacket) -> bool:
        """Return whether a redelivered packet was noted for a cut that has been committed: all of it is stored."""
        return (packet.packet_id or 0, _digest(packet)) in self._times

    def note(self, packet: PublishPacket, received: int) -> None:
        """Remember a packet of the cut that is being committed; ``received`` in Unix µs."""
        self._noted.append((packet.packet_id or 0, _digest(packet), received))

    def discard(self) -> None:
        """Forget what was noted for a cut that will be checked again."""
        self._noted.clear()

    def slot(self) -> tuple[int, bytes] | None:
        """Return what the transaction must store along with the cut: (slot, records), or None."""
        if not self._noted:
            return None
        return self._next_slot, b"".join([_RECORD.pack(*record) for record in self._noted])

    def committed(self) -> None:
        """The transaction has committed: what was noted is remembered, and the oldest cut forgotten."""
        if self._noted:
            self._remember(self._next_slot, self._noted)
            self._next_slot = (self._next_slot + 1) % SLOTS
            self._noted = []

    def _remember(self, slot: int, records: list[tuple[int, bytes, int]]) -> None:
        self._forget(slot)
        self._slots[slot] = records
        for packet_id, digest, received in records:
            self._times[packet_id, digest] = received
        while len(self._times) > _OUTSTANDING and len(self._slots) > 1:
            self._forget(next(iter(self._slots)))

    def _forget(self, slot: int) -> None:
        for packet_id, digest, received in self._slots.pop(slot, ()):
            # The same contents may have come again since, under the same packet id.
            if self._times.get((packet_id, digest)) == received:
                del self._times[packet_id, digest]
