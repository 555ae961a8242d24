"""The simulated fleet: which devices a simulated city has, the same for every program that asks."""

from __future__ import annotations

import numpy as np

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec

Point = tuple[float, float]


def plan_fleet(catalogue: Catalogue, count: int, seed: int = 1) -> list[DeviceSpec]:
    """Return ``count`` simulated devices, kinds and districts in turn, each inside its district's outline.

    A larger fleet of the same seed begins with the smaller one, so that a city can grow.
    """
    kinds, districts = catalogue.kinds, catalogue.districts
    round_length = len(kinds) * len(districts)
    fleet = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        district = districts[number // len(kinds) % len(districts)]
        random = np.random.Generator(np.random.Philox(key=seed, counter=number))
        fleet.append(
            DeviceSpec(
                id=f"sim-{kind.name.replace('_', '-')}-{district.name}-{number // round_length + 1:04d}",
                kind=kind.name,
                district=district.name,
                position=_point_inside(district.outline, random),
                interval=kind.interval,
                simulated=True,
            )
        )
    return fleet


def _point_inside(outline: tuple[Point, ...], random: np.random.Generator) -> Point:
    corners = np.array(outline)
    low, high = corners.min(axis=0), corners.max(axis=0)
    for _ in range(1000):
        longitude, latitude = random.uniform(low, high)
        if contains(outline, (longitude, latitude)):
            return round(float(longitude), 6), round(float(latitude), 6)
    return outline[0]  # a sliver of a district: its first corner is as good as any point in it


def contains(outline: tuple[Point, ...], point: Point) -> bool:
    """Return whether a point lies inside a ring, by the even-odd rule."""
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in zip(outline, (*outline[1:], outline[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside
