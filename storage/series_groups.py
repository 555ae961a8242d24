"""Who is in each group of a series: its name, and how many values its devices are expected to bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sensors.times import SECOND
from storage.kinds import Connection
from storage.selection import ALWAYS, FOREVER, Members, count_members, moment_or
from storage.series_query import GroupBy, SeriesQuery

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class _Share:
    """Devices of one kind in a group: together ``rate`` readings a second from ``since`` to ``until``, Unix µs."""

    group: int
    kind: str
    since: int
    until: int
    rate: float


@dataclasses.dataclass(frozen=True, slots=True)
class GroupsRead:
    """What is known of the groups of some numbers."""

    name_of: Callable[[int], str | None]
    shares: Sequence[_Share]

    def expected(self, query: SeriesQuery, numbers: npt.NDArray[np.int32]) -> dict[str, Floats]:
        """Return how many values of each metric the devices' intervals let expect, shape (numbers, buckets)."""
        place = {number: row for row, number in enumerate(numbers.tolist())}
        metrics_of = {kind.name: [one for one in query.metrics if one in kind.index] for kind in query.kinds}
        edges = np.minimum(query.edges, query.known_to)
        expected = {metric: np.zeros((len(numbers), len(edges) - 1)) for metric in query.metrics}
        for share in self.shares:
            row = place.get(share.group)
            metrics = metrics_of.get(share.kind)
            if row is not None and metrics:
                values = np.diff(np.clip(edges, share.since, max(share.since, share.until))) * (
                    share.rate / SECOND
                )
                for metric in metrics:
                    expected[metric][row] += values
        return expected


async def read_groups(
    connection: Connection,
    query: SeriesQuery,
    districts: Sequence[str],
    numbers: npt.NDArray[np.int32],
    members: Sequence[Members] | None,
) -> GroupsRead:
    """Return the groups of ``numbers``; who is selected is asked for where ``members`` don't tell."""
    if query.group_by is GroupBy.DEVICE:
        return await _read_devices(connection, numbers)
    if members is None:
        members = await count_members(connection, query.selection, query.start)
    names: Sequence[str | None]
    named: Sequence[str | None]
    match query.group_by:
        case GroupBy.NONE:
            names, named = [None], [None for _ in members]
        case GroupBy.KIND:
            names, named = [kind.name for kind in query.kinds], [one.kind for one in members]
        case GroupBy.DISTRICT:
            names, named = districts, [one.district for one in members]
    number_of = {name: number for number, name in enumerate(names)}
    shares = [
        _Share(number_of[name], one.kind, one.since, one.until, one.rate)
        for name, one in zip(named, members, strict=True)
        if name in number_of
    ]
    return GroupsRead(lambda number: names[number], shares)


async def _read_devices(connection: Connection, numbers: npt.NDArray[np.int32]) -> GroupsRead:
    rows = await connection.fetch(
        """
        SELECT device_id, id, kind, installed, disabled_at, 1 / interval_seconds AS rate
        FROM alatau.device WHERE device_id = ANY($1::int[])
        """,
        numbers.tolist(),
    )
    ids = {row["device_id"]: row["id"] for row in rows}
    shares = [
        _Share(
            row["device_id"],
            row["kind"],
            moment_or(ALWAYS, row["installed"]),
            moment_or(FOREVER, row["disabled_at"]),
            row["rate"],
        )
        for row in rows
    ]
    return GroupsRead(lambda number: ids[number], shares)
