"""The two levels of delivery, as the simulated devices keep them.

Acknowledged: the broker's PUBACK is the end of it. Stored: each device numbers its readings and keeps them until
a receipt names them (``Spool``). Readings that a fault has hit are sent without a number and not kept, so that
each goes out exactly as its ground truth says.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Sequence
from typing import Protocol

from simulators.encode import readings_in
from simulators.outgoing import Outgoing
from simulators.publisher import Publisher
from simulators.spool import Patience, Spool, read_receipt

# Readings kept by the whole city, and by one device: some hundred megabytes at the most.
_CITY_KEEPS = 1_000_000
_DEVICE_KEEPS = 10_000
_DEVICE_KEEPS_AT_LEAST = 100


class Level(enum.StrEnum):
    """When a reading counts as delivered."""

    ACKNOWLEDGED = "acknowledged"
    STORED = "stored"


class Delivery(Protocol):
    """Takes the city's messages to the broker, and counts what became of readings.

    ``stored`` and ``resent`` and ``dropped`` are readings; ``waiting`` those without a receipt.
    """

    stored: int
    resent: int
    dropped: int
    waiting: int

    def offer(self, message: Outgoing) -> bool:
        """Hand a message with a payload over; False means: pump, and offer it again."""
        ...

    def resend(self) -> None:
        """Send again what is due, as far as there is room."""
        ...


class AcknowledgedDelivery:
    """Leaves everything to the broker."""

    def __init__(self, publisher: Publisher, topics: Sequence[str]) -> None:
        self.stored = self.resent = self.dropped = self.waiting = 0
        self._publisher = publisher
        self._topics = topics

    def offer(self, message: Outgoing) -> bool:
        """Publish unless the device's connection has no room."""
        return self._publisher.offer(message.row, self._topics[message.row], message.payload or b"")

    def resend(self) -> None:
        """Nothing is kept."""


class StoredDelivery:
    """Keeps the readings of every device until their receipts; an ``Inbox`` of the publisher.

    Numbers begin at the clock, in µs: the spools are in memory, so a new run can't know which numbers the last one
    gave, and no device gives a million numbers a second. ``oldest`` says that nothing comes from before.
    """

    def __init__(
        self,
        publisher: Publisher,
        topics: Sequence[str],
        receipt_topics: Sequence[str],
        now: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.stored = self.resent = self.dropped = self.waiting = 0
        self._publisher = publisher
        self._topics = topics
        self._row_of = {topic: row for row, topic in enumerate(receipt_topics)}
        self._now = now
        self._monotonic = monotonic
        limit = max(_DEVICE_KEEPS_AT_LEAST, min(_DEVICE_KEEPS, _CITY_KEEPS // len(topics)))
        first = now()
        self._spools = [Spool(limit, first) for _ in topics]
        # Of devices that have waited for a receipt of late: until when, and one entry each in the order of that.
        self._patience: dict[int, Patience] = {}
        self._ends: list[tuple[float, int]] = []
        # Devices with readings to send that ``offer`` has not sent: a set that keeps its order.
        self._behind: dict[int, None] = {}
        publisher.listen(self)

    def offer(self, message: Outgoing) -> bool:
        """Number and keep the readings, and send them, or leave them to ``resend`` to keep their order."""
        row, payload = message.row, message.payload or b""
        if message.labels:
            return self._publisher.offer(row, self._topics[row], payload)
        spool, readings = self._spools[row], readings_in(payload)
        # What has piled up can wait for receipts; a reading of this moment can't.
        is_full = len(readings) > 1 and len(spool) + len(readings) > spool.limit
        if is_full or not self._publisher.has_room(row):
            # A broker that does not let the device in will never have it: counted, and not kept.
            return self._publisher.is_refused(row) and self._publisher.offer(row, self._topics[row], payload)
        self._await_receipt(row)
        dropped = spool.dropped
        for reading in readings:
            spool.push(reading)
        self.dropped += spool.dropped - dropped
        self.waiting += len(readings) - (spool.dropped - dropped)
        if row not in self._behind:
            self._take(row)
        return True

    def resend(self) -> None:
        """Send again what has waited too long or was sent before its connection was lost."""
        now = self._monotonic()
        while self._ends and self._ends[0][0] <= now:
            self._wait_on(heapq.heappop(self._ends)[1], now)
        for row in list(self._behind):
            while not self._spools[row].is_sent and self._publisher.has_room(row):
                self._take(row)
            if self._spools[row].is_sent:
                del self._behind[row]

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a receipt; those of devices that are not ours are none of our business."""
        row = self._row_of.get(topic)
        if row is None or (through := read_receipt(payload)) is None:
            return
        spool = self._spools[row]
        if through >= spool.next:
            # The clock was set back between two runs: the platform has had these numbers.
            spool.renumber(max(through + 1, self._now()))
            self._behind[row] = None
            return
        stored = spool.receive(through)
        self.stored += stored
        self.waiting -= stored
        if stored:
            self._patience[row].renew(self._monotonic())

    def came_up(self, number: int) -> None:
        """Send again whatever the connection's devices keep: the broker may have lost it."""
        for row in self._patience:
            if self._publisher.connection_of(row) == number:
                self._spools[row].rewind()
                self._behind[row] = None

    def _take(self, row: int) -> None:
        message, again = self._spools[row].take()
        self._publisher.offer(row, self._topics[row], message)
        self.resent += again

    def _await_receipt(self, row: int) -> None:
        patience = self._patience.get(row)
        if patience is None:
            patience = self._patience[row] = Patience(self._monotonic())
            heapq.heappush(self._ends, (patience.deadline, row))
        elif not len(self._spools[row]):
            patience.renew(self._monotonic())

    def _wait_on(self, row: int, now: float) -> None:
        """Decide on a device whose time seemed over: it may have got more since."""
        spool, patience = self._spools[row], self._patience[row]
        if not len(spool):
            del self._patience[row]
            return
        if patience.is_over(now):
            spool.rewind()
            self._behind[row] = None
        heapq.heappush(self._ends, (patience.deadline, row))
