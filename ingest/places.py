"""Where in a payload something stands that was found wrong once it was a row: as a JSON Pointer.

Rows remember no places, which cost each good reading something; so the first place is looked for that says the
same. Only for what a device is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from ingest.decode import FAR_AWAY
from ingest.decoders.gathering import Steps, as_double, pointer
from sensors.times import SECOND, parse_timestamp

_FARTHEST = round(FAR_AWAY * SECOND)


def of_value(payload: bytes, metric: str, value: float) -> str | None:
    """Return where a metric has this value, None where a payload of another format names it otherwise."""
    for at, reading in _readings(payload):
        nested = reading.get("values")
        for steps, members in (((*at, "values"), nested), (at, reading)):
            found = members.get(metric) if isinstance(members, dict) else None
            if isinstance(found, bool | int | float) and as_double(found) == value:
                return pointer((*steps, metric))
    return None


def of_time(payload: bytes, time: int) -> str | None:
    """Return where a reading's own time is this one, in Unix µs."""
    for at, reading in _readings(payload):
        ts = reading.get("ts")
        if isinstance(ts, str | int | float) and _is_time(ts, time):
            return pointer((*at, "ts"))
    return None


def _is_time(ts: str | float, time: int) -> bool:
    try:
        stated = parse_timestamp(ts)
    except ValueError:
        return False
    # A row has it as a double, and clipped.
    clipped = max(-_FARTHEST, min(_FARTHEST, stated))
    return any(math.isclose(one, time, rel_tol=1e-15, abs_tol=2) for one in (stated, clipped))


def _readings(payload: bytes) -> Iterator[tuple[Steps, dict[str, Any]]]:
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if isinstance(document, dict):
        yield (), document
    for number, reading in enumerate(document if isinstance(document, list) else ()):
        if isinstance(reading, dict):
            yield (number,), reading
