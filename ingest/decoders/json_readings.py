"""Readings of free-form JSON objects: each member that is a number is a value, each time a reading of its own."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec

from ingest.decoders.literals import number, shown
from ingest.decoders.parsed import Parsed, Reading, Refusal
from sensors.checks import Reason

# Of the name of a source; no device's own is longer.
LONGEST_SOURCE = 256


@dataclasses.dataclass(slots=True)
class Group:
    """The readings of one source in one message. What has no time is one reading: all of it came at once."""

    source: str
    parsed: Parsed
    timeless: Reading | None = None

    def add(self, time: float, values: dict[str, float]) -> None:
        """Add what was measured at ``time``, Unix seconds or NaN."""
        if not values:
            return
        if not math.isnan(time):
            self.parsed.readings.append(Reading(self.source, time, values))
        elif self.timeless is None:
            self.timeless = Reading(self.source, time, values)
            self.parsed.readings.append(self.timeless)
        else:
            self.timeless.values.update(values)

    def refuse(self, reason: Reason, path: str, found: Any, valid: str) -> None:
        """Add that a part of it can't be read."""
        self.parsed.refusals.append(Refusal(reason, path, shown(found), valid))


def document(payload: bytes) -> Any:
    """Return a JSON document. Raises ValueError."""
    try:
        return msgspec.json.decode(payload)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None


def numbers_of(members: dict[str, Any], *but: str) -> dict[str, float]:
    """Return the members that are numbers, booleans as 0 and 1, texts of numbers as numbers; the rest is left out."""
    return {
        name: found
        for name, value in members.items()
        if name not in but and (found := number(value)) is not None
    }


def pointer(*parts: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) to a part of a document."""
    return "".join(f"/{str(part)[:100].replace('~', '~0').replace('/', '~1')}" for part in parts)
