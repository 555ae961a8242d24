"""Zigbee2MQTT: the state of each device, whether it is available, and what the bridge says its properties are.

Each message repeats all that the bridge remembers of a device, whatever made it send one. What repeats the message
before it in everything, link quality included, is no reading where it does not say when the device was heard: so is
what the bridge sends when it starts, or when somebody asks it, of devices that may be silent for days.

Source: Zigbee2MQTT's documentation, "MQTT Topics and Messages", "Exposes" and "Device availability".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from ingest.decoders import clocks
from ingest.decoders.exposes import Property, properties_of
from ingest.decoders.flat import BOUNDS, DEEPEST, LONGEST_NAME, MOST_FIELDS, flatten
from ingest.decoders.json_readings import LONGEST_SOURCE, document, pointer
from ingest.decoders.known import Known
from ingest.decoders.literals import number, number_in, shown
from ingest.decoders.parsed import NO_UNITS, Format, Incoming, Parsed, Reading, Refusal, Status, refuse
from sensors.checks import Reason

MOST_NAMES = 200_000

_BRIDGE = "/bridge/"
_DEVICES = "devices"
# A device may have such a name as well, say of a sensor on one: below a name, a bridge's topics are these alone.
_TOPICS = (
    "converters",
    "definitions",
    "devices",
    "event",
    "extensions",
    "groups",
    "health",
    "info",
    "logging",
    "request",
    "response",
    "state",
)
_COMMANDS = ("set", "get")
_EVENTS = ("action", "click")
# Of the bridge's knowledge of a device, not measured by it.
_NO_MEASUREMENTS = ("last_seen", "elapsed", "update", "update_available", "device", "")
_ONLINE = {"online": True, "offline": False}
_STATE = 'the state as a JSON object such as {"temperature": -3.5}; set output: json in Zigbee2MQTT'
_TIME = "ISO 8601 such as 2026-01-01T00:00:00.000Z, or Unix milliseconds"
_LIST = "the list of all devices, as Zigbee2MQTT publishes it"
_NAME = f"a device with a friendly_name of 1 to {LONGEST_SOURCE} characters"


@dataclasses.dataclass(slots=True)
class Device:
    """What is known of a device: its properties by the names of fields, and what its last message said."""

    properties: dict[str, Property] = dataclasses.field(default_factory=dict)
    state: dict[str, float] | None = None

    @property
    def size(self) -> int:
        """Return how many names it is known by."""
        return len(self.properties) + len(self.state or ())


def decode(incoming: Incoming, devices: Known[Device]) -> Parsed:
    """Return what a message says: the reading of one device, or a status."""
    name, payload = incoming.levels[0], incoming.payload
    if (bridge := _bridge_of(name)) is not None:
        base, topic = bridge
        return _learn(payload, base, devices) if topic == _DEVICES and payload else Parsed()
    above, _, last = name.rpartition("/")
    if not payload or (above and (last in _COMMANDS or any(f"/{one}/" in name for one in _COMMANDS))):
        return Parsed()  # cleared, or said to the device and not by it
    if above and last in _EVENTS and payload[:1] != b"{":
        return Parsed()  # the name of an event alone
    is_availability = bool(above) and last == "availability"
    source = above if is_availability else name
    if not 0 < len(source) <= LONGEST_SOURCE:
        valid = f"zigbee2mqtt/NAME with a name of 1 to {LONGEST_SOURCE} characters"
        return refuse(Reason.UNKNOWN_TOPIC, "", "a name too long or empty", valid)
    if is_availability:
        return _availability(source, payload)
    try:
        said = document(payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], _STATE)
    if not isinstance(said, dict):
        return refuse(Reason.UNDECODABLE, "", shown(said), _STATE)
    return _state(incoming, said, devices)


def _bridge_of(name: str) -> tuple[str, str] | None:
    """Return what is before the names of a bridge's devices, and which of its own topics it is; None if of none."""
    base, mark, topic = f"/{name}".partition(_BRIDGE)
    if not mark or (base and topic.partition("/")[0] not in _TOPICS):
        return None
    return (f"{base[1:]}/" if base else ""), topic


