"""What messages of other formats cost ``ingest``, against native ones: ``./alatau bench decode``.

Each message holds six values of one device at one time, as that format sends them, or one where it sends one.
Measured is processor time: of the decoder alone, from the bytes to a row of metrics; and of all that ``ingest`` does,
from the bytes of the socket to those for COPY and for the acknowledgements, which is what a city feels of a format: at
least 40 % of the native format's readings a second are asked of SenML and ChirpStack there. What is compared takes
turns, so that a machine whose speed changes changes it for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import mqtt5
import msgspec

from benchmarks.report import Measure, Result, options
from benchmarks.wire_messages import FOREIGN, KIND, NAMES, NATIVE, NOW, Messages, device
from cli.process import collect_seldom
from ingest.arrivals import Arrivals
from ingest.decode import compile_decoder
from ingest.decoders.parsed import Parsed
from ingest.intake import Cut
from ingest.limits import RateLimits
from ingest.mapping import Compiled
from ingest.routes import Routes
from ingest.session import Session, SessionOptions
from ingest.wire import Wire
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.checks import TimeWindow
from sensors.kinds import Kind
from sensors.profiles import Profile
from sensors.times import SECOND
from sensors.topics import Topics
from storage.copy import encode_readings
from storage.wire_sources import Bindings

_ROUNDS, _QUICK_ROUNDS = 60, 6
_CUT, _QUICK_CUT = 2000, 500  # messages of one transaction, each of another device
_BEFORE = 20  # cuts, after which everything is compiled and learnt
_READ = 65_536  # bytes of one read of the socket
_INTERVAL_SECONDS = 60.0


class Path:
    """All that ``ingest`` does for one cut of messages, but for the socket and the database."""

    def __init__(self, messages: Messages, catalogue: Catalogue, count: int) -> None:
        self.wire = wire = Wire([messages.format] if messages.format else [])
        self._routes = Routes(Topics(), wire)
        self._routes.set_catalogue(catalogue)
        self._routes.add([(number + 1, device(number), KIND, _INTERVAL_SECONDS) for number in range(count)])
        written = [messages.write(number) for number in range(count)]
        if messages.before is not None:
            for topic, payload in map(messages.before, range(count)):
                if (owner := wire.owner(topic)) is not None:
                    wire.parse(mqtt5.PublishPacket(topic, payload), NOW * SECOND, owner)
        wire.bind(Bindings(dict(_sources(wire, written, messages.profile)), {}))
        packets = [
            mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=number + 1).write()
            for number, (topic, payload) in enumerate(written)
        ]
        self._bytes, self._count = b"".join(packets), count
        self._session = asyncio.run(self._open())
        for _ in range(_BEFORE):
            self.run()

    async def _open(self) -> Session:
        # Without a connection: what it would write goes nowhere.
        return Session(SessionOptions("", 0, "", "", "", gather_seconds=0.0), self._take)

    def _take(self, _session: Session, packets: list[mqtt5.PublishPacket], size: int) -> bool:
        self._cut.feed(packets, NOW * SECOND, size)
        return True

    def run(self) -> float:
        """Return the processor time of a message, in µs. Raises RuntimeError if one of them becomes no row."""
        self._cut = cut = Cut(self._routes, Arrivals(), RateLimits(self._routes.intervals))
        began = time.process_time()
        for at in range(0, len(self._bytes), _READ):
            self._session.data_received(self._bytes[at : at + _READ])
        batches = [batch.sorted_unique() for batch in cut.check((NOW + 60) * SECOND, TimeWindow())]
        for batch in batches:
            b"".join(encode_readings(batch))
        self._session.acknowledge(cut.packet_ids())
        taken = time.process_time() - began
        rows = sum(map(len, batches))
        if rows != self._count or cut.faulty:
            why = next((one.detail for one in cut.faulty.values()), "no reason")
            raise RuntimeError(f"{rows} rows of {self._count} messages: {why}")
        return taken / self._count * 1e6


def _sources(
    wire: Wire, written: list[tuple[str, bytes]], profile: Profile | None
) -> Iterator[tuple[tuple[str, str], tuple[str, Profile | None]]]:
    """Yield what claims every source that messages name as the device of their number."""
    for number, (topic, payload) in enumerate(written):
        owner = wire.owner(topic)
        if owner is not None:
            for reading in wire.parse(mqtt5.PublishPacket(topic, payload), NOW * SECOND, owner).readings:
                yield (owner.format.name, reading.source), (device(number), profile)


class Decoder:
    """The decoder of a path alone: from its messages' payloads to rows."""

    def __init__(self, path: Path, messages: Messages, catalogue: Catalogue, count: int) -> None:
        written = [messages.write(number) for number in range(count)]
        self._packets = [mqtt5.PublishPacket(topic, payload) for topic, payload in written]
        self.bytes = sum(len(payload) for _, payload in written) / count
        kind = catalogue.kind_of[KIND]
        self._read = (
            self._foreign(path.wire, Compiled(kind, messages.profile))
            if messages.format
            else self._native(kind)
        )

    def _native(self, kind: Kind) -> Callable[[mqtt5.PublishPacket], object]:
        decode, as_row = compile_decoder(kind), msgspec.structs.astuple
        return lambda packet: as_row(decode(packet.payload))

    def _foreign(self, wire: Wire, compiled: Compiled) -> Callable[[mqtt5.PublishPacket], object]:
        def read(packet: mqtt5.PublishPacket) -> object:
            if (shortcut := wire.shortcut(packet.topic)) is not None:
                return shortcut.row(packet.payload, NOW * SECOND)
            owner = wire.owner(packet.topic)
            parsed = wire.parse(packet, NOW * SECOND, owner) if owner else Parsed()
            return [compiled.map(reading).row for reading in parsed.readings]

        return read

    def run(self) -> float:
        """Return the processor time of a message, in µs."""
        read, packets = self._read, self._packets
        began = time.process_time()
        for packet in packets:
            read(packet)
        return (time.process_time() - began) / len(packets) * 1e6


