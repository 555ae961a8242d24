"""What a codec made of a payload, nested as it likes, to fields and numbers."""

from __future__ import annotations

import itertools
from typing import Any

# Real codecs stay far below; without bounds, long names above many values would grow a message a thousandfold.
MOST_FIELDS = 1_000
LONGEST_NAME = 200
DEEPEST = 16
BOUNDS = f"at most {MOST_FIELDS:,} numbers, {DEEPEST} levels, names of {LONGEST_NAME} characters"

_BEYOND_DOUBLES = 1e308


def flatten(
    document: dict[str, Any] | list[Any], into: dict[str, float], prefix: str = "", depth: int = DEEPEST
) -> bool:
    """Add the numbers of a decoded JSON document to ``into``, and return whether they were within the bounds.

    Names are joined by dots, places in arrays are names as well. Booleans count as 0 and 1; anything else, texts of
    digits included, is left out.
    """
    is_whole = True
    items = (
        document.items()
        if isinstance(document, dict)
        else zip(map(str, itertools.count()), document, strict=False)
    )
    for name, value in items:
        kind = type(value)
        if kind is float:
            number = value
        elif kind is bool or (kind is int and -_BEYOND_DOUBLES < value < _BEYOND_DOUBLES):
            number = float(value)
        elif kind is dict or kind is list:
            is_whole &= depth > 0 and flatten(value, into, f"{prefix}{name}.", depth - 1)
            continue
        else:
            continue
        path = prefix + name
        if len(path) > LONGEST_NAME or len(into) >= MOST_FIELDS:
            is_whole = False
        else:
            into[path] = number
    return is_whole