def _availability(source: str, payload: bytes) -> Parsed:
    try:
        said: Any = document(payload)
    except ValueError:
        said = payload.decode(errors="replace")  # of a version that does not send JSON
    said = said.get("state") if isinstance(said, dict) else said
    is_online = _ONLINE.get(said) if isinstance(said, str) else None
    if is_online is None:
        return refuse(Reason.BAD_STATUS, "", shown(said), 'online, offline or {"state": "online"}')
    return Parsed(statuses=[Status(source, is_online)])


def _state(incoming: Incoming, said: dict[str, Any], devices: Known[Device]) -> Parsed:
    source = incoming.levels[0]
    try:
        time = _time(said.get("last_seen"), incoming)
    except ValueError:
        return refuse(Reason.TIME_UNREADABLE, "/last_seen", shown(said["last_seen"]), _TIME)
    for name in _NO_MEASUREMENTS:
        said.pop(name, None)
    parsed, device = Parsed(), devices.get(source)
    values: dict[str, float] = {}
    is_whole = flatten(said, values)
    properties = device.properties if device is not None else {}
    if properties:
        is_whole &= _take_texts(said, properties, values, parsed)
    if not is_whole:
        parsed.refusals.append(Refusal(Reason.TOO_LARGE, "", "more than that", BOUNDS))
    if math.isnan(time) and _is_old(incoming, values, device or Device(), devices):
        return parsed
    if values:
        found = {name: one.unit for name in values if (one := properties.get(name)) and one.unit}
        parsed.readings.append(Reading(source, time, values, found or NO_UNITS))
    return parsed


def _is_old(incoming: Incoming, values: dict[str, float], device: Device, devices: Known[Device]) -> bool:
    """Remember a state that has no time, and return whether it is none of now."""
    is_repeated = device.state == values
    if not is_repeated:
        device.state = values.copy()
        devices.keep(incoming.levels[0], device, device.size)
    return is_repeated or incoming.is_retained


def _take_texts(
    said: dict[str, Any], properties: dict[str, Property], values: dict[str, float], parsed: Parsed
) -> bool:
    """Add the texts that are of properties with numbers, and return whether they were within the bounds."""
    for steps, text in _texts(said, (), DEEPEST):
        known = properties.get(field := ".".join(steps))
        if known is None:
            continue
        value = known.truths.get(text) if known.truths else number_in(text)
        if value is None:
            valid = " or ".join(known.truths) if known.truths else "a number"
            parsed.refusals.append(Refusal(Reason.WRONG_TYPE, pointer(*steps), shown(text), valid))
        elif len(values) >= MOST_FIELDS or len(field) > LONGEST_NAME:
            return False
        else:
            values[field] = value
    return True


def _texts(said: dict[str, Any], above: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in said.items():
        if isinstance(value, str):
            yield (*above, name), value
        elif isinstance(value, dict) and depth > 0:
            yield from _texts(value, (*above, name), depth - 1)


def _time(last_seen: Any, incoming: Incoming) -> float:
    """Return Unix seconds, NaN where it says none. Raises ValueError."""
    if last_seen is None:
        return math.nan
    if isinstance(last_seen, str):
        return clocks.local(last_seen, incoming.zone, incoming.received)
    milliseconds = None if isinstance(last_seen, bool) else number(last_seen)
    if milliseconds is None:
        raise ValueError(shown(last_seen))
    return clocks.unix(milliseconds / 1000)


def _learn(payload: bytes, base: str, devices: Known[Device]) -> Parsed:
    try:
        said = document(payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], _LIST)
    if not isinstance(said, list):
        return refuse(Reason.UNDECODABLE, "", shown(said), _LIST)
    parsed = Parsed(is_lesson=True)
    for place, one in enumerate(said):
        name = one.get("friendly_name") if isinstance(one, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_SOURCE - len(base):
            parsed.refusals.append(Refusal(Reason.WRONG_TYPE, f"/{place}", shown(one), _NAME))
            continue
        device = devices.get(base + name) or Device()
        definition = one.get("definition")
        exposes = definition.get("exposes") if isinstance(definition, dict) else None
        device.properties = properties_of(exposes, f"/{place}/definition/exposes", parsed.refusals)
        devices.keep(base + name, device, device.size)
    return parsed


def _nothing_known() -> Known[Device]:
    return Known(MOST_NAMES)


FORMAT = Format("zigbee2mqtt", "Zigbee2MQTT", ("zigbee2mqtt/#",), decode, _nothing_known)
