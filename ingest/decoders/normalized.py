"""``normalized_payload`` of The Things Stack: measurements by one schema for all models, each maybe with its own time.

Source of names and units: payload.json of The Things Network's Device Repository.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

from ingest.decoders.flat import BOUNDS, flatten
from ingest.decoders.parsed import Reading, Refusal
from ingest.decoders.shapes import shown
from sensors.checks import Reason
from sensors.times import SECOND, parse_timestamp

# More than that, and whoever wrote the formatter knows.
_NAMED_FAULTS = 8
PREFIX = "normalized."
_TIME = "a time such as 2026-01-01T00:00:00Z"

UNITS = {
    "battery": "V",
    "soil.depth": "cm",
    "soil.moisture": "%",
    "soil.temperature": "Cel",
    "soil.ec": "dS/m",
    "soil.pH": "[pH]",
    "soil.n": "[ppm]",
    "soil.p": "[ppm]",
    "soil.k": "[ppm]",
    "air.temperature": "Cel",
    "air.relativeHumidity": "%",
    "air.pressure": "hPa",
    "air.co2": "[ppm]",
    "air.lightIntensity": "lx",
    "wind.speed": "m/s",
    "wind.direction": "deg",
    "water.temperature.min": "Cel",
    "water.temperature.max": "Cel",
    "water.temperature.avg": "Cel",
    "water.temperature.current": "Cel",
    "metering.water.total": "L",
    "position.latitude": "deg",
    "position.longitude": "deg",
}


def read(
    measurements: Sequence[dict[str, Any]], first: Reading, refusals: list[Refusal], path: str
) -> list[Reading]:
    """Return the readings of an uplink whose measurements are added to that of their time, the first for those without.

    The second and later ones of one time have their number in their names: ``normalized.1.soil.moisture``. Adds the
    first of what can't be read to ``refusals``.
    """
    found = {first.time: (first.values, {**first.units})}
    faults: list[Refusal] = []
    earlier: collections.Counter[float] = collections.Counter()
    for place, measurement in enumerate(measurements):
        own_time = first.time
        if (said := measurement.get("time")) is not None:
            try:
                own_time = _seconds(said)
            except ValueError:
                faults.append(Refusal(Reason.TIME_UNREADABLE, f"{path}/{place}/time", shown(said), _TIME))
                continue
        fields: dict[str, float] = {}
        if not flatten(measurement, fields):
            faults.append(Refusal(Reason.TOO_LARGE, f"{path}/{place}", "beyond the bounds", BOUNDS))
        prefix = f"{PREFIX}{number}." if (number := earlier[own_time]) else PREFIX
        earlier[own_time] += 1
        values, units = found.setdefault(own_time, ({}, {}))
        for name, value in fields.items():
            values[prefix + name] = value
            if name in UNITS:
                units[prefix + name] = UNITS[name]
    refusals += faults[:_NAMED_FAULTS]
    return [Reading(first.source, at, *fields) for at, fields in found.items() if fields[0]]


def _seconds(said: Any) -> float:
    if not isinstance(said, str):
        raise ValueError(f"{shown(said)} is no time")
    return parse_timestamp(said) / SECOND
