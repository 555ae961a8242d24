"""Phrases and their arguments, as rules and the search make them; numbers have as many digits as say something."""

from __future__ import annotations

from collections.abc import Iterable

from sensors.kinds import Metric
from sensors.messages import Argument, Metrics, Name, Number, Phrase, Place, Time, Whole
from sensors.times import SECOND, format_timestamp


def phrase(key: str, /, **args: Argument) -> Phrase:
    """Return a phrase; its texts are those of ``alert.KEY`` in every language."""
    return {"key": f"alert.{key}", "args": args}


def quantity(value: float, of: Metric) -> Number:
    """Return a value in the metric's own precision, with its unit."""
    return _number(value, _digits(value, of), of.unit)


def hourly(value: float, of: Metric) -> Number:
    """Return how much a counter rises in an hour."""
    return {**quantity(value, of), "per": "hour"}


def bare(value: float, of: Metric) -> Number:
    """Return a value in the metric's own precision, whose unit another one says."""
    return _number(value, _digits(value, of), None)


def figure(value: float, significant: int = 6) -> Number:
    """Return a number without a unit, of so many significant digits, and none that says nothing."""
    rounded = float(f"{value:.{significant}g}")
    return _number(rounded, len(f"{rounded:.6f}".rstrip("0").partition(".")[2]), None)


def _number(value: float, digits: int, unit: str | None) -> Number:
    # Rounded once, here: languages of programs round halves differently. No minus before a zero.
    rounded = float(f"{value:.{digits}f}") + 0.0
    return {"type": "number", "value": rounded, "digits": digits, "unit": unit, "per": None}


def _digits(value: float, of: Metric) -> int:
    if abs(value) >= 1000:
        return 0
    if of.resolution >= 1:
        return 0 if value == round(value) else 1
    return max(0, min(3, len(f"{of.resolution:.6f}".rstrip("0").partition(".")[2])))


def share(part: float) -> Number:
    """Return a share of 0 to 1 in whole percents."""
    return _number(100 * part, 0, "%")


def time(microseconds: int) -> Time:
    """Return a moment, Unix µs."""
    return {"type": "time", "value": format_timestamp(microseconds)}


def span(microseconds: float) -> Whole:
    """Return how long a time is, µs: whole days, hours or minutes where there are two of them, or exactly one."""
    seconds = round(microseconds / SECOND)
    size = next((one for one in (86_400, 3600, 60) if seconds >= 2 * one or seconds == one), 1)
    return {"type": "span", "value": seconds // size * size}


def count(many: float) -> Whole:
    """Return how many there are."""
    return {"type": "count", "value": round(many)}


def device(id_: str) -> Name:
    """Return a device."""
    return {"type": "device", "value": str(id_)}


def metric(of: Metric) -> Name:
    """Return a metric."""
    return {"type": "metric", "value": of.name}


def metrics(names: Iterable[str]) -> Metrics:
    """Return several metrics."""
    return {"type": "metrics", "value": list(names)}


def kind(name: str) -> Name:
    """Return a kind of device."""
    return {"type": "kind", "value": name}


def district(name: str | None) -> Place:
    """Return a district; None is the whole city."""
    return {"type": "district", "value": name}


def aggregate(name: str) -> Name:
    """Return by which function values are taken together: ``avg``, ``median``, ``min``, ``max``, ``sum``."""
    return {"type": "aggregate", "value": name}


def reason(name: str) -> Name:
    """Return why messages are refused."""
    return {"type": "reason", "value": name}


def source(text: str) -> Name:
    """Return what a limit comes from."""
    return {"type": "source", "value": text}
