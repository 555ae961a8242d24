"""Aggregates that follow each device from reading to reading: time-weighted means, counters, time over a limit.

The readings come into memory, a bounded number of them; what is computed is whole columns at a time.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.times import SECOND, from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection, table
from storage.series_plan import Arguments, Groups, Plan
from storage.series_query import CARRY, OF_READINGS, Aggregate, SeriesQuery, TooManyReadingsError

# Devices may be silent: refused unread are only questions that come out above by so much.
_CERTAINLY = 2
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Followed:
    """Values of one metric: ``numbers`` int32 (groups,), rising; arrays of shape (groups, buckets) by aggregate."""

    numbers: npt.NDArray[np.int32]
    values: dict[Aggregate, Floats]


@dataclasses.dataclass(frozen=True, slots=True)
class _Track:
    """Readings of one metric in the order of device and time, with the place of their group; each (n,)."""

    device: npt.NDArray[np.int32]
    place: Integers
    time: Integers
    value: Floats

    def take(self, chosen: npt.NDArray[Any]) -> _Track:
        return _Track(self.device[chosen], self.place[chosen], self.time[chosen], self.value[chosen])

    def pairs(self) -> npt.NDArray[np.intp]:
        """Return the places of readings that another one of their device follows."""
        return np.flatnonzero(self.device[1:] == self.device[:-1])


async def read_followed(connection: Connection, query: SeriesQuery, plan: Plan) -> list[Followed]:
    """Return what follows readings, of each metric. Raises TooManyReadingsError, at once where it can be foreseen."""
    if await _foreseen(connection, query) > _CERTAINLY * query.most_rows:
        raise TooManyReadingsError(query.most_rows)
    return [await _follow_metric(connection, query, plan, metric) for metric in query.metrics]


async def _foreseen(connection: Connection, query: SeriesQuery) -> float:
    """Return how many readings the devices' intervals let expect."""
    arguments = Arguments()
    kinds = arguments.add([kind.name for kind in query.kinds], "text[]")
    rate: float | None = await connection.fetchval(
        f"""
        SELECT sum(1 / interval_seconds) FROM alatau.device
        WHERE kind = ANY({kinds}) AND {arguments.select(query.selection)}
        """,
        *arguments.values,
    )
    return (rate or 0.0) * (query.known_to - query.start) / SECOND


async def _follow_metric(connection: Connection, query: SeriesQuery, plan: Plan, metric: str) -> Followed:
    arguments = Arguments()
    groups = Groups(query, plan.districts, arguments)
    branches = [
        f"""
        SELECT r.device_id, device.g, r.time, r."{metric}"
        FROM {table(part.kind)} AS r JOIN
             (SELECT device_id, {groups.number(part.kind, "device")} AS g FROM alatau.device
              WHERE kind = {arguments.add(part.kind.name, "text")} AND {arguments.select(query.selection)}
              OFFSET 0) AS device USING (device_id)
        WHERE r.time >= {arguments.add(from_microseconds(part.segment.start), "timestamptz")}
              AND r.time < {arguments.add(from_microseconds(part.segment.stop), "timestamptz")}
              AND r."{metric}" IS NOT NULL
        """
        for part in plan.followed
        if metric in part.kind.index
    ]
    most = arguments.add(query.most_rows + 1, "bigint")
    if not branches:
        nothing = np.empty((0, len(query.boundaries) - 1))
        return Followed(np.empty(0, np.int32), dict.fromkeys(query.aggregates & OF_READINGS, nothing))
    device, group, time, value = await read_columns(
        connection,
        f"SELECT * FROM ({' UNION ALL '.join(branches)}) AS reading LIMIT {most}",
        arguments.values,
        ["int4", "int4", "timestamptz", "float8"],
    )
    if len(device) > query.most_rows:
        raise TooManyReadingsError(query.most_rows)
    numbers, place = np.unique(group, return_inverse=True)
    order = np.lexsort((time, device))
    track = _Track(device, place.astype(np.int64), time, value).take(order)
    made = _Following(query, track, len(numbers)).made()
    return Followed(numbers, made)


