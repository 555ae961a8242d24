"""Homie 5: devices that describe themselves, a bare literal for each property, no times.

All messages of Homie are retained. What the broker replays to a new subscriber was measured at no known time, so it
is knowledge (description, state) but no reading; what is published while we listen has no retain flag.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from ingest.decoders.known import Known
from ingest.decoders.literals import number_in, shown
from ingest.decoders.parsed import NO_UNITS, Format, Incoming, Parsed, Reading, Refusal, Status, refuse
from ingest.decoders.written_units import ucum
from sensors.checks import Reason

MOST_NAMES = 200_000
MOST_PROPERTIES = 2_000
MOST_CHILDREN = 2_000
LONGEST_ID = 128

_ONLINE = {"init": True, "ready": True, "sleeping": True, "disconnected": False, "lost": False}
_LOST = "lost"
_TRUTHS = {"true": 1.0, "false": 0.0}
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_LARGEST = 2**63
_NUMERIC = ("integer", "float", "boolean")
_WITHOUT_NUMBER = ""


class Property(NamedTuple):
    """A property as the description has it."""

    datatype: str
    unit: str | None


@dataclasses.dataclass(slots=True)
class Device:
    """What a device said of itself: its properties by ``node.property``, its root if it is another's child."""

    properties: dict[str, Property] = dataclasses.field(default_factory=dict)
    root: str | None = None
    state: str = ""
    children: set[str] = dataclasses.field(default_factory=set)

    @property
    def size(self) -> int:
        """Return how many names it is known by."""
        return len(self.properties) + len(self.children)


def decode(incoming: Incoming, devices: Known[Device]) -> Parsed:
    """Return what a message says: a reading of one value, or a status."""
    name, *rest = incoming.levels
    if name.startswith("$") or any(level.startswith("$") for level in rest):
        return Parsed()  # broadcasts, logs and alerts
    if not all(0 < len(level) <= LONGEST_ID for level in incoming.levels):
        return refuse(
            Reason.UNKNOWN_TOPIC, "", "an id too long or empty", f"ids of 1 to {LONGEST_ID} characters"
        )
    try:
        text = incoming.payload.decode()
    except UnicodeDecodeError:
        return refuse(Reason.UNDECODABLE, "", "bytes that are no UTF-8", "text in UTF-8")
    if rest:
        return _value(incoming, text, devices.get(name))
    if incoming.topic.endswith("/$state"):
        return _state(name, text, devices)
    return _description(name, text, devices)


def _value(incoming: Incoming, text: str, device: Device | None) -> Parsed:
    if incoming.is_retained or not text:
        return Parsed()  # an empty text is a property that is removed, or an empty string
    field = ".".join(incoming.levels[1:])
    known = device.properties.get(field) if device else None
    value, valid = _read(text, known.datatype if known else None)
    if valid:
        return refuse(Reason.WRONG_TYPE, "", shown(text), valid)
    if value is None:
        return Parsed()
    units = {field: known.unit} if known and known.unit else NO_UNITS
    return Parsed([Reading(incoming.levels[0], math.nan, {field: value}, units)])


def _read(text: str, datatype: str | None) -> tuple[float | None, str]:
    """Return the number of a literal, None where it is of no number; or what would be valid."""
    if datatype == "boolean":
        return (_TRUTHS[text], "") if text in _TRUTHS else (None, "true or false")
    if datatype == "integer":
        is_whole = _WHOLE.fullmatch(text) and -_LARGEST <= int(text) < _LARGEST
        return (float(text), "") if is_whole else (None, "an integer of 64 bits")
    if datatype == "float":
        number = number_in(text)
        return (None, "a number such as 21.5") if number is None else (number, "")
    if datatype is None:
        # Not described yet: what looks like a number or a truth is one.
        return _TRUTHS.get(text, number_in(text)), ""
    return None, ""


def _state(name: str, text: str, devices: Known[Device]) -> Parsed:
    if text and text not in _ONLINE:
        return refuse(Reason.WRONG_TYPE, "", shown(text), "init, ready, sleeping, disconnected or lost")
    device = devices.get(name) or Device()
    was, device.state = device.state, text
    devices.keep(name, device, device.size)
    parsed = Parsed(statuses=[_status(name, device, devices)])
    if _LOST in (was, text):
        # A last will is of the root alone: with it its children are lost, and back with it.
        for child in sorted(device.children):
            known = devices.get(child)
            if known is not None and known.root == name and known.state:
                parsed.statuses.append(_status(child, known, devices))
    if not text:
        devices.forget(name)  # who clears its state is removed for good
    return parsed


def _status(name: str, device: Device, devices: Known[Device]) -> Status:
    root = devices.get(device.root) if device.root else None
    is_lost = root is not None and root.state == _LOST
    return Status(name, is_online=_ONLINE.get(device.state, False) and not is_lost)


def _description(name: str, text: str, devices: Known[Device]) -> Parsed:
    device = devices.get(name) or Device()
    parsed = Parsed()
    try:
        said = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, RecursionError):
        return refuse(Reason.UNDECODABLE, "", shown(text), "a description in JSON")
    if not isinstance(said, dict):
        return refuse(Reason.UNDECODABLE, "", shown(said), "a description: a JSON object")
    parsed.is_lesson = True
    device.properties = _properties(said, parsed)
    root = said.get("root")
    device.root = root if isinstance(root, str) and 0 < len(root) <= LONGEST_ID and root != name else None
    devices.keep(name, device, device.size)
    if device.root:
        _join(name, device, device.root, devices, parsed)
    return parsed


def _join(name: str, device: Device, root_name: str, devices: Known[Device], parsed: Parsed) -> None:
    root = devices.get(root_name) or Device()
    if len(root.children) < MOST_CHILDREN:
        root.children.add(name)
    devices.keep(root_name, root, root.size)
    if root.state == _LOST and device.state:
        parsed.statuses.append(_status(name, device, devices))


def _properties(said: dict[str, Any], parsed: Parsed) -> dict[str, Property]:
    properties: dict[str, Property] = {}
    for node, described in _objects(said.get("nodes", {}), "/nodes", parsed):
        path = f"/nodes/{node}/properties"
        for name, property_ in _objects(described.get("properties", {}), path, parsed):
            if len(properties) >= MOST_PROPERTIES:
                valid = f"at most {MOST_PROPERTIES} properties of a device"
                parsed.refusals.append(Refusal(Reason.TOO_LARGE, path, "one more property", valid))
                return properties
            datatype, unit = property_.get("datatype"), property_.get("unit")
            known = datatype if datatype in _NUMERIC else _WITHOUT_NUMBER
            properties[f"{node}.{name}"] = Property(known, ucum(unit) if isinstance(unit, str) else None)
    return properties


def _objects(value: Any, path: str, parsed: Parsed) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of an object by their ids, and refuse what is none."""
    if not isinstance(value, dict):
        parsed.refusals.append(Refusal(Reason.WRONG_TYPE, path, shown(value), "an object by ids"))
        return
    for name, inner in value.items():
        if isinstance(inner, dict) and len(name) <= LONGEST_ID:
            yield name, inner
        else:
            pointer = f"{path}/{name[:LONGEST_ID]}"
            parsed.refusals.append(Refusal(Reason.WRONG_TYPE, pointer, shown(inner), "an id with an object"))


def _nothing_known() -> Known[Device]:
    return Known(MOST_NAMES)


FORMAT = Format(
    "homie",
    "Homie 5",
    ("homie/5/+/$description", "homie/5/+/$state", "homie/5/+/+/+"),
    decode,
    _nothing_known,
    is_own=True,
)
