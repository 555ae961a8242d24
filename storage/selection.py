"""Which devices a question is about: by kind, district, id, place and tag; one condition for every query."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sensors.times import from_microseconds, to_microseconds
from storage.kinds import Connection

# Source: IUGG, mean radius R1 of the GRS 80 ellipsoid, in metres.
EARTH_RADIUS = 6_371_008.8
# Of a device that nobody said when it was installed: it always was.
ALWAYS = np.iinfo(np.int64).min
FOREVER = np.iinfo(np.int64).max
# Degrees by which a box is wider than the circle within, so that rounding leaves nothing out.
_MARGIN = 1e-9
# PostgreSQL's polygons take areas below a millionth for nothing, and a corner of a street in degrees is less.
_FINE = 1e6


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """Which devices; an empty tuple and None select all, and all that is given must hold.

    Degrees are WGS 84, longitude first. ``bbox`` is west, south, east, north, across the date line where west
    is above east; ``near`` is longitude, latitude and metres along a great circle; ``polygon`` is a ring, not
    closed, that does not cross the date line: where it crosses itself, it holds all that it winds round.
    ``tags`` are names and values of metadata: "7" is also the number 7, "true" also the truth. A device
    without a position is at no place.
    """

    kinds: tuple[str, ...] = ()
    districts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    simulated: bool | None = None
    bbox: tuple[float, float, float, float] | None = None
    near: tuple[float, float, float] | None = None
    polygon: tuple[tuple[float, float], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Members:
    """How many of the selected devices are of a kind, in a district, simulated.

    From ``since`` to ``until``, Unix µs, they make ``rate`` readings a second together.
    """

    kind: str
    district: str
    simulated: bool
    devices: int
    since: int
    until: int
    rate: float


@dataclasses.dataclass(frozen=True, slots=True)
class Devices:
    """Selected devices in the order of their ids, each array of shape (devices,).

    Readings are expected ``since`` a device was installed ``until`` it was disabled, Unix µs, ALWAYS and FOREVER
    where that is not known; positions are NaN where there is none.
    """

    device_id: npt.NDArray[np.int32]
    id: npt.NDArray[np.str_]
    kind: npt.NDArray[np.str_]
    district: npt.NDArray[np.str_]
    simulated: npt.NDArray[np.bool_]
    interval_seconds: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    latitude: npt.NDArray[np.float64]
    since: npt.NDArray[np.int64]
    until: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.device_id)


class _Arguments:
    """The values of a statement's parameters, and the names by which it calls them."""

    def __init__(self, first: int) -> None:
        self._first = first
        self.values: list[Any] = []

    def add(self, value: Any, type_: str) -> str:
        self.values.append(value)
        return f"${self._first + len(self.values) - 1}::{type_}"


def condition(selection: Selection, first: int = 1, device: str = "device") -> tuple[str, list[Any]]:
    """Return SQL that holds for the selected rows of alatau.device, known as ``device`` in its query, and the
    values of its parameters, which are numbered from ``first``."""
    arguments = _Arguments(first)
    parts = [*_by_name(selection, device, arguments), *_by_place(selection, device, arguments)]
    for name, value in selection.tags:
        tag = f"{device}.metadata -> {arguments.add(name, 'text')}"
        parts.append(f"{tag} = ANY({arguments.add(_meanings(value), 'text[]')}::jsonb[])")
    return " AND ".join(parts) or "true", arguments.values


def _by_name(selection: Selection, device: str, arguments: _Arguments) -> Iterator[str]:
    names = {"kind": selection.kinds, "district": selection.districts, "id": selection.devices}
    for column, values in names.items():
        if values:
            yield f"{device}.{column} = ANY({arguments.add(values, 'text[]')})"
    if selection.simulated is not None:
        yield f"{device}.simulated = {arguments.add(selection.simulated, 'boolean')}"


def _by_place(selection: Selection, device: str, arguments: _Arguments) -> Iterator[str]:
    if selection.bbox is not None:
        yield _in_box(selection.bbox, device, arguments)
    if selection.near is not None:
        yield _in_box(box_around(*selection.near), device, arguments)
        yield f"{_distance(selection.near, device, arguments)} <= {arguments.add(selection.near[2], 'float8')}"
    if selection.polygon:
        longitudes, latitudes = zip(*selection.polygon, strict=True)
        box = (min(longitudes), min(latitudes), max(longitudes), max(latitudes))
        yield _in_box(box, device, arguments)
        vertices = ",".join(
            f"({_rounded(east) * _FINE!r},{_rounded(north) * _FINE!r})" for east, north in selection.polygon
        )
        ring = f"{arguments.add(f'({vertices})', 'text')}::polygon"
        east, north = _position(device)
        yield f"{ring} @> point({east} * {_FINE}, {north} * {_FINE})"


