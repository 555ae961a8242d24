"""Time on the wire: RFC 3339 and Unix times to microseconds, ISO 8601 durations. Never a naive datetime."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import numpy.typing as npt

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# A Unix time tells its unit by its size: seconds stay below 1e11 until the year 5138, and milliseconds,
# microseconds and nanoseconds of any plausible year lie three digits apart.
_SECONDS_BELOW = 1e11
_MILLISECONDS_BELOW = 1e14
_MICROSECONDS_BELOW = 1e17

_DURATION = re.compile(
    r"(?P<sign>-)?P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_UNIT = {"weeks": 7 * DAY, "days": DAY, "hours": 3600 * SECOND, "minutes": 60 * SECOND, "seconds": SECOND}


def parse_timestamp(value: str | float) -> int:
    """Return Unix microseconds of an RFC 3339 text with zone, or of Unix s, ms, µs or ns.

    Raises ValueError that says what was wrong and what would be right.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool) or not -1e20 < value < 1e20:
        raise ValueError(f"time {value!r} is not a Unix time; send Unix seconds such as 1767225600")
    size = abs(value)
    if size < _SECONDS_BELOW:
        return round(value * SECOND)
    if size < _MILLISECONDS_BELOW:
        return round(value * 1000)
    return round(value) if size < _MICROSECONDS_BELOW else round(value / 1000)


def unix_to_microseconds(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return Unix microseconds of many finite Unix times in s, ms, µs or ns, as ``parse_timestamp`` does."""
    size = np.abs(values)
    scale: npt.NDArray[np.float64] = np.select(
        [size < _SECONDS_BELOW, size < _MILLISECONDS_BELOW, size < _MICROSECONDS_BELOW], [1e6, 1e3, 1.0], 1e-3
    )
    microseconds: npt.NDArray[np.int64] = np.rint(values * scale).astype(np.int64)
    return microseconds


def _parse_text(text: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time {text[:40]!r} is not RFC 3339; send 2026-01-01T00:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"time {text[:40]!r} has no zone; append Z or an offset such as +05:00")
    return to_microseconds(moment)


def to_microseconds(moment: dt.datetime) -> int:
    """Return Unix microseconds of an aware datetime."""
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> dt.datetime:
    """Return the UTC datetime of Unix microseconds; OverflowError outside the years 1 to 9999."""
    return EPOCH + dt.timedelta(microseconds=microseconds)


def format_timestamp(microseconds: int) -> str:
    """Return Unix microseconds as RFC 3339 in UTC, without a needless fraction."""
    return from_microseconds(microseconds).isoformat().replace("+00:00", "Z")


def parse_duration(text: str) -> int:
    """Return the microseconds of an ISO 8601 duration of fixed length, negative with a ``-`` before it.

    Months and years have no fixed length and raise ValueError, as does anything else.
    """
    match = _DURATION.fullmatch(text)
    parts = {} if match is None else {k: v for k, v in match.groupdict().items() if v and k != "sign"}
    if match is None or not parts or text.endswith("T"):
        raise ValueError(f"duration {text[:40]!r} is not ISO 8601; write PT5M, PT1H, P1D or P1W")
    try:
        total = sum(round(float(number) * _UNIT[name]) for name, number in parts.items())
    except OverflowError:
        raise ValueError(f"duration {text[:40]!r} is longer than any; write PT5M, PT1H, P1D or P1W") from None
    return -total if match["sign"] else total
