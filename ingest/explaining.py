"""What messages say, what would be stored of them, and what would not and why: the same for people and programs."""

from __future__ import annotations

import dataclasses
import math
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mqtt5 import PublishPacket

from ingest.decode import Fault, Row, take_apart
from ingest.decoders.parsed import Parsed, Reading
from ingest.decoders.table import FORMATS, NAMES, format_of
from ingest.mapping import Compiled
from ingest.messages import refused
from ingest.routes import Route
from ingest.rows import KindRows, RowCheck
from ingest.wire import Wire
from sensors.catalogue import Catalogue
from sensors.checks import TimeWindow
from sensors.errors import AlatauError, did_you_mean
from sensors.kinds import Kind
from sensors.profiles import Profile, ProfileError
from sensors.times import SECOND, format_timestamp, unix_to_microseconds
from sensors.topics import Channel, Topics

_NATIVE = "native"


class ExplainError(AlatauError):
    """Nothing can be said of these messages: names what would be right."""


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """One reading; ``stored`` is what a row would hold of it, None where no kind was given."""

    reading: Reading
    stored: Mapping[str, float] | None


class Outcome:
    """What all messages say together, and what becomes of it."""

    def __init__(self, kind: Kind | None, profile: Profile | None) -> None:
        self.kind = kind
        self.profile = profile
        self.formats: list[str] = []
        self.readings: list[Explained] = []
        self.parsed: list[Parsed] = []
        self.faults: list[Fault] = []

    @property
    def has_faults(self) -> bool:
        """Whether anything would be refused."""
        return bool(self.faults) or any(one.refusals for one in self.parsed)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs: times as RFC 3339, payloads of replies in hexadecimal digits."""
        return {
            "formats": self.formats,
            "kind": self.kind.name if self.kind else None,
            "profile": self.profile.name if self.profile else None,
            "readings": [
                {
                    "source": one.reading.source,
                    "time": written_time(one.reading.time),
                    "values": one.reading.values,
                    "units": dict(one.reading.units),
                    "historical": one.reading.is_historical,
                    "stored": one.stored,
                }
                for one in self.readings
            ],
            "statuses": [
                {"source": one.source, "online": one.is_online, "time": written_time(one.time)}
                for parsed in self.parsed
                for one in parsed.statuses
            ],
            "refused": list(self._refused()),
            "replies": [
                {"topic": one.topic, "payload": one.payload.hex()}
                for parsed in self.parsed
                for one in parsed.replies
            ],
        }

    def _refused(self) -> Iterator[dict[str, str | None]]:
        for fault in self._every_fault():
            yield fault.members()

    def _every_fault(self) -> Iterator[Fault]:
        for parsed in self.parsed:
            yield from map(refused, parsed.refusals)
        yield from self.faults


class Explainer:
    """Reads messages as ingest does, without keeping anything. Bounded by the payloads that it is given."""

    def __init__(self, topics: Topics, window: TimeWindow | None = None) -> None:
        self._topics = topics
        self._window = window or TimeWindow()

    @property
    def formats(self) -> Sequence[str]:
        """The names of other formats."""
        return NAMES

    def format_of(self, topic: str, /) -> str | None:
        """Return the name of the format whose topic it is, ``native`` of our own."""
        if self._topics.device_of(topic, Channel.TELEMETRY) is not None:
            return _NATIVE
        found = format_of(topic)
        return None if found is None else found[0].name

    def publisher_of(self, topic: str, /) -> str | None:
        """Return the device whose own topic it is, registered or not; None where it is a gateway's."""
        if (device := self._topics.device_of(topic, Channel.TELEMETRY)) is not None:
            return device
        owner = Wire(FORMATS).owner(topic)
        return None if owner is None else owner.publisher

    def explain(
        self,
        messages: Sequence[tuple[str, bytes]],
        /,
        *,
        received: float,
        catalogue: Catalogue,
        kind: str | None = None,
        profile: Profile | None = None,
    ) -> Outcome:
        """Return what messages, each a topic and a payload, say in their order, and what a device would store.

        ``received`` is in Unix seconds; a profile has a kind of its own. Raises ExplainError, ProfileError.
        """
        described = _kind_of(catalogue, kind, profile)
        outcome = Outcome(described, profile)
        compiled = None if described is None else Compiled(described, profile)
        wire = Wire(FORMATS, zoneinfo.ZoneInfo(catalogue.city.timezone))
        for topic, payload in messages:
            packet = _packet(topic, payload)
            if self.format_of(topic) == _NATIVE:
                self._take_native(packet, outcome, received)
                continue
            owner = wire.owner(topic)
            if owner is None:
                raise ExplainError(_no_format(topic, self._topics))
            if profile is not None and profile.format != owner.format.name:
                raise ProfileError(
                    f"profile {profile.name} is of {profile.format}, {topic[:200]} of {owner.format.name}"
                )
            parsed = wire.parse(packet, round(received * SECOND), owner)
            _note_format(outcome, owner.format.title)
            outcome.parsed.append(parsed)
            for reading in parsed.readings:
                stored = None
                if compiled is not None:
                    mapped = compiled.map(reading)
                    outcome.faults += mapped.faults
                    stored = self._store(packet, mapped.row, outcome, received)
                outcome.readings.append(Explained(reading, stored))
        return outcome

    def _take_native(self, packet: PublishPacket, outcome: Outcome, received: float) -> None:
        kind = outcome.kind
        if kind is None:
            raise ExplainError(
                f"{packet.topic} is of a device, whose kind says what it measures; give the kind"
            )
        if outcome.profile is not None:
            raise ExplainError(
                f"{packet.topic} is of the native format, which needs no profile; leave it out"
            )
        _note_format(outcome, "Alatau's own format")
        decoded = take_apart(packet.payload, kind)
        outcome.faults += decoded.faults
        source = self._topics.device_of(packet.topic, Channel.TELEMETRY) or ""
        for row in decoded.rows:
            values = _present(kind, row)
            reading = Reading(source, _seconds(row[0]), values, {name: _unit(kind, name) for name in values})
            outcome.readings.append(Explained(reading, self._store(packet, row, outcome, received)))

    def _store(
        self, packet: PublishPacket, row: Row | None, outcome: Outcome, received: float
    ) -> dict[str, float]:
        """Return what is left of a row that passes ingest's checks; note what does not."""
        kind = outcome.kind
        if row is None or kind is None:
            return {}
        now = round(received * SECOND)
        route = Route(0, "", 0.0, kind, _nothing)
        check = RowCheck(KindRows(kind, [row], [packet], [route], [now]))
        check.times(now, self._window)
        check.values()
        outcome.faults += [fault for _, fault in check.faults]
        kept = check.kept()
        return _present(kind, (math.nan, *kept.values[0].tolist())) if len(kept) else {}


