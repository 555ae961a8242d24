"""Numbers as JSON values and as texts."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# A double of 17 digits with sign, point and exponent has 24 characters; real firmware pads with zeros at most.
LONGEST_NUMBER = 64


def number_in(text: str) -> float | None:
    """Return the number that a text is, as JSON would write it, None where it is none or beyond all doubles."""
    if len(text) > LONGEST_NUMBER or _NUMBER.fullmatch(text) is None:
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def number(value: Any) -> float | None:
    """Return the number of a JSON value: booleans as 0 and 1, texts that are numbers; None for anything else."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return _double(value)
    return number_in(value) if isinstance(value, str) else None


def shown(value: Any) -> str:
    """Return a JSON value as a refusal shows it, short."""
    if isinstance(value, str):
        return f'"{value[:60]}"'
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, float):
        return repr(value)
    return msgspec.json.encode(value).decode() if _is_short(value) else "a number beyond all doubles"


def _is_short(value: Any) -> bool:
    return value is None or abs(value) < 2**64


def _double(whole: int) -> float | None:
    try:
        return float(whole)
    except OverflowError:
        return None
