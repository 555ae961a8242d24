"""Values of one message gathered into readings: one for each source and time, the first of two equal fields kept."""

from __future__ import annotations

import json
import math
from typing import Any

from ingest.decoders.parsed import Incoming, Parsed, Reading, Refusal
from sensors.checks import Reason

# A source or a field with a longer name is refused: names are repeated in each reading, and kept for long.
LONGEST_NAME = 255
# Sensible Unix seconds lie below; what is beyond was counted in something else.
SECONDS_BELOW = 1e11
_LONGEST_SHOWN = 80

# Where something stands in a payload: labels and places, from its root.
Steps = tuple[str | int, ...]


class Gathering:
    """What was read so far of a message.

    Of a retained one, which was sent nobody knows when, values without a time are left out.
    """

    __slots__ = ("_is_retained", "_last", "_readings", "parsed")

    def __init__(self, incoming: Incoming) -> None:
        self.parsed = Parsed()
        self._is_retained = incoming.is_retained
        self._last: Reading | None = None  # values of one come together
        self._readings: dict[tuple[str, float | None], Reading] = {}

    def add(self, source: str, time: float, field: str, value: float, steps: Steps, unit: str = "") -> None:
        """Add a value; ``time`` is in Unix seconds, NaN where it has none, ``unit`` in UCUM, empty where unknown."""
        if not math.isfinite(value):
            valid = "a finite number; leave out what was not measured"
            self.refuse(Reason.OUT_OF_RANGE, steps, str(value), valid)
            return
        reading = self._last
        if reading is None or time != reading.time or source != reading.source:
            reading = self._find(source, time)
            if reading is None:
                return
        if field in reading.values:
            valid = "one value for each name and time; the first was kept"
            self.refuse(Reason.DUPLICATE, steps, shown(field), valid)
            return
        reading.values[field] = value
        if unit:
            reading.units[field] = unit  # type: ignore[index]  # made above, and nobody else's yet

    def _find(self, source: str, time: float) -> Reading | None:
        """Return the reading of a source and a time, None where a retained message says no time."""
        is_timed = not math.isnan(time)
        if self._is_retained and not is_timed:
            return None
        key = (source, time if is_timed else None)  # NaN is not equal to itself
        reading = self._last = self._readings.get(key)
        if reading is None:
            reading = self._last = self._readings[key] = Reading(source, time, {}, {})
            self.parsed.readings.append(reading)
        return reading

    def refuse(self, reason: Reason, steps: Steps, found: str, valid: str) -> None:
        """Note a part that can't be read."""
        self.parsed.refusals.append(Refusal(reason, pointer(steps), found, valid))


def shown(value: Any) -> str:
    """Return what was found, as JSON or by its type, in at most 80 characters."""
    if isinstance(value, str):
        text = json.dumps(value[:_LONGEST_SHOWN], ensure_ascii=False)
        return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 2] + '…"'
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"{as_double(value):.17g}"
    names: dict[type, str] = {dict: "an object", list: "an array", bytes: "bytes"}
    return names.get(type(value), "something else")


def pointer(steps: Steps) -> str:
    """Return the JSON Pointer of a place."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def as_double(value: float) -> float:
    """Return a number as a double, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
