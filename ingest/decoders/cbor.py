"""As much of CBOR (RFC 8949) as SenML uses, read without anything that a payload could make expensive.

Not a library: a general one computes bignums and decimals of any length, compiles patterns, and hashes whole arrays
as keys of maps; 64 KB of those hold one for a second. Here every byte is looked at once, and nesting is bounded.
"""

from __future__ import annotations

import struct
from typing import Any

_DEEPEST = 16
_DECIMAL_FRACTION, _SELF_DESCRIBED = 4, 55799
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_INDEFINITE, _BREAK = 31, 0xFF
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}


class CBORError(ValueError):
    """Bytes that are not CBOR, or of a kind that SenML does not use."""


class Other:
    """A value that SenML has no use for: of another tag, or a simple value without a meaning."""


OTHER = Other()


def loads(payload: bytes) -> Any:
    """Return the one value that bytes hold: int, float, bool, None, bytes, str, list, dict with numbers and texts
    as keys (members of other keys are left out), ``OTHER``. Raises CBORError."""
    try:
        value, end = _item(payload, 0, 0)
    except (IndexError, struct.error):
        raise CBORError("it ends too early") from None
    except UnicodeDecodeError:
        raise CBORError("a text that is not UTF-8") from None
    if end != len(payload):
        raise CBORError("bytes after its end")
    return value


def _item(data: bytes, place: int, depth: int) -> tuple[Any, int]:
    """Return the value at a place and where the next begins."""
    first = data[place]
    place += 1
    major, size = first >> 5, first & 31
    if major > _TAG:
        return _simple(data, place, size)
    number = size
    if size >= 24:
        if size == _INDEFINITE and major in (_ARRAY, _MAP):
            return _container(data, place, depth, None, is_map=major == _MAP)
        number, place = _length(data, place, size)
    if major == _UNSIGNED:
        return number, place
    if major == _NEGATIVE:
        return -1 - number, place
    if major <= _TEXT:
        end = place + number
        if end > len(data):
            raise CBORError("it ends too early")
        return (data[place:end] if major == _BYTES else data[place:end].decode()), end
    if major == _TAG:
        return _tagged(data, place, depth, number)
    return _container(data, place, depth, number, is_map=major == _MAP)


def _length(data: bytes, place: int, size: int) -> tuple[int, int]:
    """Return the number that follows the first byte, and where it ends."""
    if size > 27:
        raise CBORError("a text or bytes of indefinite length, or a length that is none")
    end = place + (1 << (size - 24))
    if end > len(data):
        raise CBORError("it ends too early")
    return int.from_bytes(data[place:end], "big"), end


def _container(data: bytes, place: int, depth: int, count: int | None, *, is_map: bool) -> tuple[Any, int]:
    """Return an array or a map; ``count`` is None where a break ends it."""
    if depth >= _DEEPEST:
        raise CBORError(f"nested deeper than {_DEEPEST}")
    # Nothing is made beforehand: a count may be of more than is there.
    array: list[Any] = []
    members: dict[int | str, Any] = {}
    left = count
    while left is None or left > 0:
        if left is not None:
            left -= 1
        elif data[place] == _BREAK:
            place += 1
            break
        value, place = _item(data, place, depth + 1)
        if is_map:
            key = value
            value, place = _item(data, place, depth + 1)
            if type(key) is int or type(key) is str:
                members[key] = value
        else:
            array.append(value)
    return (members if is_map else array), place


def _tagged(data: bytes, place: int, depth: int, tag: int) -> tuple[Any, int]:
    if depth >= _DEEPEST:
        raise CBORError(f"nested deeper than {_DEEPEST}")
    value, place = _item(data, place, depth + 1)
    if tag == _SELF_DESCRIBED:
        return value, place
    if tag == _DECIMAL_FRACTION and isinstance(value, list) and [type(part) for part in value] == [int, int]:
        # By way of a text it is rounded once, and an exponent of any size costs nothing.
        return float(f"{value[1]}e{value[0]}"), place
    return OTHER, place


def _simple(data: bytes, place: int, size: int) -> tuple[Any, int]:
    form = _FLOATS.get(size)
    if form is not None:
        return form.unpack_from(data, place)[0], place + form.size
    if size == _INDEFINITE:
        raise CBORError("a break where nothing is open")
    return _SIMPLE.get(size, OTHER), place + (size == 24)
