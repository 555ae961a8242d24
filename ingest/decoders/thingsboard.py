"""ThingsBoard's APIs: of gateways, many devices in one message, and of devices, each on a topic with its own id."""

from __future__ import annotations

import math
from typing import Any

from ingest.decoders.json_readings import LONGEST_SOURCE, Group, document, numbers_of, pointer
from ingest.decoders.literals import number, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, Refusal, Status, refuse
from sensors.checks import Reason

TELEMETRY = "v1/gateway/telemetry"
CONNECT = "v1/gateway/connect"
DISCONNECT = "v1/gateway/disconnect"

_LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999
_NAME = f"a device's name of 1 to {LONGEST_SOURCE} characters"
_ENTRY = '{"ts": 1767225600000, "values": {"temperature": -3.5}}'


def decode(incoming: Incoming, _: None) -> Parsed:
    """Return what a gateway says of its devices."""
    try:
        said = document(incoming.payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], "JSON")
    if incoming.topic != TELEMETRY:
        return _status(said, is_online=incoming.topic == CONNECT)
    if not isinstance(said, dict):
        return refuse(Reason.UNDECODABLE, "", shown(said), f'{{"device": [{_ENTRY}]}}')
    parsed = Parsed()
    for device, entries in said.items():
        if not 0 < len(device) <= LONGEST_SOURCE:
            parsed.refusals.append(Refusal(Reason.UNKNOWN_DEVICE, pointer(device), shown(device), _NAME))
            continue
        _take(entries, Group(device, parsed), (device,))
    return parsed


def decode_device(incoming: Incoming, _: None) -> Parsed:
    """Return what a device says of itself."""
    (device,) = incoming.levels
    if not 0 < len(device) <= LONGEST_SOURCE:
        return refuse(Reason.UNKNOWN_TOPIC, "", shown(device), _NAME)
    try:
        said = document(incoming.payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], "JSON")
    parsed = Parsed()
    _take(said, Group(device, parsed), ())
    return parsed


def topic_of(device: str) -> str:
    """Return the topic of a device: ThingsBoard's own has ``me`` for its id, which only a connection tells."""
    return f"v1/devices/{device}/telemetry"


def _take(entries: Any, group: Group, path: tuple[str | int, ...]) -> None:
    if not isinstance(entries, list):
        _take_entry(entries, group, path)
        return
    for place, entry in enumerate(entries):
        _take_entry(entry, group, (*path, place))


def _take_entry(entry: Any, group: Group, path: tuple[str | int, ...]) -> None:
    """Take one object: with ``ts`` and ``values``, or the values alone."""
    if not isinstance(entry, dict):
        group.refuse(Reason.WRONG_TYPE, pointer(*path), entry, _ENTRY)
        return
    values = entry.get("values")
    if not isinstance(values, dict):
        values = {name: value for name, value in entry.items() if name != "ts"}
    try:
        time = _time(entry.get("ts"))
    except ValueError:
        valid = "Unix milliseconds such as 1767225600000"
        group.refuse(Reason.TIME_UNREADABLE, pointer(*path, "ts"), entry["ts"], valid)
        return
    group.add(time, numbers_of(values))


def _time(ts: Any) -> float:
    if ts is None:
        return math.nan
    milliseconds = None if isinstance(ts, bool) else number(ts)
    if milliseconds is None or not 0 <= milliseconds <= _LAST_MILLISECOND:
        raise ValueError
    return milliseconds / 1000


def _status(said: Any, *, is_online: bool) -> Parsed:
    device = said.get("device") if isinstance(said, dict) else None
    if isinstance(device, str) and 0 < len(device) <= LONGEST_SOURCE:
        return Parsed(statuses=[Status(device, is_online=is_online)])
    return Parsed(refusals=[Refusal(Reason.WRONG_TYPE, "/device", shown(device), _NAME)])


FORMAT = Format("thingsboard", "ThingsBoard gateway", (TELEMETRY, CONNECT, DISCONNECT), decode)
DEVICE_FORMAT = Format(
    "thingsboard_device", "ThingsBoard device", (topic_of("+"),), decode_device, is_own=True
)
