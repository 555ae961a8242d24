"""How good the readings of devices are: whether all came, how late, by which clock, and whether they still vary."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.times import SECOND, from_microseconds
from storage.columns import read_columns
from storage.expected import expected_of
from storage.frozen import longest_runs, should_vary
from storage.kinds import Connection, table
from storage.selection import Devices

# Readings that are held at once: some 100 bytes each.
_BATCH = 200_000
_LAG_QUANTILES = (0.5, 0.95)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """The longest run of one value of a device's metric; times of its first and last reading in Unix µs."""

    device: str
    metric: str
    value: float
    readings: int
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """What is known of the readings of some devices in a range; seconds, None where there are no readings.

    ``silent`` devices sent nothing, though they were not disabled. ``completeness`` counts of no device more than was
    expected of it. ``lag`` are the quantiles 0.5 and 0.95 of arrival less own time, at least 0. ``ahead`` is the median
    of own time less arrival of the share ``ahead_share`` of readings that are from the future. ``last`` is the time of
    the newest reading of all, also outside the range, in Unix µs.
    """

    devices: int
    silent: int
    expected: int
    received: int
    completeness: float | None
    lag: tuple[float, ...] | None
    ahead: float | None
    ahead_share: float | None
    dead_letters: dict[str, int]
    missing_open: int
    missing_abandoned: int
    frozen: tuple[Frozen, ...]
    last: int | None


class _Readings:
    """What is gathered of the readings, batch by batch; rows are known by their device's place."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self.received = np.zeros(len(devices), np.int64)
        self.place: list[npt.NDArray[np.intp]] = []
        self.lag: list[npt.NDArray[np.float64]] = []  # seconds, negative from the future
        self.frozen: dict[int, list[Frozen]] = collections.defaultdict(list)

    async def read(
        self, connection: Connection, kind: Kind, places: npt.NDArray[np.intp], start: int, end: int
    ) -> None:
        """Read the devices at these places, all of one kind."""
        varying = [metric for metric in kind.metrics if should_vary(metric)]
        values = "".join(f", COALESCE(\"{metric.name}\", 'NaN')" for metric in varying)
        numbers = self._devices.device_id[places]
        device, time, received, *columns = await read_columns(
            connection,
            f"""
            SELECT device_id, time, received_at{values} FROM {table(kind)}
            WHERE device_id = ANY($1::int[]) AND time >= $2::timestamptz AND time < $3::timestamptz
            ORDER BY device_id, time
            """,
            [numbers.tolist(), from_microseconds(start), from_microseconds(end)],
            ["int4", "timestamptz", "timestamptz", *["float8"] * len(varying)],
        )
        order = np.argsort(numbers)
        place = places[order][np.searchsorted(numbers[order], device)]
        self.received += np.bincount(place, minlength=len(self._devices))
        self.place.append(place)
        self.lag.append((received - time) / SECOND)
        for metric, column in zip(varying, columns, strict=True):
            for run in longest_runs(place, column, metric):
                self.frozen[run.place].append(
                    Frozen(
                        device=str(self._devices.id[run.place]),
                        metric=metric.name,
                        value=float(column[run.first]),
                        readings=run.length,
                        start=int(time[run.first]),
                        end=int(time[run.last]),
                    )
                )


async def read_quality(
    connection: Connection,
    catalogue: Catalogue,
    devices: Devices,
    groups: npt.NDArray[np.str_],
    start: int,
    end: int,
) -> dict[str, Quality]:
    """Return the quality of the readings from ``start`` to before ``end``, Unix µs, of each group of devices.

    ``groups`` names each device's. Every reading in the range is read: bound their number before.
    """
    expected = expected_of(devices, start, end)
    readings = _Readings(devices)
    for kind in sorted(set(devices.kind.tolist())):
        for places in _batches(np.flatnonzero(devices.kind == kind), expected):
            await readings.read(connection, catalogue.kind_of[kind], places, start, end)
    facts = _Facts(
        devices.device_id,
        expected,
        devices.until > start,
        readings,
        letters=await _dead_letters(connection, devices, start, end),
        missing=await _missing(connection, devices, start, end),
        last=await _last_times(connection, devices),
    )
    names, group = np.unique(groups, return_inverse=True)
    row_group = group[np.concatenate([np.empty(0, np.intp), *readings.place])]
    lag = np.concatenate([np.empty(0), *readings.lag])
    order = np.argsort(row_group, kind="stable")
    edges = np.searchsorted(row_group[order], np.arange(len(names) + 1))
    return {
        name: _quality(facts, np.flatnonzero(group == number), lag[order[edges[number] : edges[number + 1]]])
        for number, name in enumerate(names.tolist())
    }


def _batches(places: npt.NDArray[np.intp], expected: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.intp]]:
    """Yield devices in portions of about _BATCH readings, or of one device."""
    portion = np.cumsum(expected[places]) // _BATCH
    yield from np.split(places, np.flatnonzero(np.diff(portion)) + 1)


@dataclasses.dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of each device, by its place or its number."""

    number: npt.NDArray[np.int32]
    expected: npt.NDArray[np.int64]
    may_send: npt.NDArray[np.bool_]
    readings: _Readings
    letters: dict[int, dict[str, int]]
    missing: dict[int, tuple[int, int]]
    last: dict[int, int]


