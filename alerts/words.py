"""Values, times and spans as people say them."""

from __future__ import annotations

import datetime as dt
import zoneinfo

from sensors.kinds import Metric
from sensors.times import SECOND

_UNITS = {
    "Cel": "°C",
    "ug/m3": "µg/m³",
    "mg/m3": "mg/m³",
    "m3": "m³",
    "m3/h": "m³/h",
    "m3/s": "m³/s",
    "1": "",
}


def quantity(value: float, metric: Metric) -> str:
    """Return a value in the metric's own precision, with its unit."""
    unit = metric.unit.strip("{}[]")
    return f"{number(value, metric)} {_UNITS.get(unit, unit)}".strip()


def number(value: float, metric: Metric) -> str:
    """Return a value in the metric's own precision, of large ones whole."""
    if abs(value) >= 1000 or metric.resolution >= 1:
        return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.1f}"
    digits = max(0, min(3, len(f"{metric.resolution:.6f}".rstrip("0").partition(".")[2])))
    return f"{value:.{digits}f}"


def clock(time: int, now: int, zone: zoneinfo.ZoneInfo) -> str:
    """Return a time, Unix µs, on the city's clock; with its day where that is not today."""
    local = dt.datetime.fromtimestamp(time / SECOND, zone)
    is_today = local.date() == dt.datetime.fromtimestamp(now / SECOND, zone).date()
    return f"{local:%H:%M}" if is_today else f"{local.day} {local:%B, %H:%M}"


def span(microseconds: float) -> str:
    """Return how long a time is, µs."""
    seconds = round(microseconds / SECOND)
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size or seconds == size:
            count = seconds // size
            return f"{count} {name}" + ("s" if count > 1 else "")
    return f"{seconds} seconds"
