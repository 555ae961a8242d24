"""Which devices a request is about: names, places and tags as parameters."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, Field, with_config
from typing_extensions import TypedDict

from api.members import ANSWER
from api.parameters import require_known, split_list
from api.problems import ProblemError, invalid_parameter
from sensors.catalogue import Catalogue
from storage.selection import Selection

_MOST_VERTICES = 500
_MOST_TAGS = 20
_FARTHEST = 20_000_000.0  # metres: half round the Earth


class PlaceParameters(BaseModel):
    """Where devices are, and what their metadata says. All that is given must hold."""

    bbox: str | None = Field(
        None, description="west,south,east,north in degrees.", examples=["76.9,43.4,77.1,43.6"]
    )
    near: str | None = Field(
        None, description="longitude,latitude,radius: degrees and metres.", examples=["77.0,43.48,500"]
    )
    polygon: str | None = Field(
        None,
        description="A ring: longitude,latitude of 3 to 500 vertices with spaces between.",
        examples=["76.9,43.4 77.1,43.4 77.0,43.6"],
    )
    tag: list[str] = Field(
        [], description="name:value of the devices' metadata, repeated; not a list with commas."
    )


class SelectionParameters(PlaceParameters):
    """Which devices. All that is given must hold; lists are repeated or separated by commas."""

    kind: list[str] = []
    district: list[str] = []
    device: list[str] = []
    simulated: bool | None = None


@with_config(ANSWER)
class Places(TypedDict):
    """Where devices are, and what their metadata says, as the parameters are written."""

    bbox: Annotated[str | None, Field(description="Null for everywhere.", examples=[None])]
    near: Annotated[str | None, Field(description="Null for everywhere.", examples=["77.0,43.48,500.0"])]
    polygon: Annotated[str | None, Field(description="Null for everywhere.", examples=[None])]
    tag: Annotated[list[str], Field(description="Empty for all.", examples=[["pole:7"]])]


def understand_selection(parameters: SelectionParameters, catalogue: Catalogue) -> Selection:
    """Return what the parameters select; a problem says which of them is not valid.

    Whether the devices are there is asked of the database: ``require_devices``.
    """
    kinds, districts = split_list(parameters.kind), split_list(parameters.district)
    require_known("kind", kinds, catalogue.kind_of)
    require_known("district", districts, catalogue.district_of)
    return dataclasses.replace(
        understand_places(parameters),
        kinds=kinds,
        districts=districts,
        devices=split_list(parameters.device),
        simulated=parameters.simulated,
    )


def understand_places(parameters: PlaceParameters) -> Selection:
    """Return all devices with the places and tags; a problem says which of them is not valid."""
    return Selection(
        bbox=None if parameters.bbox is None else _bbox(parameters.bbox),
        near=None if parameters.near is None else _near(parameters.near),
        polygon=() if parameters.polygon is None else _polygon(parameters.polygon),
        tags=_tags(parameters.tag),
    )


def write_places(selection: Selection) -> Places:
    """Return the places and tags of a selection as the parameters that ``understand_places`` takes."""
    return {
        "bbox": None if selection.bbox is None else _written(selection.bbox),
        "near": None if selection.near is None else _written(selection.near),
        "polygon": " ".join(map(_written, selection.polygon)) or None,
        "tag": [f"{name}:{value}" for name, value in selection.tags],
    }


def _written(numbers: Iterable[float]) -> str:
    return ",".join(map(str, numbers))


def _bbox(text: str) -> tuple[float, float, float, float]:
    example = "write west,south,east,north such as 76.9,43.4,77.1,43.6"
    west, south, east, north = _numbers("bbox", text, 4, example)
    _require_place("bbox", west, south)
    _require_place("bbox", east, north)
    if south > north:
        raise invalid_parameter("bbox", f"south, {south:g}, is above north, {north:g}; {example}")
    return west, south, east, north


def _near(text: str) -> tuple[float, float, float]:
    longitude, latitude, radius = _numbers(
        "near", text, 3, "write longitude,latitude,metres such as 77.0,43.48,500"
    )
    _require_place("near", longitude, latitude)
    if not 0 <= radius <= _FARTHEST:
        raise invalid_parameter("near", f"the radius {radius:g} is not 0 to {_FARTHEST:.0f} metres")
    return longitude, latitude, radius


def _polygon(text: str) -> tuple[tuple[float, float], ...]:
    example = "write longitude,latitude with spaces between, such as 76.9,43.4 77.1,43.4 77.0,43.6"
    ring = []
    for vertex in re.split(r"[\s;]+", text.strip()):
        longitude, latitude = _numbers("polygon", vertex, 2, example)
        _require_place("polygon", longitude, latitude)
        ring.append((longitude, latitude))
    if ring[0] == ring[-1]:
        ring.pop()  # closed, as GeoJSON's are
    if not 3 <= len(ring) <= _MOST_VERTICES:
        raise invalid_parameter(
            "polygon", f"{len(ring)} vertices are not 3 to {_MOST_VERTICES}; simplify it, or {example}"
        )
    return tuple(ring)


def _tags(given: list[str]) -> tuple[tuple[str, str], ...]:
    tags = []
    for tag in given:
        name, colon, value = tag.partition(":")
        # The database's text holds every character but NUL.
        if not name or not colon or "\0" in tag:
            raise invalid_parameter("tag", f'"{tag[:80]}" is not name:value, such as tag=pole:7')
        tags.append((name, value))
    if len(tags) > _MOST_TAGS:
        raise invalid_parameter("tag", f"{len(tags)} tags are more than {_MOST_TAGS}; name fewer")
    return tuple(tags)


def _numbers(name: str, text: str, count: int, example: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise _not_numbers(name, text, count, example) from None
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise _not_numbers(name, text, count, example)
    return numbers


def _not_numbers(name: str, text: str, count: int, example: str) -> ProblemError:
    return invalid_parameter(name, f'"{text[:80]}" is not {count} numbers with commas between; {example}')


def _require_place(name: str, longitude: float, latitude: float) -> None:
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        raise invalid_parameter(
            name, f"{longitude:g},{latitude:g} is not longitude,latitude in degrees; longitude comes first"
        )
