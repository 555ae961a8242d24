"""What a PMTiles archive (version 3) says of itself: whether the dashboard can draw a map of it, and how.

Layout: https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md. Only its head and its metadata are read.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import html.parser
import json
import os
import pathlib
import re
import struct
import zlib
from typing import BinaryIO

from sensors.errors import AlatauError

# Magic and version; offset and length of root, metadata, leaves and tiles; three counts; clustered, compression of
# directories, of tiles, their type, zooms; west, south, east, north in 1e-7 degrees; the centre.
_HEAD = struct.Struct("<7sB8Q3Q6B4i")
_VECTOR, _GZIP = 1, 2
_COMPRESSIONS = {0: "unknown", 1: "none", 2: "gzip", 3: "brotli", 4: "zstd"}
_READABLE = {"none", "gzip"}  # by the program in the browser
_WORLD = (-180.0, -85.0511, 180.0, 85.0511)
_MOST_METADATA = 4 << 20  # bytes, packed or not
_MOST_ATTRIBUTION = 300  # characters
_REMEDY = "set ALATAU_MAP_TILES to a vector base map as PMTiles 3, of Protomaps' or OpenMapTiles' layers"


class Schema(enum.StrEnum):
    """How the layers of a base map are called; the page has a style for each."""

    PROTOMAPS = "protomaps"
    OPENMAPTILES = "openmaptiles"


_KNOWN_BY = {Schema.PROTOMAPS: "roads", Schema.OPENMAPTILES: "transportation"}


class ArchiveError(AlatauError):
    """A file is no base map that can be drawn; ``message`` says why, ``remedy`` what to do."""

    def __init__(self, path: pathlib.Path, message: str, remedy: str = _REMEDY) -> None:
        self.message = f"{path}: {message}"
        self.remedy = remedy
        super().__init__(f"{self.message}; {remedy}")


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """A base map; ``bounds`` are west, south, east and north in degrees, ``version`` changes with the file."""

    path: pathlib.Path
    size: int  # bytes
    version: str
    schema: Schema
    attribution: str  # plain text
    zooms: tuple[int, int]
    bounds: tuple[float, float, float, float]

    def read(self, first: int, last: int) -> bytes:
        """Return the bytes from ``first`` up to and with ``last``. Raises OSError."""
        with self.path.open("rb") as file:
            file.seek(first)
            return file.read(last - first + 1)


def open_archive(path: pathlib.Path) -> Archive:
    """Return what a file says of itself; read again when it has changed. Raises ArchiveError."""
    try:
        found = path.stat()
        return _open(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise ArchiveError(path, f"can't be read: {error.strerror}", "correct ALATAU_MAP_TILES") from None


@functools.lru_cache(maxsize=1)
def _open(path: pathlib.Path, size: int, changed: int) -> Archive:
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[:8] != b"PMTiles\x03":
            raise ArchiveError(path, "is not a PMTiles archive of version 3")
        _, _, *numbers = _HEAD.unpack(head)
        sections = list(zip(numbers[0:8:2], numbers[1:8:2], strict=True))
        if any(offset + length > size for offset, length in sections):
            raise ArchiveError(path, f"is cut off at {size} bytes", "copy it anew")
        _, packing, of_tiles, kind, *zooms = numbers[11:17]
        if kind != _VECTOR:
            raise ArchiveError(path, "has pictures in it, not vector tiles (MVT)")
        for code in (packing, of_tiles):
            if (name := _COMPRESSIONS.get(code, str(code))) not in _READABLE:
                raise ArchiveError(path, f"is compressed by {name}, which browsers can't read; use gzip")
        layers, attribution = _read_metadata(path, file, *sections[1], packing)
    west, south, east, north = (degrees / 1e7 for degrees in numbers[17:21])
    return Archive(
        path,
        size,
        hashlib.blake2b(b"%d %d " % (size, changed) + head, digest_size=8).hexdigest(),
        _schema_of(path, layers),
        attribution,
        (zooms[0], zooms[1]),
        (west, south, east, north) if west < east and south < north else _WORLD,
    )


def _read_metadata(
    path: pathlib.Path, file: BinaryIO, offset: int, length: int, packing: int
) -> tuple[set[str], str]:
    """Return the names of the layers, and whose data they are."""
    if length > _MOST_METADATA:
        raise ArchiveError(path, f"has {length} bytes of metadata, more than {_MOST_METADATA}")
    file.seek(offset, os.SEEK_SET)
    content = file.read(length)
    try:
        if packing == _GZIP:
            content = zlib.decompressobj(wbits=31).decompress(content, _MOST_METADATA)
        metadata = json.loads(content)
        layers = {str(one["id"]) for one in metadata["vector_layers"]}
        return layers, _plain(str(metadata.get("attribution") or ""))
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArchiveError(path, "has no metadata that name its layers (vector_layers)") from None


def _schema_of(path: pathlib.Path, layers: set[str]) -> Schema:
    for schema, layer in _KNOWN_BY.items():
        if layer in layers:
            return schema
    found = ", ".join(sorted(layers)[:8]) or "none"
    raise ArchiveError(path, f"has neither Protomaps' nor OpenMapTiles' layers (it has: {found})"[:500])


class _Text(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _plain(markup: str) -> str:
    """Return the words of an attribution, which is written as HTML by custom."""
    text = _Text()
    text.feed(markup[: 20 * _MOST_ATTRIBUTION])
    text.close()
    return re.sub(r"\s+", " ", "".join(text.parts)).strip()[:_MOST_ATTRIBUTION]
