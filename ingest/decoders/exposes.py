"""What Zigbee2MQTT says that a device exposes: the properties whose values are numbers, or one of two texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ingest.decoders.flat import DEEPEST, LONGEST_NAME
from ingest.decoders.parsed import Refusal
from ingest.decoders.written_units import ucum
from sensors.checks import Reason

MOST_PROPERTIES = 1_000


class Property(NamedTuple):
    """A property: its unit in UCUM, and the numbers of the texts that it may be, if it is of texts."""

    unit: str | None = None
    truths: dict[str, float] | None = None


def properties_of(exposes: Any, path: str, refusals: list[Refusal]) -> dict[str, Property]:
    """Return the properties of a device by the names of fields; ``refusals`` gets what is too much."""
    properties: dict[str, Property] = {}
    for name, one in _each(exposes, "", DEEPEST):
        if len(properties) >= MOST_PROPERTIES:
            valid = f"at most {MOST_PROPERTIES:,} properties of a device"
            refusals.append(Refusal(Reason.TOO_LARGE, path, "one more property", valid))
            break
        properties[name] = one
    return properties


def _each(exposes: Any, above: str, depth: int) -> Iterator[tuple[str, Property]]:
    """Yield numeric and binary properties; a composite's are below it, those of a light or a switch are not."""
    for one in exposes if isinstance(exposes, list) else ():
        if not isinstance(one, dict):
            continue
        name = one.get("property")
        path = f"{above}{name}" if isinstance(name, str) and name else ""
        if "features" in one:
            below = f"{path}." if path and one.get("type") == "composite" else above
            if depth > 0:
                yield from _each(one["features"], below, depth - 1)
        elif 0 < len(path) <= LONGEST_NAME and (known := _property(one)) is not None:
            yield path, known


def _property(one: dict[str, Any]) -> Property | None:
    unit = one.get("unit")
    if one.get("type") == "numeric":
        return Property(ucum(unit) if isinstance(unit, str) else None)
    if one.get("type") != "binary":
        return None
    texts = {"value_off": 0.0, "value_on": 1.0}
    truths = {text: truth for name, truth in texts.items() if isinstance(text := one.get(name), str)}
    return Property(truths=truths) if truths else None
