"""Sparkplug B payloads, written as the protobuf encoding says and apart from the decoder."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FIELDS = {
    "int_value": 10,
    "long_value": 11,
    "float_value": 12,
    "double_value": 13,
    "boolean_value": 14,
    "string_value": 15,
    "bytes_value": 16,
    "dataset_value": 17,
    "template_value": 18,
}


def varint(value: int) -> bytes:
    """Return a whole number; a negative one takes ten bytes, as protobuf has it."""
    value %= 2**64
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def number(field: int, value: int) -> bytes:
    """Return a field of a whole number."""
    return varint(field << 3) + varint(value)


def block(field: int, value: bytes | str) -> bytes:
    """Return a field of bytes, a text or a message."""
    content = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(content)) + content


def metric(
    name: str | None = None,
    *,
    alias: int | None = None,
    ts: int | None = None,
    datatype: int | None = None,
    flags: Sequence[int] = (),
    properties: Mapping[str, int | str] | None = None,
    **values: float | str | bytes,
) -> bytes:
    """Return a metric; ``flags`` are 5 historical, 6 transient, 7 null; ``values`` by the field's name."""
    parts = [] if name is None else [block(1, name)]
    parts += [
        number(field, value) for field, value in ((2, alias), (3, ts), (4, datatype)) if value is not None
    ]
    parts += [number(flag, 1) for flag in flags]
    if properties is not None:
        keys = b"".join(block(1, key) for key in properties)
        parts.append(block(9, keys + b"".join(block(2, _property(one)) for one in properties.values())))
    return b"".join(parts + [_value(FIELDS[field], value) for field, value in values.items()])


def payload(*metrics: bytes, ts: int | None = None, seq: int | None = None, uuid: str | None = None) -> bytes:
    """Return a payload of metrics."""
    return (
        (b"" if ts is None else number(1, ts))
        + b"".join(block(2, one) for one in metrics)
        + (b"" if seq is None else number(3, seq))
        + (b"" if uuid is None else block(4, uuid))
    )


def _property(value: int | str) -> bytes:
    return number(1, 12) + block(8, value) if isinstance(value, str) else number(1, 3) + number(3, value)


def _value(field: int, value: float | str | bytes) -> bytes:
    if isinstance(value, str | bytes):
        return block(field, value)
    if field == FIELDS["float_value"]:
        return varint(field << 3 | 5) + struct.pack("<f", value)
    if field == FIELDS["double_value"]:
        return varint(field << 3 | 1) + struct.pack("<d", value)
    return number(field, int(value))
