"""Native payloads to rows. The common case is one compiled decoder a kind; the rest is taken apart with care.

Shapes: a flat object of metrics; one with ``ts``; one with ``ts`` and ``values``; an array of any of these.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec

from ingest.decoders.gathering import Steps, as_double, pointer, shown
from sensors.checks import Reason
from sensors.errors import did_you_mean, nearest
from sensors.kinds import Kind
from sensors.times import SECOND, parse_timestamp

# A row: the reading's own time (Unix s, ms, µs or ns; NaN where it has none), then the kind's metrics.
Row = tuple[float, ...]

_NAN = math.nan
# Year 5107: still read as seconds, and outside any window.
FAR_AWAY = 9.9e10
_META = ("ts", "seq", "oldest")
# The numbers that every JSON library tells apart: 1 to 2^53 - 1.
LARGEST_NUMBER = 2**53 - 1
_Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_NUMBER)]
MOST_READINGS = 10_000
_SHOWN = 40  # bytes of a payload that is none
_VALID_NUMBER = f"a whole number from 1 to {LARGEST_NUMBER}"
VALID_TIME = "Unix seconds, milliseconds or 2026-01-01T00:00:00Z"
# How many faults of one message are told with what would be right.
EXPLAINED_FAULTS = 5


class Explanation(NamedTuple):
    """What was wrong: in a sentence, and for programs.

    ``path`` is where in the payload, as a JSON Pointer (empty: all of it; None: not in the payload), or what finds
    that once it is wanted; ``found`` what is there, short, ``valid`` what would be right there.
    """

    detail: str
    path: str | Callable[[], str | None] | None = None
    found: str | None = None
    valid: str | None = None

    @property
    def place(self) -> str | None:
        """The path, found if it has to be."""
        return self.path() if callable(self.path) else self.path


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with a message, and what would be right: a text or more, or what makes it once it is wanted."""

    reason: Reason
    explanation: str | Explanation | Callable[[], str | Explanation]

    @property
    def explained(self) -> Explanation:
        """Return all that is known; most refused messages of a flood need none of it."""
        known = self.explanation() if callable(self.explanation) else self.explanation
        return Explanation(known) if isinstance(known, str) else known

    @property
    def detail(self) -> str:
        """Return the sentence."""
        return self.explained.detail

    def members(self) -> dict[str, str | None]:
        """Return it as programs are told."""
        known = self.explained
        return {
            "reason": self.reason.value,
            "detail": known.detail,
            "path": known.place,
            "found": known.found,
            "valid": known.valid,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Numbered:
    """The number of one reading and what its device calls its oldest; ``row`` is its place among the rows of
    its message, None where it has none, because what is refused is kept too."""

    number: int
    oldest: int | None
    row: int | None


@dataclasses.dataclass(slots=True)
class Decoded:
    """The rows of one message, the numbers of its readings, and what was wrong with the rest of it."""

    rows: list[Row]
    faults: list[Fault]
    numbered: list[Numbered] = dataclasses.field(default_factory=list)

    def refuse(self, reason: Reason, at: Steps, detail: str, found: str, valid: str) -> None:
        """Note what is wrong with a place of the payload."""
        self.faults.append(Fault(reason, Explanation(_where(at) + detail, pointer(at), found, valid)))


def compile_decoder(kind: Kind) -> Callable[[bytes], Any]:
    """Return a decoder of the flat shapes to a struct with ``ts``, the kind's metrics, ``seq`` and ``oldest``,
    in this order.

    Raises msgspec's errors for anything else; ``take_apart`` then says what it was.
    """
    # Fields are numbered, because a metric may well be called what Python reserves.
    names = {f"metric_{number}": name for number, name in enumerate(kind.columns)}
    metrics: list[tuple[str, Any, Any]] = [(field, float | bool | None, _NAN) for field in names]
    shape = msgspec.defstruct(
        "Flat",
        [
            ("ts", float | str | None, _NAN),
            *metrics,
            ("seq", _Number | None, None),
            ("oldest", _Number | None, None),
        ],
        rename=names,
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(shape).decode


def take_apart(payload: bytes, kind: Kind) -> Decoded:
    """Decode a payload of any native shape, keeping what is good and naming what is not."""
    decoded = Decoded([], [])
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        explain = functools.partial(_no_json, payload, str(error), kind)
        decoded.faults.append(Fault(Reason.UNDECODABLE, explain))
        return decoded
    readings = document if isinstance(document, list) else [document]
    if len(readings) > MOST_READINGS:
        for reading in readings:
            _number_of(reading, None, decoded, ())
        found, valid = f"{len(readings)} readings", f"at most {MOST_READINGS}"
        decoded.refuse(Reason.TOO_LARGE, (), f"{found} in one message; send {valid}", found, valid)
        return decoded
    if not readings:
        detail = f"an empty array; send {example(kind)}"
        decoded.refuse(Reason.NO_METRICS, (), detail, "an empty array", example(kind))
    for number, reading in enumerate(readings):
        at: Steps = (number,) if isinstance(document, list) else ()
        if len(readings) > 1 and isinstance(reading, dict) and reading.get("ts") is None:
            # They would all have the time of arrival, and only the first of them would be kept.
            detail = 'no "ts"; in an array each reading needs a time of its own'
            decoded.refuse(Reason.TIME_UNREADABLE, (*at, "ts"), detail, "nothing", VALID_TIME)
            _number_of(reading, None, decoded, at)
            continue
        row = len(decoded.rows)
        _take_reading(reading, kind, decoded, at)
        _number_of(reading, row if len(decoded.rows) > row else None, decoded, at)
    return decoded


def _number_of(reading: Any, row: int | None, decoded: Decoded, at: Steps) -> None:
    """Take the number of a reading, and say what is wrong with it or its ``oldest``."""
    if not isinstance(reading, dict):
        return
    number, oldest = reading.get("seq"), reading.get("oldest")
    if number is None:
        if oldest is not None:
            detail = 'an "oldest" without "seq"; send the number of the reading beside it'
            decoded.refuse(Reason.BAD_SEQUENCE, (*at, "seq"), detail, "nothing", _VALID_NUMBER)
        return
    if (whole := _whole_number(number)) is None:
        _bad_number("seq", number, decoded, at)
        return
    lowest = None if oldest is None else _whole_number(oldest)
    decoded.numbered.append(Numbered(whole, lowest if lowest and lowest <= whole else None, row))
    if oldest is not None and lowest is None:
        _bad_number("oldest", oldest, decoded, at)
    elif lowest is not None and lowest > whole:
        detail = (
            f'"oldest" {lowest} is above "seq" {whole}; send the lowest number that the device still keeps'
        )
        decoded.refuse(Reason.BAD_SEQUENCE, (*at, "oldest"), detail, str(lowest), f"at most {whole}")


def _whole_number(value: Any) -> int | None:
    # JSON knows no integers: 7.0 and 7e0 are the whole number 7.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 1 <= value <= LARGEST_NUMBER else None


def _bad_number(name: str, value: Any, decoded: Decoded, at: Steps) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    what = shown(value) if is_number else f"a JSON {_json_type(value)}"
    detail = f'"{name}" is {what}; send {_VALID_NUMBER}'
    decoded.refuse(Reason.BAD_SEQUENCE, (*at, name), detail, shown(value), _VALID_NUMBER)


def _take_reading(reading: Any, kind: Kind, decoded: Decoded, at: Steps) -> None:
    if not isinstance(reading, dict):
        detail = f"a JSON {_json_type(reading)} is no reading; send {example(kind)}"
        decoded.refuse(Reason.UNDECODABLE, at, detail, shown(reading), example(kind))
        return
    try:
        time = _time_of(reading.get("ts"))
    except ValueError as error:
        decoded.refuse(Reason.TIME_UNREADABLE, (*at, "ts"), str(error), shown(reading["ts"]), VALID_TIME)
        return
    nested = reading.get("values")
    if "values" in reading and not isinstance(nested, dict):
        detail = f'"values" is a {_json_type(nested)}; send an object of metrics'
        decoded.refuse(Reason.WRONG_TYPE, (*at, "values"), detail, shown(nested), "an object of metrics")
        return
    values = [_NAN] * len(kind.columns)
    flat = {name: value for name, value in reading.items() if name not in _META and name != "values"}
    found = 0
    for name, value in (flat | (nested or {})).items():
        column = kind.index.get(name)
        place = (*at, "values", name) if nested and name in nested else (*at, name)
        if column is None:
            decoded.faults.append(Fault(Reason.UNKNOWN_METRIC, functools.partial(_unknown, kind, place)))
        elif value is None:
            continue
        elif isinstance(value, bool | int | float):
            values[column] = as_double(value)
            found += 1
        else:
            explain = functools.partial(_no_number, kind, column, place, value)
            decoded.faults.append(Fault(Reason.WRONG_TYPE, explain))
    if found:
        decoded.rows.append((time, *values))
    elif all(value is None for value in (flat | (nested or {})).values()):
        detail = f"no metric has a value; send {example(kind)}"
        decoded.refuse(Reason.NO_METRICS, at, detail, "no value", example(kind))


def _no_json(payload: bytes, error: str, kind: Kind) -> Explanation:
    found = shown(payload[:_SHOWN].decode(errors="replace"))
    return Explanation(f"not JSON: {error}; send {example(kind)}", "", found, example(kind))


def _unknown(kind: Kind, place: Steps) -> Explanation:
    name = str(place[-1])[:80]
    # Looking for the nearest name takes long.
    near, advice = _nearest(name, kind.columns)
    detail = f'{_where(place)}{kind.name} has no metric "{name}"; {advice}'
    return Explanation(detail, pointer(place), shown(name), near or ", ".join(kind.columns))


def _no_number(kind: Kind, column: int, place: Steps, value: Any) -> Explanation:
    valid = f"a number in {kind.metrics[column].unit}"
    detail = f"{_where(place)}{place[-1]} is a JSON {_json_type(value)}; send {valid}"
    return Explanation(detail, pointer(place), shown(value), valid)


def _where(place: Steps) -> str:
    return f"reading {place[0]}: " if place and isinstance(place[0], int) else ""


@functools.lru_cache(maxsize=1024)
def _nearest(name: str, columns: tuple[str, ...]) -> tuple[str | None, str]:
    near = nearest(name, columns)
    return next(iter(near), None), did_you_mean(name, near or columns)


def _time_of(ts: Any) -> float:
    """Return a reading's own time in Unix seconds, NaN where it has none. Raises ValueError."""
    if ts is None:
        return _NAN
    if isinstance(ts, str | int | float) and not isinstance(ts, bool):
        # A double holds the seconds of our time to a quarter of a microsecond.
        return max(-FAR_AWAY, min(FAR_AWAY, parse_timestamp(ts) / SECOND))
    raise ValueError(f'"ts" is a JSON {_json_type(ts)}; send {VALID_TIME}')


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


@functools.cache
def example(kind: Kind) -> str:
    """Return a payload that this kind would accept, for error messages."""
    metric = kind.metrics[0]
    return f'{{"{metric.name}": {metric.minimum:g}}}'
