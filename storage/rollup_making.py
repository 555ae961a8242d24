"""One kind's rollup rows, made again: 5 minutes from the readings, what is coarser from what is finer."""

from __future__ import annotations

import dataclasses
import zoneinfo
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.states import States, merge, of_values
from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection, table
from storage.refresh_windows import Window
from storage.rollup_tables import HOUR, MINUTES, Level, Tier, ceil_to, edges_of, floor_to, rollup_table
from storage.rollups import Rollup, read_rollup, write_rollup

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(slots=True)
class Making:
    """The work of one transaction; ``rows`` counts the rows of 5 minutes that it made.

    A device's number points into ``member_of``: ``2 * place + simulated`` of its district among ``districts``.
    """

    connection: Connection
    kind: Kind
    zone: zoneinfo.ZoneInfo
    districts: list[str]
    member_of: npt.NDArray[np.int32]
    rows: int = 0

    @classmethod
    async def begin(cls, connection: Connection, kind: Kind, zone: zoneinfo.ZoneInfo) -> Making:
        """Read who is where."""
        names = [row["name"] for row in await connection.fetch("SELECT name FROM alatau.district ORDER BY 1")]
        device, member = await read_columns(
            connection,
            """
            SELECT device_id, (2 * (array_position($1::text[], district) - 1) + simulated::int)::int4
            FROM alatau.device
            """,
            [names],
            ["int4", "int4"],
        )
        member_of = np.full(int(device.max(initial=0)) + 1, -1, np.int32)
        member_of[device] = member
        return cls(connection, kind, zone, names, member_of)

    async def minutes(self, window: Window) -> None:
        """Make the rows of 5 minutes, of devices and of their districts."""
        devices = None if window.devices is None else sorted(window.devices)
        made = await self._from_readings(window, devices)
        self.rows += len(made)
        await self._replace(Tier.MINUTES, Level.DEVICE, window.start, window.stop, made, devices)
        if devices is None:
            of_districts, whole = None, made
        else:
            of_districts = self._districts_of(window)
            neighbours = np.flatnonzero(np.isin(self.member_of // 2, of_districts) & (self.member_of >= 0))
            whole = await read_rollup(
                self.connection,
                self.kind,
                Tier.MINUTES,
                window.start,
                window.stop,
                devices=neighbours.tolist(),
            )
        made = _regroup(whole, self.member_of[whole.device], whole.bucket)
        await self._replace(Tier.MINUTES, Level.DISTRICT, window.start, window.stop, made, of_districts)

    async def coarser(self, tier: Tier, window: Window, clean_to: int) -> None:
        """Make the rows of a coarser tier whose buckets a window touches and that end before ``clean_to``."""
        start = floor_to(tier, window.start, self.zone)
        stop = min(ceil_to(tier, window.stop, self.zone), floor_to(tier, clean_to, self.zone))
        if start >= stop:
            return
        edges = edges_of(tier, start, stop, self.zone)
        # Where a zone is not whole hours from UTC, its days are not made of hours of UTC.
        lower = Tier.HOUR if tier is Tier.DAY and not np.any(edges % HOUR) else Tier.MINUTES
        devices = None if window.devices is None else sorted(window.devices)
        of_districts = None if window.devices is None else self._districts_of(window)
        for level, members in ((Level.DEVICE, devices), (Level.DISTRICT, of_districts)):
            finer = await read_rollup(
                self.connection,
                self.kind,
                lower,
                start,
                stop,
                devices=devices if level is Level.DEVICE else None,
                districts=self.districts if level is Level.DISTRICT else None,
            )
            if level is Level.DISTRICT and members is not None:
                finer = finer.take(np.isin(finer.device // 2, members))
            bucket = edges[np.searchsorted(edges, finer.bucket, side="right") - 1]
            await self._replace(tier, level, start, stop, _regroup(finer, finer.device, bucket), members)

    def _districts_of(self, window: Window) -> list[int]:
        """Return the places of districts whose rows a window changes."""
        places = set((self.member_of[sorted(window.devices or ())] // 2).tolist())
        return sorted(places | {self.districts.index(name) for name in window.left})

    async def _from_readings(self, window: Window, devices: list[int] | None) -> Rollup:
        columns = "".join(f", COALESCE(\"{name}\", 'NaN')" for name in self.kind.columns)
        device, time, *values = await read_columns(
            self.connection,
            f"""
            SELECT device_id, time{columns} FROM {table(self.kind)}
            WHERE time >= $1::timestamptz AND time < $2::timestamptz
                  AND ($3::int[] IS NULL OR device_id = ANY($3))
            """,
            [from_microseconds(window.start), from_microseconds(window.stop), devices],
            ["int4", "timestamptz", *["float8"] * len(self.kind.columns)],
        )
        order = np.lexsort((time, device))
        device, time = device[order], time[order]
        bucket = time - time % MINUTES
        group, first = _groups(device, bucket)
        return Rollup(
            device[first],
            bucket[first],
            {
                name: of_values(group, time, column[order], len(first))
                for name, column in zip(self.kind.columns, values, strict=True)
            },
        )

    async def _replace(
        self, tier: Tier, level: Level, start: int, stop: int, made: Rollup, members: list[int] | None
    ) -> None:
        """Put rows in the place of those there are, of ``members``: devices, or places of districts; or of all."""
        is_district = level is Level.DISTRICT
        chosen: list[Any] | None = members
        if is_district and members is not None:
            chosen = [self.districts[place] for place in members]
        key, type_ = ("district", "text") if is_district else ("device_id", "int")
        await self.connection.execute(
            f"""
            DELETE FROM {rollup_table(self.kind, tier, level)}
            WHERE bucket >= $1 AND bucket < $2 AND ($3::{type_}[] IS NULL OR {key} = ANY($3))
            """,
            from_microseconds(start),
            from_microseconds(stop),
            chosen,
        )
        await write_rollup(self.connection, self.kind, tier, made, self.districts if is_district else None)


def _groups(member: npt.NDArray[np.int32], bucket: Integers) -> tuple[Integers, npt.NDArray[np.intp]]:
    """Return the number of each row's group, and where groups begin; rows in order of member and bucket."""
    if not len(member):
        return bucket, np.empty(0, np.intp)
    begins = np.append(True, (member[1:] != member[:-1]) | (bucket[1:] != bucket[:-1]))
    return np.cumsum(begins) - 1, np.flatnonzero(begins)


def _regroup(finer: Rollup, member: npt.NDArray[np.int32], bucket: Integers) -> Rollup:
    """Return one row for each member and bucket, put together of the finer rows that are in it."""
    order = np.lexsort((bucket, member))
    group, first = _groups(member[order], bucket[order])
    target = np.empty(len(order), np.int64)
    target[order] = group
    metrics: dict[str, States] = {
        name: merge(states, target, len(first), finer.device) for name, states in finer.metrics.items()
    }
    return Rollup(member[order][first], bucket[order][first], metrics)
