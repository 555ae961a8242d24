"""Selecting devices on the real database, against places and distances computed in numpy in another way."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import random
from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import parse_timestamp, to_microseconds
from storage.selection import ALWAYS, EARTH_RADIUS, Selection, count_members, select_devices
from storage.series import read_series
from storage.series_query import Aggregate, GroupBy, SeriesQuery
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

Ring = tuple[tuple[float, float], ...]
WEST, SOUTH, EAST, NORTH = 76.5, 43.0, 77.5, 44.0
KINDS = ("air_quality", "noise", "weather")
DISTRICTS = ("gate", "golden", "green")


def _specs() -> list[DeviceSpec]:
    chance = random.Random(11)  # noqa: S311
    places: list[tuple[float, float] | None] = [
        (chance.uniform(WEST, EAST), chance.uniform(SOUTH, NORTH)) for _ in range(300)
    ]
    places += [(chance.uniform(-180, 180), chance.uniform(-90, 90)) for _ in range(200)]
    # Where boxes and circles are easily wrong: at the date line and at the poles.
    places += [(180.0, 0.0), (-180.0, 0.1), (179.99, -0.2), (-179.99, 0.3)]
    places += [(12.0, 89.99), (-170.0, 89.9), (100.0, -89.99), (0.0, 90.0), None, None]
    return [
        DeviceSpec(
            f"device-{number:03}",
            chance.choice(KINDS),
            chance.choice(DISTRICTS),
            place,
            simulated=chance.random() < 0.3,
            installed="2025-01-01T00:00:00Z" if number % 2 else None,
            metadata={
                "pole": float(number % 5),
                "owner": chance.choice(["city", "7"]),
                "live": number % 3 == 0,
            },
        )
        for number, place in enumerate(places)
    ]


SPECS = _specs()
PLACES = np.array([spec.position or (np.nan, np.nan) for spec in SPECS])


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, SPECS) as city:
        yield city


async def selected(city: City, selection: Selection) -> set[str]:
    devices = await select_devices(city.api, selection)
    return set(devices.id.tolist())


def ids(chosen: npt.NDArray[np.bool_]) -> set[str]:
    return {SPECS[number].id for number in np.flatnonzero(chosen).tolist()}


# -- places -----------------------------------------------------------------------------------------


def _unit(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    longitude, latitude = np.radians(places.T)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)],
        axis=-1,
    )


def chord_distance(longitude: float, latitude: float) -> npt.NDArray[np.float64]:
    """Return metres on the sphere by the straight line through it."""
    chord = np.linalg.norm(_unit(PLACES) - _unit(np.array([[longitude, latitude]])), axis=1)
    distance: npt.NDArray[np.float64] = 2 * EARTH_RADIUS * np.arcsin(np.minimum(1, chord / 2))
    return distance


def winding(ring: Ring) -> npt.NDArray[np.int64]:
    """Return how often the ring goes round each place, by the angle under which it is seen from there."""
    corners = np.array(ring)[None] - PLACES[:, None]
    following = np.roll(corners, -1, axis=1)
    cross = corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]
    turns: npt.NDArray[np.float64] = np.arctan2(cross, (corners * following).sum(axis=2)).sum(axis=1)
    return np.rint(np.nan_to_num(turns) / (2 * math.pi)).astype(np.int64)


def edge_distance(ring: Ring) -> npt.NDArray[np.float64]:
    """Return degrees from each place to the nearest edge."""
    begin = np.array(ring)
    along = np.roll(begin, -1, axis=0) - begin
    to_place = PLACES[:, None] - begin
    length = np.maximum((along**2).sum(axis=1), 1e-30)
    share = np.clip((to_place * along).sum(axis=2) / length, 0, 1)
    nearest: npt.NDArray[np.float64] = np.linalg.norm(to_place - share[..., None] * along, axis=2).min(axis=1)
    return nearest


longitudes, latitudes = st.floats(-180, 180), st.floats(-90, 90)
near_the_city = st.tuples(st.floats(WEST, EAST), st.floats(SOUTH, NORTH))
rings = st.lists(near_the_city, min_size=3, max_size=12).map(tuple)


@settings(max_examples=150)
@given(
    centre=near_the_city | st.tuples(longitudes, latitudes) | st.sampled_from([(180.0, 0.0), (0.0, 89.95)]),
    radius=st.floats(0, 100_000) | st.floats(0, 20_000_000),
)
async def test_near_is_within_the_distance_on_the_sphere(
    city: City, centre: tuple[float, float], radius: float
) -> None:
    distance = chord_distance(*centre)
    # Rounding may decide within a metre.
    sure = ids(np.abs(distance - radius) > 1)
    found = await selected(city, Selection(near=(*centre, radius)))
    assert found & sure == ids(distance <= radius) & sure
    assert found <= ids(~np.isnan(distance))


@settings(max_examples=150)
@given(ring=rings)
async def test_a_polygon_holds_what_its_ring_winds_round(city: City, ring: Ring) -> None:
    # Rounding may decide within a millimetre.
    sure = ids(edge_distance(ring) > 1e-8)
    found = await selected(city, Selection(polygon=ring))
    assert found & sure == ids(winding(ring) != 0) & sure


@settings(max_examples=100)
@given(size=st.sampled_from([0.001, 0.1, 1.0]), centre=st.sampled_from(SPECS[:300]), turn=st.floats(0, 6.3))
async def test_a_polygon_is_exact_however_small(
    city: City, size: float, centre: DeviceSpec, turn: float
) -> None:
    """A pentagon of some metres or kilometres, near whose edges there are devices."""
    assert centre.position is not None
    x, y = centre.position
    angles = [turn + number * 2 * math.pi / 5 for number in range(5)]
    # The device is on one side or the other of an edge, at a hundredth of the size.
    for shift in (0.8, 0.82):
        ring = tuple((x + size * (shift + math.cos(angle)), y + size * math.sin(angle)) for angle in angles)
        sure = ids(edge_distance(ring) > 1e-8)
        assert await selected(city, Selection(polygon=ring)) & sure == ids(winding(ring) != 0) & sure


@settings(max_examples=50)
@given(
    rays=st.lists(
        st.tuples(st.floats(0, 2 * math.pi), st.floats(0.05, 0.45)), min_size=3, max_size=500, unique=True
    )
)
async def test_a_ring_that_does_not_cross_itself_holds_its_inside_by_the_even_odd_rule(
    city: City, rays: list[tuple[float, float]]
) -> None:
    ring = tuple((77 + r * math.cos(angle), 43.5 + r * math.sin(angle)) for angle, r in sorted(rays))
    (x, y), edges = PLACES.T[:, :, None], np.array(ring)
    (x1, y1), (x2, y2) = edges.T, np.roll(edges, -1, axis=0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    gaps = np.diff(sorted(angle for angle, _ in rays), append=min(rays)[0] + 2 * math.pi)
    # Seen from the centre, the ring goes round once and only forward.
    if gaps.min() > 1e-6 and gaps.max() < math.pi:
        sure = ids(edge_distance(ring) > 1e-8)
        found = await selected(city, Selection(polygon=ring))
        assert found & sure == ids(crossed.sum(axis=1) % 2 == 1) & sure


@given(west=longitudes, east=longitudes, south=latitudes, north=latitudes)
async def test_a_box_may_cross_the_date_line(
    city: City, west: float, east: float, south: float, north: float
) -> None:
    longitude, latitude = PLACES.T
    across = (longitude >= west) | (longitude <= east)
    within = across if west > east else (longitude >= west) & (longitude <= east)
    found = await selected(city, Selection(bbox=(west, south, east, north)))
    assert found == ids(within & (latitude >= south) & (latitude <= north))


# -- names, tags, and all together ------------------------------------------------------------------


def _means(text: str, value: str | float | bool) -> bool:
    if isinstance(value, bool):
        return text == str(value).lower()
    return value == text if isinstance(value, str) else text in (f"{value:g}", f"{value}")


tags = st.sampled_from(
    [
        *(("pole", "3"), ("pole", "3.0"), ("pole", "x"), ("owner", "city"), ("owner", "7"), ("owner", "7.0")),
        *(("live", "true"), ("live", "false"), ("none", "1")),
    ]
)


@given(
    kinds=st.sets(st.sampled_from(KINDS), max_size=2),
    districts=st.sets(st.sampled_from(DISTRICTS), max_size=2),
    devices=st.just(set()) | st.sets(st.sampled_from([spec.id for spec in SPECS]), min_size=1, max_size=200),
    simulated=st.sampled_from([None, True, False]),
    tags=st.sets(tags, max_size=2),
    in_the_city=st.booleans(),
)
async def test_everything_that_is_asked_must_hold(
    city: City,
    kinds: set[str],
    districts: set[str],
    devices: set[str],
    simulated: bool | None,
    tags: set[tuple[str, str]],
    in_the_city: bool,
) -> None:
    box = (WEST, SOUTH, EAST, NORTH) if in_the_city else None
    selection = Selection(
        tuple(kinds), tuple(districts), tuple(devices), simulated, bbox=box, tags=tuple(tags)
    )
    expected = {
        spec.id
        for spec in SPECS
        if (not kinds or spec.kind in kinds)
        and (not districts or spec.district in districts)
        and (not devices or spec.id in devices)
        and simulated in (None, spec.simulated)
        and all(name in spec.metadata and _means(value, spec.metadata[name]) for name, value in tags)
        and (
            box is None
            or (spec.position and WEST <= spec.position[0] <= EAST and SOUTH <= spec.position[1] <= NORTH)
        )
    }
    assert await selected(city, selection) == expected
    assert sum(one.devices for one in await count_members(city.api, selection, 0)) == len(expected)


async def test_devices_are_columns_in_the_order_of_their_ids_page_by_page(city: City) -> None:
    pages, after = [], ""
    while len(page := await select_devices(city.api, Selection(), after=after, limit=200)):
        pages.append(page)
        after = str(page.id[-1])
    assert [len(page) for page in pages] == [200, 200, 110]
    first = pages[0]
    assert first.id.tolist() == [spec.id for spec in SPECS[:200]]
    assert first.device_id.tolist() == [city.number[spec.id] for spec in SPECS[:200]]
    assert first.since[:2].tolist() == [ALWAYS, parse_timestamp("2025-01-01T00:00:00Z")]
    assert np.isnan(pages[-1].longitude[-2:]).all()
    assert (first.longitude[0], first.latitude[0]) == SPECS[0].position
    assert {
        field.name for field in dataclasses.fields(first) if len(getattr(first, field.name)) != 200
    } == set()


async def test_nobody_is_no_device_with_every_column(city: City) -> None:
    nobody = await select_devices(city.api, Selection(devices=("nobody",)))
    assert len(nobody) == 0
    assert nobody.interval_seconds.dtype == np.float64


async def test_a_series_is_of_the_devices_of_a_place(city: City) -> None:
    inside = next(spec for spec in SPECS if spec.kind == "noise" and spec.position)
    outside = next(
        spec for spec in SPECS if spec.kind == "noise" and spec.position and spec.district != inside.district
    )
    moment = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
    time = to_microseconds(moment)
    await city.write("noise", [(inside.id, moment, {"laeq": 50.0}), (outside.id, moment, {"laeq": 70.0})])
    assert inside.position is not None
    query = SeriesQuery(
        metrics=("laeq",),
        aggregates=frozenset({Aggregate.MAX}),
        start=time,
        end=time + 1_000_000,
        boundaries=[time, time + 1_000_000],
        group_by=GroupBy.DISTRICT,
        kinds=(city.catalogue.kind_of["noise"],),
        selection=Selection(near=(*inside.position, 1.0), tags=(("pole", str(inside.metadata["pole"])),)),
    )
    (series,) = await read_series(city.api, query)
    assert (series.group, series.values[Aggregate.MAX].tolist()) == (inside.district, [50.0])