def _quality(facts: _Facts, members: npt.NDArray[np.intp], lag: npt.NDArray[np.float64]) -> Quality:
    received, expected = facts.readings.received[members], facts.expected[members]
    numbers = facts.number[members].tolist()
    reasons: collections.Counter[str] = collections.Counter()
    for number in numbers:
        reasons.update(facts.letters.get(number, {}))
    ahead = -lag[lag < 0]
    total = int(expected.sum())
    return Quality(
        devices=len(members),
        silent=int(((received == 0) & facts.may_send[members]).sum()),
        expected=total,
        received=int(received.sum()),
        completeness=float(np.minimum(received, expected).sum() / total) if total else None,
        lag=tuple(np.quantile(np.maximum(lag, 0), _LAG_QUANTILES).tolist()) if len(lag) else None,
        ahead=float(np.median(ahead)) if len(ahead) else None,
        ahead_share=len(ahead) / len(lag) if len(lag) else None,
        dead_letters=dict(sorted(reasons.items())),
        missing_open=sum(facts.missing.get(number, (0, 0))[0] for number in numbers),
        missing_abandoned=sum(facts.missing.get(number, (0, 0))[1] for number in numbers),
        frozen=tuple(one for place in members.tolist() for one in facts.readings.frozen.get(place, ())),
        last=max((facts.last[number] for number in numbers if number in facts.last), default=None),
    )


async def _dead_letters(
    connection: Connection, devices: Devices, start: int, end: int
) -> dict[int, dict[str, int]]:
    rows = await connection.fetch(
        """
        SELECT device_id, reason, sum(1 + repeats)::int8 AS letters FROM alatau.dead_letter
        WHERE device_id = ANY($1::int[]) AND received_at >= $2 AND received_at < $3
        GROUP BY device_id, reason
        """,
        devices.device_id.tolist(),
        from_microseconds(start),
        from_microseconds(end),
    )
    letters: dict[int, dict[str, int]] = collections.defaultdict(dict)
    for row in rows:
        letters[row["device_id"]][row["reason"]] = row["letters"]
    return letters


async def _missing(
    connection: Connection, devices: Devices, start: int, end: int
) -> dict[int, tuple[int, int]]:
    """Return how many numbers of each device are missing now, and how many it gave up in the range."""
    rows: Sequence[Any] = await connection.fetch(
        """
        SELECT device_id, sum(size) FILTER (WHERE is_open)::int8 AS open,
               sum(size) FILTER (WHERE NOT is_open)::int8 AS abandoned
        FROM (SELECT device_id, is_open, upper(numbers) - lower(numbers) AS size FROM (
            SELECT device_id, true AS is_open,
                   unnest(int8multirange(int8range(1, highest, '[]')) - received) AS numbers
            FROM alatau.sequence WHERE missing_since IS NOT NULL AND device_id = ANY($1::int[])
            UNION ALL
            SELECT device_id, false, unnest(missing) FROM alatau.sequence_gap
            WHERE device_id = ANY($1::int[]) AND abandoned_at >= $2 AND abandoned_at < $3) AS gap) AS sized
        GROUP BY device_id
        """,
        devices.device_id.tolist(),
        from_microseconds(start),
        from_microseconds(end),
    )
    return {row["device_id"]: (row["open"] or 0, row["abandoned"] or 0) for row in rows}


async def _last_times(connection: Connection, devices: Devices) -> dict[int, int]:
    device, time = await read_columns(
        connection,
        "SELECT device_id, time FROM alatau.latest WHERE device_id = ANY($1::int[])",
        [devices.device_id.tolist()],
        ["int4", "timestamptz"],
    )
    return dict(zip(device.tolist(), time.tolist(), strict=True))
