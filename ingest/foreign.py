"""Messages of other formats in a cut: their readings join the cut's rows, and what else they say is gathered here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ingest.decode import Explanation, Fault
from ingest.decoders.parsed import Parsed, Reply
from ingest.messages import refused
from ingest.wire import Sightings, unclaimed
from sensors.checks import Reason
from sensors.statuses import Said
from storage.device_status import Heard
from storage.lessons import Lesson

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

    from ingest.intake import Cut
    from ingest.routes import Route
    from ingest.wire import Owner


@dataclasses.dataclass(slots=True)
class Foreign:
    """What the messages of other formats say beside readings, and whom nobody has claimed.

    ``parsed`` is what those say whose formats remember them, by the identity of their packet: each is read once.
    """

    parsed: dict[int, Parsed] = dataclasses.field(default_factory=dict)
    replies: list[Reply] = dataclasses.field(default_factory=list)
    sightings: Sightings = dataclasses.field(default_factory=Sightings)
    heard: list[Heard] = dataclasses.field(default_factory=list)
    lessons: list[Lesson] = dataclasses.field(default_factory=list)
    left_out: int = 0  # readings without any metric, of sources that are read

    def take(self, cut: Cut, packet: PublishPacket, received: int, *, is_last: bool = False) -> bool:
        """Take a message of another format; return False, and take nothing, where it is of none, or of a device that
        is not known. The last time, it is nobody's.
        """
        wire = cut.routes.wire
        if (shortcut := wire.shortcut(packet.topic)) is not None and not packet.retain:
            if (row := shortcut.row(packet.payload, received)) is not None:
                cut.append(row, packet, received, shortcut.route)
                return True
            wire.forget_shortcut(packet.topic)
        if (owner := wire.owner(packet.topic)) is None:
            return False
        if not is_last and owner.publisher is not None and cut.routes.route_of(owner.publisher) is None:
            return False
        parsed = self.parsed.get(id(packet))
        if parsed is None:
            parsed = wire.parse(packet, received, owner)
            if owner.memory is not None:
                self.parsed[id(packet)] = parsed
            self.replies += parsed.replies
        if parsed.is_lesson:
            self.lessons.append(Lesson(packet.topic, packet.payload, received))
        for status in parsed.statuses:
            if (one := wire.bound(owner, status.source, cut.routes)) is not None:
                said = Said.ONLINE if status.is_online else Said.OFFLINE
                self.heard.append(Heard(one.route.device, said, received, packet.retain))
        self._take_parsed(cut, packet, received, owner, parsed)
        return True

    def _take_parsed(
        self, cut: Cut, packet: PublishPacket, received: int, owner: Owner, parsed: Parsed
    ) -> None:
        wire = cut.routes.wire
        route: Route | None = None
        strangers = []
        for reading in parsed.readings:
            one = wire.bound(owner, reading.source, cut.routes)
            if one is None:
                strangers.append(reading)
                continue
            route = route or one.route
            mapped = one.compiled.map(reading)
            if mapped.row is not None:
                owner.note_read(packet.topic, reading.source)
                cut.append(mapped.row, packet, received, one.route)
                if len(parsed.readings) == 1 and not (mapped.faults or parsed.refusals or parsed.statuses):
                    wire.note_row(packet, received, owner, one, reading, mapped.row)
            elif mapped.faults[0].reason is Reason.NO_METRICS and owner.leaves_out(
                packet.topic, reading.source
            ):
                self.left_out += 1
                continue
            for fault in mapped.faults:
                cut.fault(packet, received, one.route, fault)
        for refusal in parsed.refusals:
            cut.fault(packet, received, route, refused(refusal))
        if strangers:
            for reading in strangers:
                self.sightings.note(owner.format.name, reading, packet.topic, received)
            detail = unclaimed(owner.format, {reading.source for reading in strangers})
            known = Explanation(detail, None, strangers[0].source, "a source that a device has claimed")
            cut.fault(packet, received, route, Fault(Reason.UNCLAIMED, known))
