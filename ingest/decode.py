"""Native payloads to rows. The common case is one compiled decoder a kind; the rest is taken apart with care.

Shapes: a flat object of metrics; one with ``ts``; one with ``ts`` and ``values``; an array of any of these.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from sensors.checks import Reason
from sensors.errors import did_you_mean
from sensors.kinds import Kind
from sensors.times import SECOND, parse_timestamp

# A row: the reading's own time (Unix s, ms, µs or ns; NaN where it has none), then the kind's metrics.
Row = tuple[float, ...]

_NAN = math.nan
# Year 5107: still read as seconds, and outside any window.
_FAR_AWAY = 9.9e10
_META = ("ts", "seq", "oldest")
# The numbers that every JSON library tells apart: 1 to 2^53 - 1.
LARGEST_NUMBER = 2**53 - 1
_Number = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_NUMBER)]
_MAX_READINGS = 10_000
# How many faults of one message are told with what would be right.
EXPLAINED_FAULTS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with a message, and what would be right: a text, or what makes it once it is wanted."""

    reason: Reason
    explanation: str | Callable[[], str]

    @property
    def detail(self) -> str:
        """Return the text; most refused messages of a flood need none."""
        return self.explanation if isinstance(self.explanation, str) else self.explanation()


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
        decoded.faults.append(Fault(Reason.UNDECODABLE, f"not JSON: {error}; send {example(kind)}"))
        return decoded
    readings = document if isinstance(document, list) else [document]
    if len(readings) > _MAX_READINGS:
        for reading in readings:
            _number_of(reading, None, decoded)
        decoded.faults.append(
            Fault(Reason.TOO_LARGE, f"{len(readings)} readings in one message; send at most {_MAX_READINGS}")
        )
        return decoded
    if not readings:
        decoded.faults.append(Fault(Reason.NO_METRICS, f"an empty array; send {example(kind)}"))
    for number, reading in enumerate(readings):
        where = f"reading {number}: " if isinstance(document, list) else ""
        if len(readings) > 1 and isinstance(reading, dict) and reading.get("ts") is None:
            # They would all have the time of arrival, and only the first of them would be kept.
            detail = f'{where}no "ts"; in an array each reading needs a time of its own'
            decoded.faults.append(Fault(Reason.TIME_UNREADABLE, detail))
            _number_of(reading, None, decoded)
            continue
        row = len(decoded.rows)
        for fault in _take_reading(reading, kind, decoded):
            decoded.faults.append(Fault(fault.reason, where + fault.detail) if where else fault)
        if wrong := _number_of(reading, row if len(decoded.rows) > row else None, decoded):
            decoded.faults.append(Fault(Reason.BAD_SEQUENCE, where + wrong))
    return decoded


def _number_of(reading: Any, row: int | None, decoded: Decoded) -> str | None:
    """Take the number of a reading, and return what is wrong with it or its ``oldest``."""
    if not isinstance(reading, dict):
        return None
    number, oldest = reading.get("seq"), reading.get("oldest")
    if number is None:
        return (
            None if oldest is None else 'an "oldest" without "seq"; send the number of the reading beside it'
        )
    if (whole := _whole_number(number)) is None:
        return _no_number("seq", number)
    lowest = None if oldest is None else _whole_number(oldest)
    decoded.numbered.append(Numbered(whole, lowest if lowest and lowest <= whole else None, row))
    if oldest is not None and lowest is None:
        return _no_number("oldest", oldest)
    if lowest is not None and lowest > whole:
        return f'"oldest" {lowest} is above "seq" {whole}; send the lowest number that the device still keeps'
    return None


def _whole_number(value: Any) -> int | None:
    # JSON knows no integers: 7.0 and 7e0 are the whole number 7.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 1 <= value <= LARGEST_NUMBER else None


def _no_number(name: str, value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    shown = f"{_as_double(value):.17g}" if is_number else f"a JSON {_json_type(value)}"
    return f'"{name}" is {shown}; send a whole number from 1 to {LARGEST_NUMBER}'


def _take_reading(reading: Any, kind: Kind, decoded: Decoded) -> Iterator[Fault]:
    if not isinstance(reading, dict):
        yield Fault(Reason.UNDECODABLE, f"a JSON {_json_type(reading)} is no reading; send {example(kind)}")
        return
    try:
        time = _time_of(reading.get("ts"))
    except ValueError as error:
        yield Fault(Reason.TIME_UNREADABLE, str(error))
        return
    nested = reading.get("values")
    if "values" in reading and not isinstance(nested, dict):
        yield Fault(Reason.WRONG_TYPE, f'"values" is a {_json_type(nested)}; send an object of metrics')
        return
    values = [_NAN] * len(kind.columns)
    flat = {name: value for name, value in reading.items() if name not in _META and name != "values"}
    found = 0
    for name, value in (flat | (nested or {})).items():
        column = kind.index.get(name)
        if column is None:
            # Looking for the nearest name takes long; nobody reads more than the first few.
            detail = f'{kind.name} has no metric "{name[:80]}"'
            explain = functools.partial(_with_nearest, detail, name[:80], kind.columns)
            yield Fault(Reason.UNKNOWN_METRIC, explain if len(decoded.faults) < EXPLAINED_FAULTS else detail)
        elif value is None:
            continue
        elif isinstance(value, bool | int | float):
            values[column] = _as_double(value)
            found += 1
        else:
            yield Fault(
                Reason.WRONG_TYPE,
                f"{name} is a JSON {_json_type(value)}; send a number in {_unit(kind, column)}",
            )
    if found:
        decoded.rows.append((time, *values))
    elif all(value is None for value in (flat | (nested or {})).values()):
        yield Fault(Reason.NO_METRICS, f"no metric has a value; send {example(kind)}")


@functools.lru_cache(maxsize=1024)
def _with_nearest(detail: str, name: str, columns: tuple[str, ...]) -> str:
    return f"{detail}; {did_you_mean(name, columns)}"


def _as_double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits: out of any range
        return math.inf if value > 0 else -math.inf


def _time_of(ts: Any) -> float:
    """Return a reading's own time in Unix seconds, NaN where it has none. Raises ValueError."""
    if ts is None:
        return _NAN
    if isinstance(ts, str | int | float) and not isinstance(ts, bool):
        # A double holds the seconds of our time to a quarter of a microsecond.
        return max(-_FAR_AWAY, min(_FAR_AWAY, parse_timestamp(ts) / SECOND))
    raise ValueError(
        f'"ts" is a JSON {_json_type(ts)}; send Unix seconds, milliseconds or 2026-01-01T00:00:00Z'
    )


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _unit(kind: Kind, column: int) -> str:
    return kind.metrics[column].unit


@functools.cache
def example(kind: Kind) -> str:
    """Return a payload that this kind would accept, for error messages."""
    metric = kind.metrics[0]
    return f'{{"{metric.name}": {metric.minimum:g}}}'
