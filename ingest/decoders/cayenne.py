"""Cayenne LPP: frames of a channel, a type and big-endian values, as LoRaWAN sensors send them to save air time.

A type is the number of its IPSO object less 3200; sizes and steps are those of the Arduino library's list. Fields are
called as The Things Stack calls them: type and channel (``temperature_1``), axes behind a dot (``gps_3.latitude``).
"""

from __future__ import annotations

from typing import NamedTuple


class NotCayenneError(ValueError):
    """These bytes are not Cayenne LPP from their first to their last."""


class _Part(NamedTuple):
    """One number: its name behind the channel's, its size in bytes, and how many steps make one ``unit`` (UCUM)."""

    name: str
    size: int
    steps: int = 1
    unit: str = ""
    is_signed: bool = False


class _Type(NamedTuple):
    name: str
    parts: tuple[_Part, ...]


def _one(name: str, size: int, steps: int = 1, unit: str = "") -> _Type:
    return _Type(name, (_Part("", size, steps, unit),))


def _one_signed(name: str, size: int, steps: int, unit: str = "") -> _Type:
    return _Type(name, (_Part("", size, steps, unit, is_signed=True),))


def _axes(name: str, steps: int, unit: str) -> _Type:
    return _Type(name, tuple(_Part(f".{axis}", 2, steps, unit, is_signed=True) for axis in "xyz"))


_TYPES = {
    0: _one("digital_in", 1),
    1: _one("digital_out", 1),
    2: _one_signed("analog_in", 2, 100),
    3: _one_signed("analog_out", 2, 100),
    100: _one("generic", 4),
    101: _one("luminosity", 2, 1, "lx"),
    102: _one("presence", 1),
    103: _one_signed("temperature", 2, 10, "Cel"),
    104: _one("relative_humidity", 1, 2, "%"),
    113: _axes("accelerometer", 1000, "[g]"),
    115: _one("barometric_pressure", 2, 10, "hPa"),
    116: _one("voltage", 2, 100, "V"),
    117: _one("current", 2, 1000, "A"),
    118: _one("frequency", 4, 1, "Hz"),
    120: _one("percentage", 1, 1, "%"),
    121: _one_signed("altitude", 2, 1, "m"),
    122: _one_signed("load", 3, 1000, "kg"),
    125: _one("concentration", 2, 1, "[ppm]"),
    128: _one("power", 2, 1, "W"),
    130: _one("distance", 4, 1000, "m"),
    131: _one("energy", 4, 1000, "kW.h"),
    132: _one("direction", 2, 1, "deg"),
    133: _one("unix_time", 4, 1, "s"),
    134: _axes("gyrometer", 100, "deg/s"),
    135: _Type("colour", tuple(_Part(f".{name}", 1) for name in ("red", "green", "blue"))),
    136: _Type(
        "gps",
        (
            _Part(".latitude", 3, 10_000, "deg", is_signed=True),
            _Part(".longitude", 3, 10_000, "deg", is_signed=True),
            _Part(".altitude", 3, 100, "m", is_signed=True),
        ),
    ),
    142: _one("switch", 1),
}
_POLYLINE = 240


def decode(frame: bytes) -> tuple[dict[str, float], dict[str, str]]:
    """Return the fields of a frame, and the units (UCUM) of those that have one.

    Raises NotCayenneError unless every byte belongs to a value of a known type, and no channel says one twice: bytes
    of another making would seldom do both.
    """
    values: dict[str, float] = {}
    units: dict[str, str] = {}
    at = 0
    while at < len(frame):
        kind = _type_at(frame, at)
        field = f"{kind.name}_{frame[at]}"
        at += 2
        for part in kind.parts:
            name = field + part.name
            content = frame[at : at + part.size]
            if len(content) < part.size:
                raise NotCayenneError(f"{name} cut short at byte {at}")
            if name in values:
                raise NotCayenneError(f"{name} a second time at byte {at}")
            values[name] = int.from_bytes(content, "big", signed=part.is_signed) / part.steps
            if part.unit:
                units[name] = part.unit
            at += part.size
    return values, units


def _type_at(frame: bytes, at: int) -> _Type:
    if at + 1 >= len(frame):
        raise NotCayenneError(f"a channel without a type at byte {at}")
    number = frame[at + 1]
    if number == _POLYLINE:
        raise NotCayenneError(f"a polyline at byte {at}, which is not read")
    if (kind := _TYPES.get(number)) is None:
        raise NotCayenneError(f"unknown type {number} at byte {at + 1}")
    return kind
