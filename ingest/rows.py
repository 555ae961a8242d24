"""The rows of one kind, and the checks that find what is wrong with them, whole columns at a time."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from ingest.decode import Explanation, Fault, Row, example
from ingest.places import of_time, of_value
from sensors.checks import Reason, TimeWindow, in_future, out_of_range, too_old
from sensors.kinds import Kind
from sensors.readings import ReadingBatch
from sensors.times import SECOND, format_timestamp, unix_to_microseconds
from storage.sequences import Clockless

if TYPE_CHECKING:
    from mqtt5 import PublishPacket

    from ingest.limits import RateLimits
    from ingest.routes import Route

# Readings beyond their device's rate, by the identity of their packet and their own time.
Excesses = dict[tuple[int, int], Fault]


@dataclasses.dataclass(slots=True)
class KindRows:
    """The rows of one kind: parallel lists, so that a reading costs no object of its own."""

    kind: Kind
    rows: list[Row] = dataclasses.field(default_factory=list)
    packets: list[PublishPacket] = dataclasses.field(default_factory=list)
    routes: list[Route] = dataclasses.field(default_factory=list)
    received: list[int] = dataclasses.field(default_factory=list)
    # Numbers of the rows without a time of their own, by their places.
    clockless: dict[int, int] = dataclasses.field(default_factory=dict)


class RowCheck:
    """The checks of one kind's rows, each of which takes from ``keep`` what it finds wrong.

    ``faults`` are what was found, by the place of the row.
    """

    def __init__(self, rows: KindRows) -> None:
        table = np.array(rows.rows, dtype=np.float64)
        received = np.array(rows.received, dtype=np.int64)
        own_time = table[:, 0]
        self._is_arrival = np.isnan(own_time)
        # Beyond what int64 µs holds is far outside any window; clipped, it stays far outside.
        stated = unix_to_microseconds(np.clip(np.nan_to_num(own_time), -9e18, 9e18))
        self._rows = rows
        self._batch = ReadingBatch(
            rows.kind,
            np.fromiter((route.device_id for route in rows.routes), np.int32, len(rows.routes)),
            np.where(self._is_arrival, received, stated),
            received,
            table[:, 1:],
        )
        self._keep = np.ones(len(received), dtype=bool)
        self.faults: list[tuple[int, Fault]] = []

    def without_time(self) -> list[int]:
        """Return the places of the rows whose time is that of their arrival."""
        places: list[int] = np.flatnonzero(self._is_arrival).tolist()
        return places

    def kept(self) -> ReadingBatch:
        """Return the rows that nothing was wrong with."""
        return self._batch if self._keep.all() else self._batch.take(self._keep)

    def times(self, now: int, window: TimeWindow) -> None:
        """Refuse times outside the window."""
        time = self._batch.time
        for reason, wrong in (
            (Reason.TIME_TOO_OLD, too_old(time, now, window)),
            (Reason.TIME_IN_FUTURE, in_future(time, now, window)),
        ):
            # An arrival is when it is, also when our own clock has been set back since.
            wrong &= ~self._is_arrival
            for place in np.flatnonzero(wrong).tolist():
                packet = self._rows.packets[place]
                explain = functools.partial(_time_explained, packet, int(time[place]), now, window)
                self.faults.append((place, Fault(reason, explain)))
            self._keep &= ~wrong

    def values(self) -> None:
        """Take out implausible values, and refuse rows without any."""
        values, kind = self._batch.values, self._rows.kind
        implausible = out_of_range(values, kind)
        if implausible.any():
            for place, column in np.argwhere(implausible & self._keep[:, None]).tolist():
                packet = self._rows.packets[place]
                explain = functools.partial(_range_explained, packet, kind, column, values[place, column])
                self.faults.append((place, Fault(Reason.OUT_OF_RANGE, explain)))
            values[implausible] = np.nan
        empty = np.all(np.isnan(values), axis=1)
        for place in np.flatnonzero(empty & ~implausible.any(axis=1)).tolist():
            detail = f"no metric has a value; send {example(kind)}"
            fault = Fault(Reason.NO_METRICS, Explanation(detail, "", "no value", example(kind)))
            self.faults.append((place, fault))
        self._keep &= ~empty

    def note_excess(self, limits: RateLimits, excesses: Excesses, now: int, *, is_redelivered: bool) -> None:
        """Charge the kept rows to their devices' buckets, and note those that are too many."""
        places, packets = np.flatnonzero(self._keep), self._rows.packets
        redelivered = None
        if is_redelivered:
            redelivered = np.array([packets[place].duplicate for place in places], dtype=bool)
        excess = limits.charge(self.kept(), now, redelivered)
        if excess is None:
            return
        for place, gap, expected in zip(
            places[excess.rows].tolist(), excess.gap.tolist(), excess.expected.tolist(), strict=True
        ):
            explain = functools.partial(_rate_explained, gap / SECOND, expected / SECOND)
            excesses[id(packets[place]), int(self._batch.time[place])] = Fault(Reason.RATE_EXCEEDED, explain)

    def refuse_excess(self, excesses: Excesses) -> int:
        """Refuse the rows noted as too many; return how many."""
        refused = 0
        for place in np.flatnonzero(self._keep).tolist():
            fault = excesses.get((id(self._rows.packets[place]), int(self._batch.time[place])))
            if fault is not None:
                self._keep[place] = False
                self.faults.append((place, fault))
                refused += 1
        return refused

    def set_clockless_apart(self) -> tuple[list[int], Clockless] | None:
        """Take out the kept rows that have a number and no time, and return their places and them."""
        numbered = self._rows.clockless
        places = np.fromiter(numbered, np.intp, len(numbered))
        good = self._keep[places]
        self._keep[places] = False
        if not good.any():
            return None
        numbers = np.fromiter(numbered.values(), np.int64, len(numbered))
        return places[good].tolist(), Clockless(self._batch.take(places[good]), numbers[good])


def _time_explained(packet: PublishPacket, time: int, now: int, window: TimeWindow) -> Explanation:
    try:
        stated = format_timestamp(time)
    except OverflowError:
        stated = f"{time} µs"
    first, last = format_timestamp(now - window.past), format_timestamp(now + window.future)
    detail = (
        f"time {stated} is not between {first} and {last}; set the device's clock, "
        'or leave "ts" out to have the time of arrival'
    )
    path = functools.partial(of_time, packet.payload, time)
    return Explanation(detail, path, stated, f"{first} to {last}")


def _rate_explained(gap: float, expected: float) -> Explanation:
    detail = (
        f"a reading {gap:g} s after the one before it, by their own times, where one in {expected:g} s is expected; "
        "send fewer, or have the device registered with the interval that it has"
    )
    return Explanation(detail, None, f"{gap:g} s", f"{expected:g} s")


def _range_explained(packet: PublishPacket, kind: Kind, column: int, value: float) -> Explanation:
    metric = kind.metrics[column]
    valid = f"{metric.minimum:g} to {metric.maximum:g} {metric.unit}"
    detail = f"{metric.name} {value:g} is not between {metric.minimum:g} and {metric.maximum:g} {metric.unit}"
    path = functools.partial(of_value, packet.payload, metric.name, value)
    return Explanation(detail, path, f"{value:g}", valid)