def written_time(seconds: float) -> str | None:
    """Return a reading's own time as RFC 3339, None where it has none."""
    if math.isnan(seconds):
        return None
    try:
        return format_timestamp(round(seconds * SECOND))
    except OverflowError:
        return None  # its fault says so


def _packet(topic: str, payload: bytes) -> PublishPacket:
    try:
        return PublishPacket(topic, payload)
    except ValueError:
        raise ExplainError(
            f'topic "{topic[:200]}" can\'t be published to; send one without + and #, of at most 65,535 bytes'
        ) from None


def _nothing(_: bytes) -> None:
    return None


def _note_format(outcome: Outcome, title: str) -> None:
    if title not in outcome.formats:
        outcome.formats.append(title)


def _kind_of(catalogue: Catalogue, kind: str | None, profile: Profile | None) -> Kind | None:
    if profile is not None and kind not in (None, profile.kind):
        raise ProfileError(f"profile {profile.name} is of {profile.kind}, not of {kind}; choose another")
    name = profile.kind if profile else kind
    if name is None:
        return None
    if name not in catalogue.kind_of:
        raise ExplainError(f'no kind "{name[:80]}" is known; {did_you_mean(name, catalogue.kind_of)}')
    return catalogue.kind_of[name]


def _no_format(topic: str, topics: Topics) -> str:
    patterns = ", ".join(pattern for one in FORMATS for pattern in one.patterns)
    own = topics.every(Channel.TELEMETRY)
    return f'topic "{topic[:200]}" is of no format that is understood; valid: {patterns}, {own}'


def _present(kind: Kind, row: Row) -> dict[str, float]:
    return {name: value for name, value in zip(kind.columns, row[1:], strict=True) if not math.isnan(value)}


def _unit(kind: Kind, name: str) -> str:
    return kind.metrics[kind.index[name]].unit


def _seconds(stated: float) -> float:
    """Return Unix seconds of a row's own time, which may be in s, ms, µs or ns."""
    if math.isnan(stated):
        return stated
    microseconds: int = unix_to_microseconds(np.clip(np.array([stated]), -9e18, 9e18))[0]
    return microseconds / SECOND
