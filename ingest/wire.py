"""Messages of other formats in a worker: whose topic it is, what the message says, and whose reading that becomes."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import zoneinfo
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from ingest.decode import Row
from ingest.decoders.parsed import Format, Incoming, Parsed, Reading, refuse
from ingest.decoders.table import match
from ingest.mapping import Compiled
from ingest.shortcuts import Shortcuts
from sensors.checks import Reason
from sensors.profiles import Profile
from sensors.times import SECOND
from storage.lessons import Lesson
from storage.wire_sources import LONGEST_NAME, Bindings, Seen

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

    from ingest.routes import Route, Routes

log = structlog.get_logger("ingest.wire")
_TOPICS_KNOWN, _LONGEST_KNOWN = 100_000, 512
_MISSES = 20
_LEARNT_AT_ONCE = 20
_SEEN_FIELDS, _SEEN_TOPICS, _LONGEST_SEEN = 100, 64, 1024
_UTC = zoneinfo.ZoneInfo("UTC")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A source's device, and how its fields become metrics."""

    route: Route
    compiled: Compiled


@dataclasses.dataclass(slots=True)
class Read:
    """Where messages of a source became rows, and how many since the last one did not."""

    topics: set[str] = dataclasses.field(default_factory=set)
    misses: int = 0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """Whose a topic is: a format's, with what its wildcards matched; and where it is a device's own, that device.

    ``memory`` is the format's, None of one whose messages need no earlier ones; ``bound`` are those of its sources that
    were asked for and are devices', ``read`` those of which messages became rows.
    """

    format: Format
    levels: tuple[str, ...]
    publisher: str | None
    memory: Any
    bound: dict[str, Bound]
    read: dict[str, Read]

    def note_read(self, topic: str, source: str) -> None:
        """Note that a message of a source became a row."""
        read = self.read.get(source)
        if read is None:
            read = self.read[source] = Read()
        read.misses = 0
        if len(read.topics) < _SEEN_TOPICS:
            read.topics.add(topic)

    def leaves_out(self, topic: str, source: str) -> bool:
        """Return whether a message that has no metric of its device is what firmware says beside what it measures.

        Not before its source was read, and not on a topic that brings measurements: there, it is a fault. Where both
        come on one topic, so many in a row are one.
        """
        read = self.read.get(source)
        if read is None:
            return False
        read.misses += 1
        return topic not in read.topics or (self.format.mixes and read.misses < _MISSES)


class Wire:
    """The formats of one worker, with what their messages have said before, and the sources that are devices'.

    Nobody speaks for a stranger: on a topic of its own a device is a source by its id, and whatever else its readings
    name is a source below that, ``id/name``. Statuses are of whom topics name.
    """

    def __init__(self, formats: Iterable[Format] = (), zone: zoneinfo.ZoneInfo = _UTC) -> None:
        self.formats = tuple(formats)
        self.zone = zone  # the city's, of times that say none
        self._memories: dict[str, Any] = {one.name: one.memory() for one in self.formats}
        # A topic comes again and again; that of none of our formats too.
        self._owners: collections.OrderedDict[str, Owner | None] = collections.OrderedDict()
        self._bindings = Bindings({}, {})
        self._bound: dict[str, dict[str, Bound]] = {one.name: {} for one in self.formats}
        self._read: dict[str, dict[str, Read]] = {one.name: {} for one in self.formats}
        self._compiled: dict[tuple[int, int], Compiled] = {}
        self._shortcuts = Shortcuts()
        self.shortcut = self._shortcuts.get  # of a topic, or None: the dictionary's own, for the hot path
        self.forget_shortcut = self._shortcuts.forget

    def owner(self, topic: str) -> Owner | None:
        """Return whose topic it is; None where it is of no format here."""
        try:
            return self._owners[topic]
        except KeyError:
            pass
        found = self._find_owner(topic)
        if len(topic) <= _LONGEST_KNOWN:
            self._owners[topic] = found
            if len(self._owners) > _TOPICS_KNOWN:
                self._owners.popitem(last=False)
        return found

    def _find_owner(self, topic: str) -> Owner | None:
        for one in self.formats:
            for pattern in one.patterns:
                if (levels := match(pattern, topic)) is not None:
                    publisher = levels[0].partition("/")[0] if one.is_own else None
                    return Owner(
                        one,
                        levels,
                        publisher,
                        self._memories[one.name],
                        self._bound[one.name],
                        self._read[one.name],
                    )
        return None

    def parse(self, packet: PublishPacket, received: int, owner: Owner) -> Parsed:
        """Return what a message says; once for each where the format remembers it. ``received`` in Unix µs."""
        parsed = _decode(owner, self._incoming(packet, received, owner))
        if (publisher := owner.publisher) is not None:
            for reading in parsed.readings:
                if reading.source != publisher:
                    reading.source = f"{publisher}/{reading.source}"
        return parsed

    def _incoming(self, packet: PublishPacket, received: int, owner: Owner) -> Incoming:
        topic, payload, seconds = packet.topic, packet.payload, received / SECOND
        return Incoming(topic, owner.levels, payload, seconds, packet.retain, self.zone)

    def note_row(
        self, packet: PublishPacket, received: int, owner: Owner, bound: Bound, reading: Reading, row: Row
    ) -> None:
        """Note that a message said this reading and nothing else, of which this row was made: maybe its topic's later
        ones are laid out alike."""
        if owner.format.layout is None or packet.retain or len(packet.topic) > _LONGEST_KNOWN:
            return
        if not self._shortcuts.is_turn(packet.topic):
            return
        incoming = self._incoming(packet, received, owner)
        if (layout := owner.format.layout(incoming)) is None:
            return
        if (steps := bound.compiled.steps(reading, layout.unread)) is not None:
            self._shortcuts.learn(incoming, layout, bound.route, steps, row)

    async def learn(self, lessons: Iterable[Lesson]) -> None:
        """Know again what was learnt by an earlier run; now and then others have a turn."""
        for place, lesson in enumerate(lessons, 1):
            if place % _LEARNT_AT_ONCE == 0:
                await asyncio.sleep(0)
            if (owner := self.owner(lesson.topic)) is not None:
                received = lesson.received / SECOND
                incoming = Incoming(
                    lesson.topic, owner.levels, lesson.payload, received, is_retained=True, zone=self.zone
                )
                _decode(owner, incoming)

    def bind(self, bindings: Bindings) -> None:
        """Map these sources from now on, and no others."""
        self._bindings = bindings
        self._compiled.clear()
        for read in self._read.values():
            read.clear()
        self.unbind()

    def unbind(self) -> None:
        """Look again whose each source is: devices have changed, or their kinds."""
        self._shortcuts.clear()
        for bound in self._bound.values():
            bound.clear()

    def bound(self, owner: Owner, source: str, routes: Routes) -> Bound | None:
        """Return whose a source is: the device that claimed it, or the one whose own topic it is."""
        known = owner.bound.get(source)
        if known is not None:
            return known
        # No device's id has a slash: what a message names below its publisher is not taken for one.
        own = None if owner.publisher is None else source
        device, profile = self._bindings.sources.get((owner.format.name, source), (own, None))
        route = None if device is None else routes.route_of(device)
        if route is None:
            return None
        profile = profile or self._bindings.defaults.get((owner.format.name, route.kind.name))
        found = owner.bound[source] = Bound(route, self._compile(route, profile))
        return found

    def _compile(self, route: Route, profile: Profile | None) -> Compiled:
        key = id(route.kind), id(profile)
        compiled = self._compiled.get(key)
        # An id may be given again to a later kind; its catalogue's are not compared otherwise.
        if compiled is None or compiled.kind is not route.kind:
            compiled = self._compiled[key] = Compiled(route.kind, profile)
        return compiled


