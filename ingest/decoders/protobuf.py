"""Protocol Buffers on the wire, as far as events need it: the fields a schema names, to plain values as of their JSON.

Each byte is looked at once for each level that it lies in, and levels are bounded. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ingest.decoders.flat import DEEPEST
from sensors.times import EPOCH

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


class Field(NamedTuple):
    """A field of a message: its name in JSON, how it lies on the wire, and what makes a value of that."""

    name: str
    wire: int
    read: Callable[[Any], Any]
    is_repeated: bool = False


Fields = Mapping[int, Field]


def unsigned(name: str) -> Field:
    """Return a field of a whole number from 0 on."""
    return Field(name, _VARINT, int)


def signed(name: str) -> Field:
    """Return a field of ``int32`` or ``int64``."""
    return Field(name, _VARINT, _signed)


def boolean(name: str) -> Field:
    """Return a field that is true or false."""
    return Field(name, _VARINT, bool)


def single(name: str) -> Field:
    """Return a field of a ``float``; one that is not finite is as if it were not there."""
    return Field(name, _FIXED32, _single)


def double(name: str) -> Field:
    """Return a field of a ``double``; one that is not finite is as if it were not there."""
    return Field(name, _FIXED64, _double)


def text(name: str) -> Field:
    """Return a field of a text."""
    return Field(name, _BYTES, _text)


def binary(name: str) -> Field:
    """Return a field of bytes, in base64 as in JSON."""
    return Field(name, _BYTES, lambda content: base64.b64encode(content).decode())


def message(name: str, fields: Fields) -> Field:
    """Return a field of a message."""
    return Field(name, _BYTES, lambda content: read(content, fields))


def messages(name: str, fields: Fields) -> Field:
    """Return a field of any number of messages."""
    return Field(name, _BYTES, lambda content: read(content, fields), is_repeated=True)


def timestamp(name: str) -> Field:
    """Return a field of ``google.protobuf.Timestamp``."""
    return Field(name, _BYTES, _timestamp)


def document(name: str) -> Field:
    """Return a field of ``google.protobuf.Struct``, which is a JSON object."""
    return Field(name, _BYTES, lambda content: _object(content, DEEPEST + 1))


def read(content: bytes, fields: Fields) -> dict[str, Any]:
    """Return the fields of a message that ``fields`` names. Raises ValueError that says what is wrong."""
    values: dict[str, Any] = {}
    for number, wire, found in _fields(content):
        field = fields.get(number)
        if field is None:
            continue
        if wire != field.wire:
            raise ValueError(f"field {number} has wire type {wire} instead of {field.wire}")
        value = field.read(found)
        if value is None:
            continue
        if field.is_repeated:
            values.setdefault(field.name, []).append(value)
        else:
            values[field.name] = value
    return values


def _fields(content: bytes) -> Iterator[tuple[int, int, Any]]:
    at, end = 0, len(content)
    while at < end:
        if (tag := content[at]) < 0x80:  # as most are
            at += 1
        else:
            tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(content, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            if at < end and (size := content[at]) < 0x80:
                at += 1
            else:
                size, at = _varint(content, at)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise ValueError(f"field {number} has wire type {wire}")
        if size > end - at:
            raise ValueError(f"field {number} is cut short")
        yield number, wire, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(at, min(at + _LONGEST_VARINT, len(content))):
        byte = content[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place + 1
        shift += 7
    raise ValueError(f"no whole number at byte {at}")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _single(content: bytes) -> float | None:
    return _finite(struct.unpack("<f", content)[0])


def _double(content: bytes) -> float | None:
    return _finite(struct.unpack("<d", content)[0])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


_TIMESTAMP: Fields = {1: signed("seconds"), 2: signed("nanos")}


def _timestamp(content: bytes) -> dt.datetime | str:
    found = read(content, _TIMESTAMP)
    seconds, nanoseconds = found.get("seconds", 0), found.get("nanos", 0)
    try:
        return EPOCH + dt.timedelta(
            seconds=seconds, microseconds=round(nanoseconds / 1000)
        )  # as JSON is read
    except OverflowError:
        return f"{seconds} s"  # no time, which whoever reads on then says


def _object(content: bytes, depth: int) -> dict[str, Any]:
    # Beyond the depth it is empty, and still there, so that it counts as too deep.
    values: dict[str, Any] = {}
    for number, wire, entry in _fields(content) if depth else ():
        if number == 1 and wire == _BYTES:
            name, value = "", None
            for part, of_part, found in _fields(entry):
                if of_part == _BYTES and part == 1:
                    name = _text(found)
                elif of_part == _BYTES and part == 2:
                    value = _value(found, depth - 1)
            values[name] = value
    return values


def _value(content: bytes, depth: int) -> Any:
    value: Any = None
    for number, wire, found in _fields(content):
        if (number, wire) == (2, _FIXED64):
            value = _double(found)
        elif (number, wire) == (3, _BYTES):
            value = _text(found)
        elif (number, wire) == (4, _VARINT):
            value = bool(found)
        elif (number, wire) == (5, _BYTES):
            value = _object(found, depth)
        elif (number, wire) == (6, _BYTES):
            value = _array(found, depth)
    return value


def _array(content: bytes, depth: int) -> list[Any]:
    return [
        _value(found, depth - 1)
        for number, wire, found in (_fields(content) if depth else ())
        if (number, wire) == (1, _BYTES)
    ]