class _Following:
    """The arithmetic of one metric over the buckets of a question."""

    def __init__(self, query: SeriesQuery, track: _Track, groups: int) -> None:
        self._query = query
        self._track = track
        self._edges = query.edges
        self._shape = (groups, len(query.boundaries) - 1)

    def made(self) -> dict[Aggregate, Floats]:
        """Return what is asked for."""
        made: dict[Aggregate, Floats] = {}
        wanted = self._query.aggregates & OF_READINGS
        if wanted & {Aggregate.TWA, Aggregate.EXCEED}:
            made |= self._steps()
        if Aggregate.TWA_LINEAR in wanted:
            made[Aggregate.TWA_LINEAR] = self._lines()
        if wanted & {Aggregate.INCREASE, Aggregate.RATE}:
            made |= self._rises()
        return {aggregate: made[aggregate] for aggregate in wanted}

    def _cells(self, row: Integers, bucket: Integers, weights: Floats) -> Floats:
        groups, buckets = self._shape
        flat = np.bincount(row * buckets + bucket, weights, groups * buckets)
        return flat.reshape(self._shape).astype(np.float64)

    def _pieces(self, begin: Integers, stop: Integers) -> tuple[Integers, Integers, Integers, Integers]:
        """Cut spans at the edges of buckets; return of each piece its span's place, its bucket, begin and stop."""
        begin = np.maximum(begin, self._query.start)
        stop = np.minimum(stop, self._query.known_to)
        span = np.flatnonzero(begin < stop)
        first = np.searchsorted(self._edges, begin[span], side="right") - 1
        last = np.searchsorted(self._edges, stop[span], side="left") - 1
        size = last - first + 1
        total = int(size.sum())
        if total > 4 * self._query.most_rows:
            raise TooManyReadingsError(self._query.most_rows)
        which = np.repeat(np.arange(len(span)), size)
        bucket = np.arange(total) - np.repeat(np.cumsum(size) - size, size) + first[which]
        low = np.maximum(begin[span][which], self._edges[bucket])
        high = np.minimum(stop[span][which], self._edges[bucket + 1])
        return span[which], bucket, low, high

    def _steps(self) -> dict[Aggregate, Floats]:
        """Carry each value on to the next reading of its device, for ``CARRY`` at most."""
        track = self._track
        stop = track.time + CARRY
        pairs = track.pairs()
        stop[pairs] = np.minimum(stop[pairs], track.time[pairs + 1])
        span, bucket, low, high = self._pieces(track.time, stop)
        row, value, seconds = track.place[span], track.value[span], (high - low) / SECOND
        covered = self._cells(row, bucket, seconds)
        over = value > (np.inf if self._query.limit is None else self._query.limit)
        return {
            Aggregate.TWA: _ratio(self._cells(row, bucket, value * seconds), covered),
            Aggregate.EXCEED: np.where(covered > 0, self._cells(row, bucket, over * seconds), np.nan),
        }

    def _lines(self) -> Floats:
        """Draw a straight line between readings of a device that are ``CARRY`` apart at most."""
        track = self._track
        pairs = track.pairs()
        pairs = pairs[track.time[pairs + 1] - track.time[pairs] <= CARRY]
        begin, stop = track.time[pairs], track.time[pairs + 1]
        span, bucket, low, high = self._pieces(begin, stop)
        pair = pairs[span]
        slope = (track.value[pair + 1] - track.value[pair]) / (stop[span] - begin[span])
        middle = track.value[pair] + slope * ((low + high) / 2 - begin[span])
        seconds, row = (high - low) / SECOND, track.place[pair]
        return _ratio(self._cells(row, bucket, middle * seconds), self._cells(row, bucket, seconds))

    def _rises(self) -> dict[Aggregate, Floats]:
        """Add up what counters rose by; a fall is a new beginning at zero."""
        track = _without_blips(self._track)
        before = track.pairs()
        after = before + 1
        inside = (track.time[after] >= self._query.start) & (track.time[after] < self._query.end)
        before, after = before[inside], after[inside]
        value = track.value[after]
        rise = np.where(value >= track.value[before], value - track.value[before], value)
        bucket = np.searchsorted(self._edges, track.time[after], side="right") - 1
        row = track.place[after]
        pairs = self._cells(row, bucket, np.ones(len(after)))
        increase = np.where(pairs > 0, self._cells(row, bucket, rise), np.nan)
        known = np.minimum(self._edges, self._query.known_to)
        seconds = np.diff(known) / SECOND
        return {
            Aggregate.INCREASE: increase,
            Aggregate.RATE: increase / np.where(seconds > 0, seconds, np.nan),
        }


def _without_blips(track: _Track) -> _Track:
    """Leave out single zeros between two readings of a counter that had not begun anew."""
    keep = np.ones(len(track.time), dtype=bool)
    if len(keep) > 2:
        before, middle, after = track.value[:-2], track.value[1:-1], track.value[2:]
        same = track.device[2:] == track.device[:-2]
        keep[1:-1] = ~(same & (middle == 0) & (before > 0) & (after >= before))
    return track.take(keep)


def _ratio(total: Floats, covered: Floats) -> Floats:
    ratio = np.full(total.shape, np.nan)
    np.divide(total, covered, out=ratio, where=covered > 0)
    return ratio