def _decode(owner: Owner, incoming: Incoming) -> Parsed:
    try:
        return owner.format.decode(incoming, owner.memory)
    except Exception as error:
        # Decoders never raise. If one did, its message would come again and again, and nothing else.
        log.exception("a decoder failed; its message is kept", format=owner.format.name, topic=incoming.topic)
        return refuse(
            Reason.UNDECODABLE, "", type(error).__name__, "a message that we can read; ours to mend"
        )


@dataclasses.dataclass(slots=True)
class Sighting:
    """What an unclaimed source has said; ``last_seen`` in Unix µs."""

    last_seen: int
    messages: int = 0
    fields: dict[str, tuple[float, str | None]] = dataclasses.field(default_factory=dict)
    topics: set[str] = dataclasses.field(default_factory=set)


class Sightings:
    """Unclaimed sources of some messages; a bounded number of them, what is too much is known by its dead letters."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._of: dict[tuple[str, str], Sighting] = {}

    def note(self, wire_format: str, reading: Reading, topic: str, received: int) -> None:
        """Note a reading that nobody has claimed."""
        if not _is_name(reading.source):
            return  # no row can have such a name, and nobody claim it
        key = (wire_format, reading.source)
        one = self._of.get(key)
        if one is None:
            if len(self._of) >= self._most:
                return
            one = self._of[key] = Sighting(received)
        one.last_seen = max(one.last_seen, received)
        one.messages += 1
        for field, value in reading.values.items():
            if (field in one.fields or len(one.fields) < _SEEN_FIELDS) and _is_name(field):
                one.fields[field] = (value, reading.units.get(field))
        if len(one.topics) < _SEEN_TOPICS and len(topic) <= _LONGEST_SEEN:
            one.topics.add(topic)

    def seen(self) -> list[Seen]:
        """Return them as they are noted."""
        return [
            Seen(wire_format, name, one.last_seen, one.messages, one.fields, sorted(one.topics))
            for (wire_format, name), one in self._of.items()
        ]


def _is_name(text: str) -> bool:
    """Return whether the database can keep it."""
    return len(text) <= LONGEST_NAME and "\0" not in text and (text.isascii() or _is_utf8(text))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unclaimed(wire_format: Format, sources: Iterable[str]) -> str:
    """Return what is told of sources that nobody has claimed."""
    names = ", ".join(sorted(sources))[:200]
    return (
        f"{wire_format.title}: nobody has claimed {names}; "
        f"run: alatau source claim {wire_format.name} SOURCE --device ID, and what was kept is stored"
    )
