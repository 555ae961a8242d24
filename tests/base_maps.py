"""A small base map, written by hand: one vector tile of the whole world in a PMTiles archive."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Iterable, Mapping

EXTENT = 4096
# As it is written in files that are made of OpenStreetMap, and what must never run.
ATTRIBUTION = (
    '<a href="https://osm.example" onclick="x()">&copy; OpenStreetMap</a> <img src=x onerror=x()> 2026'
)
Line = list[tuple[int, int]]


def spot(longitude: float, latitude: float) -> tuple[int, int]:
    """Return where degrees are in the tile of the world."""
    y = 0.5 - math.asinh(math.tan(math.radians(latitude))) / (2 * math.pi)
    return round((longitude / 360 + 0.5) * EXTENT), round(y * EXTENT)


def layer(name: str, key: str, features: Mapping[str, Line]) -> bytes:
    """Return a layer of a vector tile: lines, or areas where they are closed, by their value of ``key``."""
    body = _bytes(1, name.encode()) + _number(15, 2) + _number(5, EXTENT) + _bytes(3, key.encode())
    for place, (value, points) in enumerate(features.items()):
        is_area = points[0] == points[-1]
        drawn = points[:-1] if is_area else points
        numbers = [9, *_moves((0, 0), drawn[:1]), (len(drawn) - 1) << 3 | 2, *_moves(drawn[0], drawn[1:])]
        geometry = b"".join(map(_varint, numbers + [15] * is_area))
        tags = _varint(0) + _varint(place)
        body += _bytes(2, _bytes(2, tags) + _number(3, 3 if is_area else 2) + _bytes(4, geometry))
        body += _bytes(4, _bytes(1, value.encode()))
    return _bytes(3, body)


def archive(layers: Mapping[str, bytes], attribution: str = ATTRIBUTION, kind: int = 1) -> bytes:
    """Return an archive with the layers in its one tile; ``kind`` 1 are vectors, 2 pictures (PNG)."""
    tile = gzip.compress(b"".join(layers.values()), mtime=0)
    directory = gzip.compress(b"".join(map(_varint, (1, 0, 1, len(tile), 1))), mtime=0)
    described = {"attribution": attribution, "vector_layers": [{"id": name, "fields": {}} for name in layers]}
    metadata = gzip.compress(json.dumps(described).encode(), mtime=0)
    sections = []
    offset = 127
    for length in (len(directory), len(metadata), 0, len(tile)):
        sections += [offset, length]
        offset += length
    corners = (round(degrees * 1e7) for degrees in (-180, -85, 180, 85))
    head = struct.pack(
        "<7sB8Q3Q6B4iB2i", b"PMTiles", 3, *sections, 1, 1, 1, 1, 2, 2, kind, 0, 0, *corners, 0, 0, 0
    )
    return head + directory + metadata + tile


def protomaps(longitude: float, latitude: float) -> bytes:
    """Return an archive of Protomaps' layers with water all over, and a road and a railway through a place."""
    x, y = spot(longitude, latitude)
    end = EXTENT
    sea = {"ocean": [(0, 0), (end, 0), (end, end), (0, end), (0, 0)]}
    ways = {"highway": [(0, y), (end, y)], "rail": [(x, 0), (x, end)]}
    return archive({"water": layer("water", "kind", sea), "roads": layer("roads", "kind", ways)})


def _moves(start: tuple[int, int], points: Iterable[tuple[int, int]]) -> list[int]:
    numbers: list[int] = []
    for point in points:
        steps = (point[0] - start[0], point[1] - start[1])
        numbers += (step << 1 if step >= 0 else (-step << 1) - 1 for step in steps)
        start = point
    return numbers


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content
