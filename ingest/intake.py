"""The batcher: messages in, cuts out. A small machine without clock, event loop or I/O.

A cut is a run of messages in order of receipt, with their rows by kind, what was wrong, and what to
acknowledge once all of it is committed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import msgspec

from ingest.decode import Fault, Row, take_apart
from ingest.foreign import Foreign
from ingest.messages import Message, no_device
from ingest.rows import Excesses, KindRows, RowCheck
from ingest.sequence import Collected
from sensors.checks import Reason, TimeWindow
from sensors.readings import ReadingBatch
from storage.dead_letters import DeadLetter, Fold, Letters
from storage.sequences import Clockless, Numbers

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

    from ingest.arrivals import Arrivals
    from ingest.letters import LetterQuota, Target
    from ingest.limits import RateLimits
    from ingest.routes import Route, Routes


@dataclasses.dataclass(slots=True)
class Cut:
    """A run of messages in order of receipt, what to store of it, and what to keep as dead letters."""

    routes: Routes
    arrivals: Arrivals
    limits: RateLimits | None = None
    fed: list[tuple[list[PublishPacket], int]] = dataclasses.field(default_factory=list)
    # By identity of the kind: when a new catalogue adds a metric, rows of both widths may be in one cut.
    kinds: dict[int, KindRows] = dataclasses.field(default_factory=dict)
    faulty: dict[int, Message] = dataclasses.field(
        default_factory=dict
    )  # by identity of the packet they hold
    unrouted: list[tuple[PublishPacket, int]] = dataclasses.field(default_factory=list)
    messages: int = 0
    patience: int = 1  # by how much its transaction may take longer than others
    size: int = 0  # bytes as they came, which bound our memory
    redelivered: bool = False  # whether any message of it is
    # Readings beyond their device's rate, by the identity of their packet and their own time.
    excess: Excesses = dataclasses.field(default_factory=dict)
    limited: int = 0
    checked: list[ReadingBatch] | None = None
    settled: Letters | None = None
    parts: list[Cut] | None = None
    stored: list[ReadingBatch] | None = None  # what was, once its transaction has committed
    sequence: Collected = dataclasses.field(default_factory=Collected)
    foreign: Foreign = dataclasses.field(default_factory=Foreign)
    apart: set[int] = dataclasses.field(default_factory=set)  # packets that brought what is ``clockless``
    # Apart from what is checked: numbered readings without a time, stored unless their number was kept.
    clockless: list[Clockless] = dataclasses.field(default_factory=list)
    receipts: dict[str, int] = dataclasses.field(default_factory=dict)  # what the commit made of the numbers

    def feed(self, packets: list[PublishPacket], received: int, size: int = 0) -> None:
        """Take what one read brought, the first packet at ``received`` (Unix µs), each next one 1 µs later.

        No two messages of a device then arrive at the same time, which is that of readings without one.
        What is delivered again after its commit is only to be acknowledged.
        """
        self.fed.append((packets, received))
        self.messages += len(packets)
        self.size += size
        lookup, as_row = self.routes.lookup, msgspec.structs.astuple
        for arrived, packet in enumerate(packets, received):
            if packet.duplicate:
                if self.arrivals.knows(packet):
                    continue
                self.redelivered = True
            route = lookup(packet.topic)
            if route is None:
                if not self.foreign.take(self, packet, arrived):
                    self.unrouted.append((packet, arrived))
                continue
            try:
                record = route.decode(packet.payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self._take_apart(packet, arrived, route)
                continue
            if type(record.ts) is not float:
                self._take_apart(packet, arrived, route)
            elif record.seq is None and record.oldest is None:
                self.append(as_row(record)[:-2], packet, arrived, route)
            elif record.seq is not None and (record.oldest or 1) <= record.seq:
                self.append(as_row(record)[:-2], packet, arrived, route)
                self._number(record.seq, record.oldest, packet, route, record.ts)
            else:
                self._take_apart(packet, arrived, route)

    def packet_ids(self) -> list[int]:
        """Return what to acknowledge, in order of receipt; messages of QoS 0 have nothing to."""
        return [
            packet.packet_id for packets, _ in self.fed for packet in packets if packet.packet_id is not None
        ]

    def halves(self) -> list[Cut]:
        """Return this cut as two, so that a row which the database refuses can be found.

        They stay the same over retries. What was beyond its device's rate stays so, and is not charged again.
        """
        if self.parts is None:
            every = self._every()
            middle = len(every) // 2
            self.parts = [self._part(every[:middle]), self._part(every[middle:])]
        return self.parts

    def begin_again(self) -> None:
        """Read the messages once more: what they are read by has changed. What is charged and asked stays so."""
        anew = self._part(self._every())
        anew.foreign.replies = self.foreign.replies
        self.limits, self.limited, self.checked, self.settled = None, 0, None, None
        self.kinds, self.faulty, self.unrouted = anew.kinds, anew.faulty, anew.unrouted
        self.sequence, self.foreign = anew.sequence, anew.foreign

    def _every(self) -> list[tuple[PublishPacket, int]]:
        return [
            (packet, arrived)
            for packets, received in self.fed
            for arrived, packet in enumerate(packets, received)
        ]

    def _part(self, messages: list[tuple[PublishPacket, int]]) -> Cut:
        part = Cut(self.routes, self.arrivals, excess=self.excess, foreign=Foreign(self.foreign.parsed))
        for packet, received in messages:
            part.feed([packet], received)
        return part

    def refuse(self, detail: str) -> None:
        """Make every message of this cut a dead letter that the database refused."""
        self.checked, self.clockless, self.settled, self.limited = [], [], None, 0
        self.foreign = Foreign(self.foreign.parsed)
        self.apart.clear()
        self.arrivals.discard()
        self.faulty.clear()
        for packets, received in self.fed:
            for arrived, packet in enumerate(packets, received):
                fault = Fault(Reason.REFUSED_BY_DATABASE, detail)
                self.fault(packet, arrived, self.routes.lookup(packet.topic), fault)

    def disown(self) -> None:
        """Let the dead letters be nobody's, and enter no numbers: their device may be gone."""
        self.settled, self.sequence = None, Collected()
        self.arrivals.discard()
        for message in self.faulty.values():
            message.route = None

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters, once ``check`` has found what is wrong."""
        return [message.letter() for message in self.faulty.values()]

    def numbers(self) -> Numbers | None:
        """Return the numbers of all readings, stored or refused."""
        return self.sequence.as_runs()

    def settle(self, quota: LetterQuota, now: int) -> Letters:
        """Return which of the dead letters are kept whole, and which are counted in others.

        As with ``check``, what was decided stays.
        """
        if self.settled is None:
            numbered = self.sequence.carriers() if self.faulty else set()
            kept: list[DeadLetter] = []
            folds: dict[tuple[Target, Reason], list[Message]] = {}
            sent: set[tuple[str, bytes]] = set()
            for message in self.faulty.values():
                packet, reason = message.packet, message.reason
                self.arrivals.note(packet, message.received)
                is_numbered = id(packet) in numbered
                if is_numbered:
                    # The same bytes are the same reading then, sent again for want of a receipt.
                    if (same := (packet.topic, packet.payload)) in sent:
                        continue
                    sent.add(same)
                target = quota.fold_into(
                    packet.topic, reason, message.received, now, has_device=message.route is not None
                )
                # A number that is not entered would not keep its row from being stored again.
                message.is_kept = target is None or id(packet) in self.apart
                if target is None or message.is_kept:
                    kept.append(dataclasses.replace(message.letter(), is_repeated=is_numbered))
                    continue
                if is_numbered:
                    self.sequence.leave_out(packet)
                if (target, reason) not in folds and len(folds) >= quota.policy.counted:
                    target = quota.last(reason)
                folds.setdefault((target, reason), []).append(message)
            self.settled = Letters(
                kept, [Fold(*target, len(many), many[-1].letter()) for (target, _), many in folds.items()]
            )
        return self.settled

    def append(self, row: Row, packet: PublishPacket, received: int, route: Route) -> None:
        """Take a row of a message."""
        rows = self.kinds.get(id(route.kind))
        if rows is None:
            rows = self.kinds[id(route.kind)] = KindRows(route.kind)
        rows.rows.append(row)
        rows.packets.append(packet)
        rows.routes.append(route)
        rows.received.append(received)

    def _number(
        self, number: int, oldest: int | None, packet: PublishPacket, route: Route, ts: float
    ) -> None:
        """Note the number of the row just appended, of a reading whose own time is ``ts``."""
        self.sequence.add(route, number, oldest, packet)
        if math.isnan(ts):
            rows = self.kinds[id(route.kind)]
            rows.clockless[len(rows.rows) - 1] = number

    def _take_apart(self, packet: PublishPacket, received: int, route: Route) -> None:
        decoded = take_apart(packet.payload, route.kind)
        for row in decoded.rows:
            self.append(row, packet, received, route)
        for one in decoded.numbered:
            # A message has at most one reading without a time, and that is its only one.
            self._number(
                one.number, one.oldest, packet, route, 0.0 if one.row is None else decoded.rows[one.row][0]
            )
        for fault in decoded.faults:
            self.fault(packet, received, route, fault)

    def fault(self, packet: PublishPacket, received: int, route: Route | None, fault: Fault) -> None:
        """Note what is wrong with a message, or a part of it."""
        message = self.faulty.get(id(packet))
        if message is None:
            message = self.faulty[id(packet)] = Message(packet, received, route)
        message.faults.append(fault)

    def unknown_devices(self) -> list[str]:
        """Return the devices of the messages that have no route, as their topics name them."""
        named = {self.routes.publisher_of(packet.topic) for packet, _ in self.unrouted}
        return sorted(device for device in named if device is not None)

    def route_again(self) -> None:
        """Try the messages without a device once more, after the routes were refreshed."""
        waiting, self.unrouted = self.unrouted, []
        for packet, received in waiting:
            route = self.routes.lookup(packet.topic)
            if route is not None:
                self._take_apart(packet, received, route)
            elif not self.foreign.take(self, packet, received, is_last=True):
                self.fault(packet, received, None, no_device(packet.topic, self.routes))

    def check(self, now: int, window: TimeWindow) -> list[ReadingBatch]:
        """Return the rows as batches, one for each kind, without what is wrong; that becomes faults.

        What a cut is found to be, it stays: a repeated transaction stores the same again.
        """
        if self.checked is None:
            self.arrivals.discard()
            self.clockless, self.apart = [], set()
            self.checked = [
                batch for rows in self.kinds.values() if len(batch := self._check(rows, now, window))
            ]
        return self.checked

    def _check(self, rows: KindRows, now: int, window: TimeWindow) -> ReadingBatch:
        check = RowCheck(rows)
        for place in check.without_time():
            self.arrivals.note(rows.packets[place], rows.received[place])
        check.times(now, window)
        check.values()
        if self.limits is not None:
            check.note_excess(self.limits, self.excess, now, is_redelivered=self.redelivered)
        if self.excess:
            self.limited += check.refuse_excess(self.excess)
        if (apart := check.set_clockless_apart()) is not None:
            places, clockless = apart
            self.clockless.append(clockless)
            self.apart.update(id(rows.packets[place]) for place in places)
        for place, fault in check.faults:
            self.fault(rows.packets[place], rows.received[place], rows.routes[place], fault)
        return check.kept()
