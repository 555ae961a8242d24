"""Air quality as one number: the US EPA's Air Quality Index, in the breakpoints that hold since May 2024.

Source: 40 CFR part 58, appendix G, as revised on 2024-05-06 (89 FR 16202); averages and truncation as in the EPA's
Technical Assistance Document for the Reporting of Daily Air Quality (EPA-454/B-24-002, May 2024).
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

NAME = "US EPA AQI"
SOURCE = "40 CFR part 58, appendix G"
DATE = "2024-05-06"
# So far back an index looks, in hours.
HOURS = 24

# Of one hour each, the newest last, in the unit of the catalogue's metric; None where there is no average.
Hours = Sequence[float | None]


class Category(enum.StrEnum):
    """How bad the air is, as the EPA calls it; in order."""

    GOOD = "good"
    MODERATE = "moderate"
    SENSITIVE = "unhealthy_for_sensitive_groups"
    UNHEALTHY = "unhealthy"
    VERY_UNHEALTHY = "very_unhealthy"
    HAZARDOUS = "hazardous"


@dataclasses.dataclass(frozen=True, slots=True)
class AirIndex:
    """An index of 0 to 500, or more beyond the table, and the metric that is the worst and so decides."""

    value: int
    category: Category
    metric: str


class _Segment(NamedTuple):
    """Between which concentrations, and which values of the index, a line goes."""

    low: float
    high: float
    index_low: int
    index_high: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    """Segments, rising, and to what a concentration is truncated before it is looked up.

    A ``closed`` table says nothing more beyond its end, another one goes on along its last line.
    """

    step: float
    segments: tuple[_Segment, ...]
    closed: bool = False


def _table(step: float, *tops: float, above: float | None = None, closed: bool = False) -> _Table:
    """Return the table whose categories end at ``tops``; one that begins ``above`` has its first line later."""
    lows = [0.0 if above is None else above + step, *(top + step for top in tops)]
    ends = _TOPS[-len(tops) :] if above is not None else _TOPS[: len(tops)]
    begins = [_TOPS[_TOPS.index(end) - 1] + 1 if end != _TOPS[0] else 0 for end in ends]
    return _Table(step, tuple(map(_Segment, lows, tops, begins, ends)), closed)


_TOPS = (50, 100, 150, 200, 300, 500)
_CATEGORIES = tuple(Category)

_PM2_5 = _table(0.1, 9.0, 35.4, 55.4, 125.4, 225.4, 325.4)  # µg/m³
_PM10 = _table(1, 54, 154, 254, 354, 424, 604)  # µg/m³
_CO = _table(0.1, 4.4, 9.4, 12.4, 15.4, 30.4, 50.4)  # ppm
_NO2 = _table(1, 53, 100, 360, 649, 1249, 2049)  # ppb
_SO2_HOUR = _table(1, 35, 75, 185, 304, closed=True)  # ppb
_SO2_DAY = _table(1, 604, 1004, above=304)  # ppb
_O3_8_HOURS = _table(0.001, 0.054, 0.070, 0.085, 0.105, 0.200, closed=True)  # ppm
_O3_HOUR = _table(0.001, 0.164, 0.204, 0.404, 0.604, above=0.124)  # ppm

# Litres of a mole at 25 °C and 1 atm, the conditions that the EPA reports gases at; grams of a mole.
_MOLE_LITRES = 24.45
_GRAMS = {"co": 28.01, "no2": 46.01, "o3": 48.00, "so2": 64.07}

UNITS = {"pm2_5": "ug/m3", "pm10": "ug/m3", "o3": "ug/m3", "no2": "ug/m3", "so2": "ug/m3", "co": "mg/m3"}


def category_of(value: int) -> Category:
    """Return the category of an index."""
    place = next((place for place, top in enumerate(_TOPS) if value <= top), len(_TOPS) - 1)
    return _CATEGORIES[place]


def level_of(category: Category) -> int:
    """Return how bad a category is, from 0 to 5."""
    return _CATEGORIES.index(category)


def air_index(hours: Mapping[str, Hours]) -> AirIndex | None:
    """Return the index of hourly averages by metric, each as long as ``HOURS`` or shorter, in the units of ``UNITS``.

    None where no metric has enough hours: two of the last three for particles, three quarters of eight for ozone and
    carbon monoxide, the last one for the others.
    """
    found = [
        (value, metric)
        for metric, of_metric in _INDEX_OF.items()
        if metric in hours and (value := of_metric(hours[metric])) is not None
    ]
    if not found:
        return None
    value, metric = max(found, key=lambda one: one[0])
    return AirIndex(value, category_of(value), metric)


def nowcast(hours: Hours) -> float | None:
    """Return the EPA's NowCast of the last twelve hours: the more the air changes, the more the newest ones count."""
    latest = list(hours)[-12:][::-1]
    if sum(value is not None for value in latest[:3]) < 2:
        return None
    known = [(age, value) for age, value in enumerate(latest) if value is not None]
    low, high = min(value for _, value in known), max(value for _, value in known)
    weight = max(low / high, 0.5) if high > 0 else 1.0
    return sum(weight**age * value for age, value in known) / sum(weight**age for age, _ in known)


def _mean(hours: Hours, count: int) -> float | None:
    """Return the mean of the last hours, None where less than three quarters of them are known."""
    known = [value for value in list(hours)[-count:] if value is not None]
    return math.fsum(known) / len(known) if len(known) >= 0.75 * count else None


def _last(hours: Hours) -> float | None:
    return hours[-1] if hours else None


def _look_up(concentration: float | None, table: _Table) -> int | None:
    """Return the index of a concentration in the table's unit, None below where the table begins."""
    if concentration is None:
        return None
    # Truncated, never rounded; what arithmetic leaves a little below a whole step is that step.
    value = math.floor(concentration / table.step + 1e-6) * table.step
    half = table.step / 2
    if value < table.segments[0].low - half:
        return None
    last = table.segments[-1]
    line = next((one for one in table.segments if value <= one.high + half), last)
    if table.closed and value > last.high + half:
        return last.index_high
    share = (value - line.low) / (line.high - line.low)
    # Half goes up, as the EPA's examples have it.
    return math.floor(line.index_low + share * (line.index_high - line.index_low) + 0.5 + 1e-6)


def _parts(concentration: float | None, metric: str, per: float) -> float | None:
    """Return the share of the air that a gas is, by volume: of µg/m³ ppb, of mg/m³ ppm; divided by ``per``."""
    return None if concentration is None else concentration * _MOLE_LITRES / _GRAMS[metric] / per


def _worst(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _sulphur_dioxide(hours: Hours) -> int | None:
    hour = _look_up(_parts(_last(hours), "so2", 1), _SO2_HOUR)
    return _worst(hour, _look_up(_parts(_mean(hours, 24), "so2", 1), _SO2_DAY))


def _ozone(hours: Hours) -> int | None:
    hour = _look_up(_parts(_last(hours), "o3", 1000), _O3_HOUR)
    return _worst(hour, _look_up(_parts(_mean(hours, 8), "o3", 1000), _O3_8_HOURS))


_INDEX_OF: Mapping[str, Callable[[Hours], int | None]] = {
    "pm2_5": lambda hours: _look_up(nowcast(hours), _PM2_5),
    "pm10": lambda hours: _look_up(nowcast(hours), _PM10),
    "o3": _ozone,
    "co": lambda hours: _look_up(_parts(_mean(hours, 8), "co", 1), _CO),  # of mg/m³: ppm
    "no2": lambda hours: _look_up(_parts(_last(hours), "no2", 1), _NO2),
    "so2": _sulphur_dioxide,
}