def _least(native: Path | Decoder, other: Path | Decoder, rounds: int) -> tuple[float, float]:
    """Return the least time of both, taken in turns: whatever else runs on the machine only adds to it."""
    taken = [(native.run(), other.run()) for _ in range(rounds)]
    return min(one for one, _ in taken), min(one for _, one in taken)


def measure(rounds: int, count: int) -> list[Measure]:
    """Return what the formats cost, each against the native one beside it."""
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    whole = Path(NATIVE, catalogue, count)
    alone = Decoder(whole, NATIVE, catalogue, count)
    (_, decoded), (_, worked) = _least(alone, alone, rounds), _least(whole, whole, rounds)
    measures = list(_costs(NATIVE.name, decoded, alone.bytes, worked))
    for messages in FOREIGN:
        path = Path(messages, catalogue, count)
        decoder = Decoder(path, messages, catalogue, count)
        (native, decoded), (all_native, worked) = _least(alone, decoder, rounds), _least(whole, path, rounds)
        name, ratio = messages.name, native / decoded
        by_bytes = ratio * decoder.bytes / alone.bytes
        measures += [
            *_costs(name, decoded, decoder.bytes, worked),
            Measure(f"{name}: decoder against native", ratio, "ratio", "its decoder"),
            Measure(f"{name}: decoder against native, for the same bytes", by_bytes, "ratio", "its decoder"),
            Measure(
                f"{name}: ingest against native", all_native / worked, "ratio", "all its work", messages.least
            ),
        ]
    return measures


def _costs(name: str, decoded: float, size: float, worked: float) -> Iterator[Measure]:
    yield Measure(f"{name}: decoder", 1e6 / decoded, "readings/s")
    yield Measure(f"{name}: decoder, bytes", size / decoded, "MB/s")
    yield Measure(f"{name}: ingest", worked, "µs/reading")


def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    rounds, count = (_QUICK_ROUNDS, _QUICK_CUT) if asked.quick else (_ROUNDS, _CUT)
    collect_seldom()
    result = Result("decode", {"rounds": rounds, "messages": count, "values": len(NAMES)})
    result.measures += measure(rounds, count)
    result.publish(asked.json)


if __name__ == "__main__":
    main()
