"""The latest values, read: of each device the newest of each metric by event time."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from sensors.catalogue import Catalogue
from storage.kinds import Connection
from storage.selection import Selection, condition

# PostgreSQL's wire format of an array of one dimension begins with as much. Source: array_send in its arrayfuncs.c.
_HEADER_BYTES, _ELEMENT_BYTES = 20, 12
_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in Unix µs
_NEVER = -(2**63)  # -infinity


class LatestDevice(NamedTuple):
    """A device that has latest values; ``time`` is the newest of their times."""

    device: str
    kind: str
    district: str
    position: tuple[float, float] | None
    interval_seconds: float
    simulated: bool
    time: dt.datetime
    received_at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class LatestValues:
    """Devices by id, and their values as columns of shape (values,), device by device.

    ``owner`` is each value's device by its place in ``devices``, ``metric`` its name, ``time`` its own event time in
    Unix µs. An object for each value of a whole city would take longer than to read it.
    """

    devices: list[LatestDevice]
    owner: npt.NDArray[np.int64]
    metric: npt.NDArray[np.object_]
    value: npt.NDArray[np.float64]
    time: npt.NDArray[np.int64]


async def now_changing(connection: Connection) -> int:
    """Return a number that no change of a latest value is below which is not yet visible.

    Ask before reading: every transaction under way has this number or a higher one, and so has every later one.
    """
    number = await connection.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8")
    return int(number)


async def list_latest(
    connection: Connection,
    catalogue: Catalogue,
    selection: Selection,
    metrics: Sequence[str] = (),
    *,
    since: int | None = None,
    after: str = "",
    limit: int = 100,
) -> LatestValues:
    """Return the latest values of devices in the order of their ids: a keyset, never an offset.

    With ``metrics``, only devices that have a value of one of them, and only these values. With ``since``, a
    number of ``now_changing``, all that have changed since it was asked for, and perhaps some before.
    """
    # PostgreSQL counts from one.
    places = [
        (kind.name, kind.index[metric] + 1)
        for kind in catalogue.kinds
        for metric in metrics
        if metric in kind.index
    ]
    selected, arguments = condition(selection, 7)
    rows = await connection.fetch(
        f"""
        SELECT device.id, kind, district, longitude, latitude, interval_seconds, simulated,
               l.time, l.received_at, array_send(l.times) AS times, array_send(l.values) AS values
        FROM alatau.device JOIN alatau.latest l USING (device_id)
        WHERE device.id > $1 AND {selected} AND l.changed >= $2
              AND ($3 OR EXISTS (
                  SELECT FROM unnest($4::text[], $5::int[]) AS place (kind, position)
                  WHERE place.kind = device.kind AND l.times[place.position] > '-infinity'))
        ORDER BY device.id LIMIT $6
        """,
        after,
        0 if since is None else since,
        not metrics,
        [kind for kind, _ in places],
        [position for _, position in places],
        limit,
        *arguments,
    )
    devices = [
        LatestDevice(
            row["id"],
            row["kind"],
            row["district"],
            None if row["longitude"] is None else (row["longitude"], row["latitude"]),
            row["interval_seconds"],
            row["simulated"],
            row["time"],
            row["received_at"],
        )
        for row in rows
    ]
    return LatestValues(devices, *_columns(rows, catalogue, metrics))


def _columns(
    rows: Sequence[asyncpg.Record], catalogue: Catalogue, metrics: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return owner, metric, value and time of what there is, and is asked for."""
    # Of one kind all arrays have a length, but for those from before a metric was added.
    alike: dict[tuple[str, int], list[int]] = {}
    for place, row in enumerate(rows):
        alike.setdefault((row["kind"], len(row["times"])), []).append(place)
    owner, metric = [np.empty(0, np.int64)], [np.empty(0, object)]
    value, time = [np.empty(0)], [np.empty(0, np.int64)]
    for (kind, size), places in alike.items():
        # There may be a metric already that this catalogue has not yet.
        names = catalogue.kind_of[kind].columns[: max(0, size - _HEADER_BYTES) // _ELEMENT_BYTES]
        times, values = (
            _matrix([rows[place][column] for place in places], type_)[:, : len(names)]
            for column, type_ in (("times", ">i8"), ("values", ">f8"))
        )
        wanted = np.array([not metrics or name in metrics for name in names], bool)
        which, column = np.nonzero((times != _NEVER) & wanted)
        owner.append(np.array(places)[which])
        metric.append(np.array(names, object)[column])
        value.append(values[which, column].astype(np.float64))
        time.append(times[which, column].astype(np.int64) + _POSTGRES_EPOCH)
    every = np.concatenate(owner)
    order = np.argsort(every, kind="stable")
    return (
        every[order],
        np.concatenate(metric)[order],
        np.concatenate(value)[order],
        np.concatenate(time)[order],
    )


def _matrix(arrays: Sequence[bytes], type_: str) -> npt.NDArray[Any]:
    """Return the elements, of 8 bytes, of arrays of one length, shape (arrays, elements)."""
    elements = max(0, len(arrays[0]) - _HEADER_BYTES) // _ELEMENT_BYTES
    element = np.dtype([("size", ">i4"), ("value", type_)])
    head = len(arrays[0]) - elements * _ELEMENT_BYTES  # shorter, of an array without any
    layout = np.dtype([("head", f"V{head}"), ("elements", element, (elements,))])
    cells: npt.NDArray[Any] = np.frombuffer(b"".join(arrays), layout)["elements"]["value"]
    return cells
