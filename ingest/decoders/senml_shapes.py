"""Packs of a shape that was seen before, read in one go.

A device sends the same names and units again and again. Where base fields stand in the first record alone and each
record is one number without a time of its own, all but the numbers is decided by the shape: a decoder is compiled
for it that takes nothing else, and what it reads are the values in their order. Any other pack goes record by record
through ``senml_pack``, which says the same of these.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from ingest.decoders.gathering import LONGEST_NAME, SECONDS_BELOW
from ingest.decoders.parsed import ABSENT, Incoming, Layout, Parsed, Reading
from ingest.decoders.senml_names import LONGEST_UNIT, field_of, field_or_unit, is_valid, source_of
from ingest.decoders.senml_pack import ABSOLUTE_FROM, LATEST_VERSION, Record
from ingest.decoders.senml_units import ucum

# What is remembered is bounded, also if somebody sends ever new shapes, and what is compiled for one has to be earned.
_MOST_RECORDS = 24
_LONGEST_PACK = 2048
_LONGEST_PART = LONGEST_NAME // 2
_MOST_SHAPES = 256
_MOST_COUNTED = 1024
_MOST_LEVELS = 100_000
_SEEN_BEFORE = 8


class _Key(NamedTuple):
    """What makes a shape; ``prefix`` is what of the base name belongs to the fields, ``records`` names and units."""

    prefix: str
    has_base: bool
    base_unit: str | None
    records: tuple[tuple[str | None, str | None], ...]


class Shape(msgspec.Struct, frozen=True):
    """A shape: its layout, what makes values of a pack, what of the base name belongs to the fields, and the units."""

    layout: Layout
    values_of: Callable[[Any], dict[str, float]]
    prefix: str
    units: MappingProxyType[str, str]


class Shapes:
    """The shapes seen by one process, and which each topic's device sent last."""

    def __init__(self) -> None:
        self._shapes: dict[_Key, Shape | None] = {}
        self._counts: dict[_Key, int] = {}
        self._of_level: dict[str, tuple[Shape, str, str]] = {}

    def read(self, incoming: Incoming) -> Parsed | None:
        """Return what a pack says, None if it is of another shape than its topic's last."""
        level = incoming.levels[0]
        last = self._of_level.get(level)
        if last is None:
            return None
        shape, base, device = last
        layout = shape.layout
        try:
            pack = layout.decode(incoming.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        said = pack.r0.bn
        if said != base:  # a gateway's other device
            source = _source(level, said) if said else None
            if source is None or source[1] != shape.prefix:
                return None
            device = source[0]
        time = layout.time(pack, incoming.received)
        if time is None or (incoming.is_retained and pack.r0.bt < ABSOLUTE_FROM):
            return None
        return Parsed([Reading(device, time, shape.values_of(pack), shape.units)])

    def layout(self, incoming: Incoming) -> Layout | None:
        """Return the layout of a topic's last shape."""
        last = self._of_level.get(incoming.levels[0])
        return None if last is None else last[0].layout

    def note(self, incoming: Incoming, records: Sequence[Record]) -> None:
        """Remember the shape of a pack that was read record by record."""
        level = incoming.levels[0]
        if (
            not 0 < len(records) <= _MOST_RECORDS
            or len(incoming.payload) > _LONGEST_PACK
            or not _is_plain(records)
        ):
            return
        base = records[0].bn or ""
        source = _source(level, base)
        if source is None:
            return
        names = tuple([(record.n, record.u) for record in records])
        key = _Key(source[1], bool(base), records[0].bu, names)
        if key not in self._shapes and not self._compile(key):
            return
        shape = self._shapes[key]
        if shape is not None:
            if len(self._of_level) >= _MOST_LEVELS:
                self._of_level.clear()
            self._of_level[level] = (shape, base, source[0])

    def _compile(self, key: _Key) -> bool:
        """Make the shape of a key that has come often enough; return whether it has."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count <= _SEEN_BEFORE:
            if len(self._counts) > _MOST_COUNTED:
                self._counts.clear()
            return False
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[key] = _shape(key)
        del self._counts[key]
        return True


@functools.lru_cache(maxsize=4096)
def _source(level: str, base: str) -> tuple[str, str] | None:
    """Return a plain pack's source and what of its base name belongs to the fields, None if the records decide."""
    if not base:
        return (level, "") if level else None
    if len(base) > _LONGEST_PART or not is_valid(base, ""):
        return None
    known = source_of(level, base)
    return known if known is not None and known[0] else None


def _is_plain(records: Sequence[Record]) -> bool:
    """Return whether all but the numbers is decided by names and units."""
    first, *rest = records
    return (
        first
        == Record(n=first.n, u=first.u, v=first.v, bn=first.bn, bt=first.bt, bu=first.bu, bver=first.bver)
        and (first.bver is None or first.bver <= LATEST_VERSION)
        and all(record.v is not None for record in records)
        and all(record == Record(n=record.n, u=record.u, v=record.v) for record in rest)
    )


def _shape(key: _Key) -> Shape | None:
    """Return a shape, None if a name or a unit is not plain or a field comes twice."""
    fields: dict[str, str] = {}
    for name, unit in ((name or "", unit or key.base_unit or "") for name, unit in key.records):
        # After a valid base any of the characters may come first; a URN may only be read as a whole.
        if not is_valid("x" if key.has_base else "", name) or len(name) > _LONGEST_PART:
            return None
        if (not key.has_base and "urn:".startswith(name[:4].lower())) or len(unit) > LONGEST_UNIT:
            return None
        fields[field_or_unit(field_of(key.prefix, name), unit)] = unit
    if len(fields) < len(key.records):
        return None
    units = {field: code for field, unit in fields.items() if (code := ucum(unit))}
    places = {field: f"r{place}.v" for place, field in enumerate(fields)}
    layout = Layout(_decoder(key), places, "r0.bn", _time)
    return Shape(layout, _values_of(tuple(places)), key.prefix, MappingProxyType(units))


def _values_of(fields: tuple[str, ...]) -> Callable[[Any], dict[str, float]]:
    value: Callable[[Any], Any] = operator.attrgetter(*(f"r{place}.v" for place in range(len(fields))))
    if len(fields) == 1:
        return lambda pack: {fields[0]: value(pack)}
    return lambda pack: dict(zip(fields, value(pack)))  # noqa: B905  # both as long as there are records


def _time(pack: Any, received: float) -> float | None:
    time: float = pack.r0.bt
    if time < ABSOLUTE_FROM:
        time = received + time if time else math.nan
    return None if time >= SECONDS_BELOW or time <= -SECONDS_BELOW else time


def _decoder(key: _Key) -> Callable[[bytes], Any]:
    """Return a decoder that takes a pack of these names and units, and no other."""
    structs = []
    for place, (name, unit) in enumerate(key.records):
        texts = {"n": name, "u": unit, "bu": None if place else key.base_unit}
        labels: list[Any] = [("v", float)]
        labels += [(label, Literal[text]) for label, text in texts.items() if text is not None]
        if not place:
            version = Annotated[int, msgspec.Meta(ge=1, le=LATEST_VERSION)]
            labels += [("bn", str, ""), ("bt", float, 0.0), ("bver", version, LATEST_VERSION)]
        structs.append(msgspec.defstruct("Record", labels, forbid_unknown_fields=True, gc=False))
    places = [(f"r{place}", struct) for place, struct in enumerate(structs)]
    pack = msgspec.defstruct(
        "Pack", places, namespace=ABSENT, array_like=True, forbid_unknown_fields=True, gc=False
    )
    return msgspec.json.Decoder(pack).decode
