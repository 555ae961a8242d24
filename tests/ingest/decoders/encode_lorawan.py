"""Cayenne LPP, and ChirpStack's events in Protocol Buffers, written apart from their decoders."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

# Of each type: its number, and how its value is written; of three: one behind the other.
_CAYENNE: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "digital_in": (0x00, lambda value: struct.pack(">B", value)),
    "digital_out": (0x01, lambda value: struct.pack(">B", value)),
    "analog_in": (0x02, lambda value: struct.pack(">h", round(value * 100))),
    "analog_out": (0x03, lambda value: struct.pack(">h", round(value * 100))),
    "generic": (0x64, lambda value: struct.pack(">I", value)),
    "luminosity": (0x65, lambda value: struct.pack(">H", value)),
    "presence": (0x66, lambda value: struct.pack(">B", value)),
    "temperature": (0x67, lambda value: struct.pack(">h", round(value * 10))),
    "relative_humidity": (0x68, lambda value: struct.pack(">B", round(value * 2))),
    "accelerometer": (0x71, lambda value: struct.pack(">3h", *(round(axis * 1000) for axis in value))),
    "barometric_pressure": (0x73, lambda value: struct.pack(">H", round(value * 10))),
    "voltage": (0x74, lambda value: struct.pack(">H", round(value * 100))),
    "current": (0x75, lambda value: struct.pack(">H", round(value * 1000))),
    "frequency": (0x76, lambda value: struct.pack(">I", value)),
    "percentage": (0x78, lambda value: struct.pack(">B", value)),
    "altitude": (0x79, lambda value: struct.pack(">h", value)),
    "load": (0x7A, lambda value: _three(value * 1000)),
    "concentration": (0x7D, lambda value: struct.pack(">H", value)),
    "power": (0x80, lambda value: struct.pack(">H", value)),
    "distance": (0x82, lambda value: struct.pack(">I", round(value * 1000))),
    "energy": (0x83, lambda value: struct.pack(">I", round(value * 1000))),
    "direction": (0x84, lambda value: struct.pack(">H", value)),
    "unix_time": (0x85, lambda value: struct.pack(">I", value)),
    "gyrometer": (0x86, lambda value: struct.pack(">3h", *(round(axis * 100) for axis in value))),
    "colour": (0x87, bytes),
    "gps": (0x88, lambda value: _three(value[0] * 1e4) + _three(value[1] * 1e4) + _three(value[2] * 100)),
    "switch": (0x8E, lambda value: struct.pack(">B", value)),
}


def _three(value: float) -> bytes:
    return struct.pack(">i", round(value))[1:]


def cayenne(*values: tuple[int, str, Any]) -> bytes:
    """Return a frame of channels, types by their names, and values in the type's unit."""
    frame = b""
    for channel, name, value in values:
        number, write = _CAYENNE[name]
        frame += bytes([channel, number]) + write(value)
    return frame


def varint(value: int) -> bytes:
    """Return a whole number of up to 64 bits; a negative one as its two's complement."""
    value %= 1 << 64
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])


def whole(number: int, value: int) -> bytes:
    """Return a field of a whole number or a boolean."""
    return varint(number << 3) + varint(value)


def part(number: int, content: bytes) -> bytes:
    """Return a field of a text, of bytes or of a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def single(number: int, value: float) -> bytes:
    """Return a field of a ``float``."""
    return varint(number << 3 | 5) + struct.pack("<f", value)


def double(number: int, value: float) -> bytes:
    """Return a field of a ``double``."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


def document(values: Mapping[str, Any]) -> bytes:
    """Return a ``google.protobuf.Struct``."""
    return b"".join(
        part(1, part(1, name.encode()) + part(2, _value(value))) for name, value in values.items()
    )


def _value(value: Any) -> bytes:
    if value is None:
        return whole(1, 0)
    if isinstance(value, bool):
        return whole(4, value)
    if isinstance(value, int | float):
        return double(2, value)
    if isinstance(value, str):
        return part(3, value.encode())
    if isinstance(value, dict):
        return part(5, document(value))
    return part(6, b"".join(part(1, _value(one)) for one in value))


def header(source: str, seconds: int, nanoseconds: int = 0) -> bytes:
    """Return what each event of ChirpStack begins with: its id, time and device."""
    time = whole(1, seconds) + whole(2, nanoseconds)
    device = part(7, b"air-7") + part(8, source.encode())
    return part(1, b"6f1f8f0e-1f5b-4a51-9a3e-0c2b1d7e9a10") + part(2, time) + part(3, device)