def _distance(near: tuple[float, float, float], device: str, arguments: _Arguments) -> str:
    """Return SQL of the haversine from the device to a place, in metres."""
    longitude, latitude = (arguments.add(_rounded(degrees), "float8") for degrees in near[:2])
    east, north = _position(device)
    return f"""
        {2 * EARTH_RADIUS} * asin(sqrt(least(1, sind(({north} - {latitude}) / 2) ^ 2
        + cosd({north}) * cosd({latitude}) * sind(({east} - {longitude}) / 2) ^ 2)))
    """


def _rounded(degrees: float) -> float:
    """Return degrees that differ from others by nothing or by more than 1e-14: PostgreSQL does not round a
    product that is too small for a float to zero, it fails."""
    return degrees + 256 - 256


def _position(device: str) -> tuple[str, str]:
    """Return SQL of a device's longitude and latitude, rounded."""
    return f"({device}.longitude + 256 - 256)", f"({device}.latitude + 256 - 256)"


def _in_box(box: tuple[float, float, float, float], device: str, arguments: _Arguments) -> str:
    west, south, east, north = (arguments.add(value, "float8") for value in box)
    either = "AND" if box[0] <= box[2] else "OR"
    return f"""
        {device}.latitude BETWEEN {south} AND {north}
        AND ({device}.longitude >= {west} {either} {device}.longitude <= {east})
    """


def box_around(longitude: float, latitude: float, radius: float) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a box around a circle, in degrees; a radius is in metres."""
    angle = radius / EARTH_RADIUS
    height = math.degrees(angle) + _MARGIN
    south, north = latitude - height, latitude + height
    if south <= -90 or north >= 90:
        # A pole is within: every meridian is.
        return -180, south, 180, north
    width = math.degrees(math.asin(min(1, math.sin(angle) / math.cos(math.radians(latitude))))) + _MARGIN
    west, east = longitude - width, longitude + width
    return (west + 360 if west < -180 else west), south, (east - 360 if east > 180 else east), north


def _meanings(text: str) -> list[str]:
    """Return the JSON values that a tag's text may mean."""
    meanings = [json.dumps(text)]
    if text in ("true", "false"):
        meanings.append(text)
    with contextlib.suppress(ValueError):
        number = float(text)
        if math.isfinite(number):
            meanings.append(json.dumps(number))
    return meanings


async def count_members(connection: Connection, selection: Selection, start: int) -> list[Members]:
    """Return who is selected, so that a query's size is known before it runs.

    Those that were installed before ``start``, Unix µs, are counted together, since ALWAYS, unless they were disabled.
    """
    selected, arguments = condition(selection, 2)
    rows = await connection.fetch(
        f"""
        SELECT kind, district, simulated, count(*) AS devices, sum(1 / interval_seconds) AS rate,
               CASE WHEN installed > $1 THEN installed END AS since, disabled_at AS until
        FROM alatau.device WHERE {selected}
        GROUP BY kind, district, simulated, since, until ORDER BY kind, district, simulated, since, until
        """,
        from_microseconds(start),
        *arguments,
    )
    return [
        Members(
            **dict(row)
            | {"since": moment_or(ALWAYS, row["since"]), "until": moment_or(FOREVER, row["until"])}
        )
        for row in rows
    ]


async def select_devices(
    connection: Connection, selection: Selection, *, after: str = "", limit: int | None = None
) -> Devices:
    """Return the selected devices in the order of their ids, beginning after one: a keyset, never an offset."""
    selected, arguments = condition(selection, 3)
    rows = await connection.fetch(
        f"""
        SELECT device_id, id, kind, district, simulated, interval_seconds, longitude, latitude, installed,
               disabled_at
        FROM alatau.device WHERE id > $1 AND {selected} ORDER BY id LIMIT $2
        """,
        after,
        limit,
        *arguments,
    )
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 10
    return Devices(
        device_id=np.array(columns[0], np.int32),
        id=np.array(columns[1], np.str_),
        kind=np.array(columns[2], np.str_),
        district=np.array(columns[3], np.str_),
        simulated=np.array(columns[4], np.bool_),
        interval_seconds=np.array(columns[5], np.float64),
        longitude=np.array(columns[6], np.float64),
        latitude=np.array(columns[7], np.float64),
        since=np.array([moment_or(ALWAYS, moment) for moment in columns[8]], np.int64),
        until=np.array([moment_or(FOREVER, moment) for moment in columns[9]], np.int64),
    )


def moment_or(default: int, moment: dt.datetime | None) -> int:
    """Return a moment in Unix µs, ``default`` where there is none."""
    return default if moment is None else to_microseconds(moment)
