"""How many readings devices would make, by the interval each is known to keep."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import numpy.typing as npt

from sensors.times import SECOND, from_microseconds
from storage.kinds import Connection
from storage.selection import Devices, Selection, condition


class By(enum.StrEnum):
    """What is told apart."""

    DEVICE = "device"
    DISTRICT = "district"
    KIND = "kind"


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """How many devices a group has, and how many readings they would make in a range."""

    devices: int
    readings: int


async def expected_readings(
    connection: Connection, selection: Selection, by: By, start: int, end: int
) -> dict[str, Expected]:
    """Return what is expected of the selected devices from ``start`` to ``end``, Unix µs, by group.

    Nothing is expected of a device before it was installed.
    """
    column = {By.DEVICE: "id", By.DISTRICT: "district", By.KIND: "kind"}[by]
    selected, arguments = condition(selection, 3)
    rows = await connection.fetch(
        f"""
        SELECT {column} AS name, count(*) AS devices, sum(floor(
            greatest(0, extract(epoch FROM $2::timestamptz - greatest($1::timestamptz, installed))::float8)
            / interval_seconds))::int8 AS readings
        FROM alatau.device WHERE {selected} GROUP BY 1
        """,
        from_microseconds(start),
        from_microseconds(end),
        *arguments,
    )
    return {row["name"]: Expected(row["devices"], row["readings"]) for row in rows}


def expected_of(devices: Devices, start: int, end: int) -> npt.NDArray[np.int64]:
    """Return how many readings each device would make from ``start`` to ``end``, Unix µs."""
    span = np.maximum(0, end - np.maximum(start, devices.installed)) / SECOND
    counts: npt.NDArray[np.int64] = np.floor(span / devices.interval_seconds).astype(np.int64)
    return counts
