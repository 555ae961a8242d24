"""What rules look at, of all devices at once: whole columns, one query for each rule and kind."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from sensors.times import SECOND, from_microseconds, to_microseconds
from storage.columns import places_of, read_columns
from storage.device_status import IS_GONE, OFFLINE
from storage.kinds import Connection, table
from storage.latest_values import list_latest
from storage.rollup_tables import Level, Tier, rollup_table
from storage.selection import Selection

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_ALL = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """The devices of which something is expected, in one order, and the newest that each has measured.

    ``interval`` and ``seen`` are µs, and so is ``offline``: since when a device is so by its last will, 0 of one that
    is not. ``owner``, ``metric``, ``value`` and ``time`` (µs) are the latest values, device by device.
    """

    number: Ints
    device: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]
    district: npt.NDArray[np.str_]
    interval: Ints
    seen: Ints
    offline: Ints
    owner: Ints
    metric: npt.NDArray[np.object_]
    value: Floats
    time: Ints

    def latest(self, metric: str) -> tuple[Floats, Ints]:
        """Return the latest value of a metric of each device, NaN for none, and its time, µs."""
        chosen = self.metric == metric
        value, time = np.full(len(self.device), np.nan), np.zeros(len(self.device), np.int64)
        value[self.owner[chosen]], time[self.owner[chosen]] = self.value[chosen], self.time[chosen]
        return value, time

    def places(self, numbers: Ints) -> Ints:
        """Return the places of devices by the database's numbers, -1 of one that is not there."""
        return places_of(self.number, numbers)


async def read_fleet(connection: Connection, catalogue: Catalogue) -> Fleet:
    """Return the devices that are not disabled and have sent something.

    What comes while it is read may be in a part of it: the pass after this one has all of it.
    """
    latest = await list_latest(connection, catalogue, Selection(), limit=_ALL)
    rows = await connection.fetch(
        f"""
        SELECT device_id, id, CASE WHEN {IS_GONE} THEN o.at END AS offline
        FROM alatau.device LEFT JOIN alatau.latest l USING (device_id) {OFFLINE} WHERE disabled_at IS NULL
        """
    )
    number = {row["id"]: row["device_id"] for row in rows}
    offline = {row["id"]: to_microseconds(row["offline"]) for row in rows if row["offline"] is not None}
    kept = np.array([one.device in number for one in latest.devices], bool)
    place = np.where(kept, np.cumsum(kept) - 1, -1)
    devices = [one for one in latest.devices if one.device in number]
    owner = place[latest.owner] if len(latest.owner) else latest.owner
    there = owner >= 0
    return Fleet(
        number=np.array([number[one.device] for one in devices], np.int64),
        device=np.array([one.device for one in devices], str),
        kind=np.array([one.kind for one in devices], str),
        district=np.array([one.district for one in devices], str),
        interval=np.array([round(one.interval_seconds * SECOND) for one in devices], np.int64),
        seen=np.array([to_microseconds(one.time) for one in devices], np.int64),
        offline=np.array([offline.get(one.device, 0) for one in devices], np.int64),
        owner=owner[there],
        metric=latest.metric[there],
        value=latest.value[there],
        time=latest.time[there],
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Course:
    """A metric's first and last value in a time, of each device that has one; times are µs."""

    number: Ints
    first: Floats
    first_at: Ints
    last: Floats
    last_at: Ints


async def read_course(connection: Connection, kind: Kind, metric: str, start: int, stop: int) -> Course:
    """Return how a metric went from ``start`` to before ``stop``, Unix µs."""
    columns = await read_columns(
        connection,
        f"""
        SELECT device_id, public.first("{metric}", time), min(time), public.last("{metric}", time), max(time)
        FROM {table(kind)}
        WHERE time >= $1::timestamptz AND time < $2::timestamptz AND "{metric}" IS NOT NULL GROUP BY device_id
        """,
        [from_microseconds(start), from_microseconds(stop)],
        ["int4", "float8", "timestamptz", "float8", "timestamptz"],
    )
    return Course(*columns)


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Between what a metric has moved in a time, of each device that has it; ``first_at`` and ``last_at`` in µs."""

    number: Ints
    count: Ints
    low: Floats
    high: Floats
    first_at: Ints
    last_at: Ints


async def read_spread(connection: Connection, kind: Kind, metric: str, start: int, stop: int) -> Spread:
    """Return the least and the greatest value from ``start`` to before ``stop``, Unix µs, by the rollups."""
    columns = await read_columns(
        connection,
        f"""
        SELECT device_id, sum("{metric}_count")::bigint, min("{metric}_min"), max("{metric}_max"),
               min("{metric}_first_at"), max("{metric}_last_at")
        FROM {rollup_table(kind, Tier.MINUTES, Level.DEVICE)}
        WHERE bucket >= $1::timestamptz AND bucket < $2::timestamptz AND "{metric}_count" > 0 GROUP BY device_id
        """,
        [from_microseconds(start), from_microseconds(stop)],
        ["int4", "int8", "float8", "float8", "timestamptz", "timestamptz"],
    )
    return Spread(*columns)


@dataclasses.dataclass(frozen=True, slots=True)
class Excess:
    """How many buckets of five minutes a metric has in a time, in how many its mean is above a limit, and the mean of
    all, of each device that has it."""

    number: Ints
    buckets: Ints
    above: Ints
    mean: Floats


async def read_excess(
    connection: Connection, kind: Kind, metric: str, limit: float, start: int, stop: int
) -> Excess:
    """Return how long a metric was above a limit from ``start`` to before ``stop``, Unix µs, by the rollups."""
    mean = f'"{metric}_sum" / "{metric}_count"'
    columns = await read_columns(
        connection,
        f"""
        SELECT device_id, count(*), count(*) FILTER (WHERE {mean} > $3::float8), avg({mean})
        FROM {rollup_table(kind, Tier.MINUTES, Level.DEVICE)}
        WHERE bucket >= $1::timestamptz AND bucket < $2::timestamptz AND "{metric}_count" > 0 GROUP BY device_id
        """,
        [from_microseconds(start), from_microseconds(stop), limit],
        ["int4", "int8", "int8", "float8"],
    )
    return Excess(*columns)
