"""Faults on request: everything that goes wrong with real fleets, each labelled so that tests can count.

Which reading is hit is a hash of (seed, fault, device, time), so the same run has the same faults. A reading
has at most one; where two fall together, the one listed first in ``Fault`` wins. Those that last for hours and
days, and events, are in ``lasting.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from sensors.checks import Reason
from sensors.errors import did_you_mean
from sensors.kinds import Behaviour, Kind
from sensors.times import DAY, SECOND, format_timestamp
from simulators.city import City
from simulators.encode import encode_array, encode_fields
from simulators.errors import SimulatorError
from simulators.lasting import ABSENT_IN, Altered, Lasting, LastingFaults
from simulators.noise import Floats, Ints, hashed, key_of, uniform
from simulators.outgoing import ABSENT, DUPLICATE, STORED, Label, Outgoing, dead_letter
from simulators.schedule import Rows

_EPISODE = 20  # readings that a stuck or drifting sensor stays so
_LATE_BATCH = 5  # readings that a device without a network keeps and sends together
_ALL_RATE = 0.002
_NTP_ROLLOVER = 2_085_978_496  # 2036-02-07T06:28:16Z, where 32-bit NTP clocks begin again
_NO_STEP = np.zeros(1, dtype=np.int64)


class Fault(enum.StrEnum):
    """What can go wrong; earlier ones win."""

    OUTAGE = Lasting.OUTAGE.value
    LOSSY = Lasting.LOSSY.value
    FROZEN = Lasting.FROZEN.value
    CREEP = Lasting.CREEP.value
    DISTRICT_EVENT = Lasting.DISTRICT_EVENT.value
    CITY_EVENT = Lasting.CITY_EVENT.value
    LATE = "late"
    STUCK = "stuck"
    DRIFT = "drift"
    DROPOUT = "dropout"
    MALFORMED = "malformed"
    CLOCK_1970 = "clock_1970"
    CLOCK_2036 = "clock_2036"
    CLOCK_UNIT = "clock_unit"
    EMPTY = "empty"
    UNKNOWN_METRIC = "unknown_metric"
    OUT_OF_RANGE = "out_of_range"
    WRONG_TYPE = "wrong_type"
    SPIKE = "spike"
    DUPLICATE = "duplicate"


_EPISODES = {Fault.LATE: _LATE_BATCH, Fault.STUCK: _EPISODE, Fault.DRIFT: _EPISODE}


def parse_faults(text: str) -> dict[Fault, float]:
    """Return the share of readings for each fault of ``spike=0.01,malformed=0.001``, or of ``all``.

    A fault without a share gets 0.002. Raises SimulatorError that names the nearest valid fault.
    """
    rates: dict[Fault, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, share = part.partition("=")
        try:
            rate = float(share) if share else _ALL_RATE
        except ValueError:
            rate = -1.0
        if not 0 <= rate <= 1:
            raise SimulatorError(
                f'fault "{part}": the share of readings is a number from 0 to 1, as in spike=0.01'
            )
        if name == "all":
            rates |= {fault: rate for fault in Fault if fault not in rates}
        elif name in set(Fault):
            rates[Fault(name)] = rate
        else:
            raise SimulatorError(f'fault "{name}" is not known; {did_you_mean(name, [*Fault, "all"])}')
    return rates


class Reading(NamedTuple):
    """One reading that a fault is about to hit."""

    kind: Kind
    row: int
    time: int
    values: Floats
    payload: bytes
    chance: float
    column: int


Handler = Callable[["FaultInjector", Fault, Reading], list[Outgoing]]


class FaultInjector:
    """Turns readings into messages, some of them wrong. Keeps only the batches that late devices hold."""

    def __init__(self, city: City, rates: Mapping[Fault, float], spacing: Ints) -> None:
        self._city = city
        lasting = set(Lasting)
        self._rates = [
            (fault, rates[fault]) for fault in Fault if rates.get(fault, 0) > 0 and fault.value not in lasting
        ]
        self._lasting = LastingFaults(
            city, {Lasting(f): rate for f, rate in rates.items() if f.value in lasting}
        )
        self._spacing = spacing
        self._held: dict[int, tuple[int, list[tuple[bytes, Label]]]] = {}

    def messages(
        self, kind: Kind, rows: Rows, times: Ints, values: Floats, payloads: list[bytes]
    ) -> list[Outgoing]:
        """Return what is sent for readings of one kind; arrays as for ``City.values``, (n, …)."""
        outgoing = [
            Outgoing(time, row, payload)
            for time, row, payload in zip(times.tolist(), rows.tolist(), payloads, strict=True)
        ]
        altered = self._lasting.apply(kind, rows, times, values)
        lasting = np.flatnonzero(altered.fault >= 0)
        for index in lasting.tolist():
            outgoing[index] = self._altered(kind, outgoing[index], altered, index)
        if not self._rates:
            return outgoing
        chosen = self.choose(rows, times)
        chosen[lasting] = -1
        hit = np.flatnonzero(chosen >= 0).tolist()
        if not hit and not self._held:
            return outgoing
        result: list[Outgoing] = []
        position = 0
        for index in hit:
            result += outgoing[position:index]
            position = index + 1
            fault = self._rates[int(chosen[index])][0]
            result += self._hit(fault, kind, outgoing[index], values[index])
        result += outgoing[position:]
        result += self._release(int(times.max()))
        return result

    def flush(self) -> list[Outgoing]:
        """Return the batches still held, for the end of a run."""
        return self._release(None)

    def _altered(self, kind: Kind, message: Outgoing, altered: Altered, index: int) -> Outgoing:
        """Return a message as a lasting fault lets it out, with a label for each metric that it changed."""
        fault = list(Lasting)[altered.fault[index]]
        device, time = self._city.fleet[message.row].id, format_timestamp(message.due)
        if fault in ABSENT_IN:
            label = Label(device, kind.name, time, fault.value, None, None, ABSENT)
            return Outgoing(message.due, message.row, None, 0, (label,))
        values = altered.values[index].tolist()
        labels = tuple(
            Label(device, kind.name, time, fault.value, kind.columns[column], values[column], STORED)
            for column in np.flatnonzero(altered.changed[index]).tolist()
        )
        fields = {"ts": message.due // 1000, **dict(zip(kind.columns, values, strict=True))}
        return Outgoing(message.due, message.row, encode_fields(fields), 1, labels)

    def choose(self, rows: Rows, times: Ints) -> Ints:
        """Return the number of the fault of single readings that hits each, -1 for none; arrays (n,)."""
        keys = self._city.keys[rows]
        chosen = np.full(len(rows), -1, dtype=np.int64)
        for number, (fault, rate) in reversed(list(enumerate(self._rates))):
            length = _EPISODES.get(fault)
            step = times // 1000 if length is None else times // (self._spacing[rows] * length)
            chosen[uniform(keys ^ key_of(f"fault {fault.value}"), step) < rate] = number
        return chosen

    def _hit(self, fault: Fault, kind: Kind, message: Outgoing, values: Floats) -> list[Outgoing]:
        length = _EPISODES.get(fault, 1)
        step = np.array([message.due // (self._spacing[message.row] * length)])
        key = self._city.keys[message.row] ^ key_of(f"which {fault.value}")
        gauges = [c for c, metric in enumerate(kind.metrics) if metric.behaviour == Behaviour.GAUGE]
        columns = gauges or list(range(len(kind.metrics)))
        bits = int(hashed(key, step)[0])
        reading = Reading(
            kind,
            message.row,
            message.due,
            values,
            message.payload or b"",
            (bits >> 40) / 2**24,
            columns[bits % len(columns)],
        )
        return _HANDLERS[fault](self, fault, reading)

    def _label(
        self, fault: Fault, reading: Reading, sent: float | str | None, expect: str, metric: str | None = None
    ) -> tuple[Label, ...]:
        device = self._city.fleet[reading.row].id
        time = format_timestamp(reading.time)
        return (Label(device, reading.kind.name, time, fault.value, metric, sent, expect),)

    def _changed(self, fault: Fault, reading: Reading, wanted: float) -> list[Outgoing]:
        """Send a plausible but wrong value in the chosen column."""
        metric = reading.kind.metrics[reading.column]
        value = float(np.clip(wanted, metric.minimum, metric.maximum))
        if metric.resolution > 0:
            value = round(round(value / metric.resolution) * metric.resolution, 6)
        fields = _fields(reading) | {metric.name: value}
        labels = self._label(fault, reading, value, STORED, metric.name)
        return [Outgoing(reading.time, reading.row, encode_fields(fields), 1, labels)]

    def _instead(
        self, fault: Fault, reading: Reading, sent: str, payload: bytes, reason: Reason
    ) -> list[Outgoing]:
        labels = self._label(fault, reading, sent, dead_letter(reason))
        return [Outgoing(reading.time, reading.row, payload, 1, labels)]

    def stuck(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Repeat the value of the episode's beginning."""
        length = int(self._spacing[reading.row]) * _EPISODE
        start = np.array([reading.time // length * length])
        before = self._city.values(reading.kind.name, np.array([reading.row]), start)
        return self._changed(fault, reading, float(before[0, reading.column]))

    def drift(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Stray by up to sixty percent in the course of the episode."""
        length = int(self._spacing[reading.row]) * _EPISODE
        resolution = reading.kind.metrics[reading.column].resolution
        value = float(reading.values[reading.column])
        part = (reading.time % length) / length
        return self._changed(fault, reading, value + part * (0.6 * abs(value) + 20 * resolution))

    def spike(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Leap a good part of the way to the plausible maximum, once."""
        value = float(reading.values[reading.column])
        room = reading.kind.metrics[reading.column].maximum - value
        return self._changed(fault, reading, value + room * (0.3 + 0.5 * reading.chance))

    def dropout(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Send nothing."""
        return [Outgoing(reading.time, reading.row, None, 0, self._label(fault, reading, None, ABSENT))]

    def duplicate(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Send the reading twice."""
        labels = self._label(fault, reading, reading.payload.decode(), DUPLICATE)
        first = Outgoing(reading.time, reading.row, reading.payload)
        return [first, first._replace(labels=labels)]

    def late(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Keep the reading until its device finds the network again."""
        length = int(self._spacing[reading.row]) * _LATE_BATCH
        window = reading.time // length
        release = (window + 1) * length
        released: list[Outgoing] = []
        if reading.row in self._held and self._held[reading.row][0] != release:
            released.append(self._batch(reading.row))
        labels = self._label(fault, reading, reading.payload.decode(), STORED)
        self._held.setdefault(reading.row, (release, []))[1].append((reading.payload, labels[0]))
        return released

    def _release(self, now: int | None) -> list[Outgoing]:
        due = [row for row, (release, _) in self._held.items() if now is None or release <= now]
        return [self._batch(row) for row in due]

    def _batch(self, row: int) -> Outgoing:
        release, held = self._held.pop(row)
        payload = encode_array(payload for payload, _ in held)
        return Outgoing(release, row, payload, len(held), tuple(label for _, label in held))

    def malformed(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Cut the payload off: the modem's buffer was too short."""
        cut = reading.payload[: max(2, int(len(reading.payload) * (0.2 + 0.6 * reading.chance)))]
        return self._instead(fault, reading, cut.decode(), cut, Reason.UNDECODABLE)

    def clock_1970(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Count from switching on, as a device that has never had the time."""
        return self._at(fault, reading, reading.time % DAY // SECOND, Reason.TIME_TOO_OLD)

    def clock_2036(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Take an NTP time of zero for a time."""
        return self._at(fault, reading, _NTP_ROLLOVER + reading.time % DAY // SECOND, Reason.TIME_IN_FUTURE)

    def clock_unit(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Format milliseconds as if they were seconds: the year 58,000."""
        year = 1970 + reading.time // 1000 // 31_556_952
        return self._at(fault, reading, f"{year}-01-01T00:00:00Z", Reason.TIME_UNREADABLE)

    def _at(self, fault: Fault, reading: Reading, ts: int | str, reason: Reason) -> list[Outgoing]:
        return self._instead(fault, reading, str(ts), encode_fields(_fields(reading) | {"ts": ts}), reason)

    def empty(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Send the time and no metric."""
        payload = encode_fields({"ts": reading.time // 1000})
        return self._instead(fault, reading, payload.decode(), payload, Reason.NO_METRICS)

    def unknown_metric(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Add a metric that the kind does not have, as newer firmware does."""
        name = f"{reading.kind.metrics[reading.column].name}_raw"
        while name in reading.kind.index:
            name += "_raw"
        payload = encode_fields(_fields(reading) | {name: 1.5})
        labels = self._label(fault, reading, 1.5, dead_letter(Reason.UNKNOWN_METRIC), name)
        return [Outgoing(reading.time, reading.row, payload, 1, labels)]

    def out_of_range(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Send a value that no sensor of this kind can have measured."""
        metric = reading.kind.metrics[reading.column]
        span = metric.maximum - metric.minimum
        wrong = metric.maximum + span if reading.chance < 0.5 else metric.minimum - span
        labels = self._label(fault, reading, wrong, dead_letter(Reason.OUT_OF_RANGE), metric.name)
        payload = encode_fields(_fields(reading) | {metric.name: wrong})
        return [Outgoing(reading.time, reading.row, payload, 1, labels)]

    def wrong_type(self, fault: Fault, reading: Reading) -> list[Outgoing]:
        """Send a word for a number."""
        name = reading.kind.metrics[reading.column].name
        labels = self._label(fault, reading, "n/a", dead_letter(Reason.WRONG_TYPE), name)
        payload = encode_fields(_fields(reading) | {name: "n/a"})
        return [Outgoing(reading.time, reading.row, payload, 1, labels)]


def _fields(reading: Reading) -> dict[str, object]:
    values = reading.values.tolist()
    return {"ts": reading.time // 1000, **dict(zip(reading.kind.columns, values, strict=True))}


_HANDLERS: Mapping[Fault, Handler] = {
    Fault.LATE: FaultInjector.late,
    Fault.STUCK: FaultInjector.stuck,
    Fault.DRIFT: FaultInjector.drift,
    Fault.DROPOUT: FaultInjector.dropout,
    Fault.MALFORMED: FaultInjector.malformed,
    Fault.CLOCK_1970: FaultInjector.clock_1970,
    Fault.CLOCK_2036: FaultInjector.clock_2036,
    Fault.CLOCK_UNIT: FaultInjector.clock_unit,
    Fault.EMPTY: FaultInjector.empty,
    Fault.UNKNOWN_METRIC: FaultInjector.unknown_metric,
    Fault.OUT_OF_RANGE: FaultInjector.out_of_range,
    Fault.WRONG_TYPE: FaultInjector.wrong_type,
    Fault.SPIKE: FaultInjector.spike,
    Fault.DUPLICATE: FaultInjector.duplicate,
}
