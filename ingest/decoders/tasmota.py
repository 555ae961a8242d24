"""Tasmota: telemetry of its sensors and of itself, and its last will.

Source: Tasmota's documentation, "MQTT" and "Commands" (Time, SetOption8, SetOption24, SetOption52, SpeedUnit).
"""

from __future__ import annotations

import math
import re
from typing import Any

from ingest.decoders import clocks
from ingest.decoders.flat import BOUNDS
from ingest.decoders.json_readings import LONGEST_SOURCE, document, pointer
from ingest.decoders.literals import number, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, Reading, Refusal, Status, refuse
from ingest.decoders.tasmota_fields import Fields, Units
from sensors.checks import Reason

_ONLINE = {b"Online": True, b"Offline": False}
_ZIGBEE = "ZbReceived"
_ANSWER = "StatusSNS"
_VALID = 'telemetry such as {"Time": "2026-01-01T05:00:00", "BME280": {"Temperature": -3.5}}'
# Drivers print what a sensor did not measure as C does, which is no JSON.
_UNMEASURED = re.compile(rb"([:\[,])\s*-?(?:nan|inf)(?=\s*[,}\]])", re.IGNORECASE)


def decode(incoming: Incoming, _: None) -> Parsed:
    """Return what a message says: readings, or a status."""
    device, payload = incoming.levels[0], incoming.payload
    if not 0 < len(device) <= LONGEST_SOURCE:
        return refuse(Reason.UNKNOWN_TOPIC, "", "an id too long or empty", "tele/DEVICE/SENSOR")
    if not payload:
        return Parsed()  # what was retained is cleared
    kind = incoming.topic.rpartition("/")[2]
    if kind == "LWT":
        return _will(device, payload)
    try:
        said = _document(payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], _VALID)
    steps: tuple[str, ...] = ()
    if kind == "STATUS10" and isinstance(said, dict):
        said, steps = said.get(_ANSWER), (_ANSWER,)
    if not isinstance(said, dict):
        return refuse(Reason.UNDECODABLE, pointer(*steps), shown(said), _VALID)
    return _telemetry(incoming, said, steps, is_state=kind == "STATE")


def _document(payload: bytes) -> Any:
    try:
        return document(payload)
    except ValueError:
        repaired, count = _UNMEASURED.subn(rb"\1null", payload)
        if not count:
            raise
        return document(repaired)


def _will(device: str, payload: bytes) -> Parsed:
    is_online = _ONLINE.get(payload)
    if is_online is None:
        return refuse(
            Reason.BAD_STATUS, "", shown(payload[:60].decode(errors="replace")), "Online or Offline"
        )
    return Parsed(statuses=[Status(device, is_online)])


def _telemetry(incoming: Incoming, said: dict[str, Any], steps: tuple[str, ...], *, is_state: bool) -> Parsed:
    try:
        time = _time(said, incoming)
    except ValueError:
        path = pointer(*steps, "Time")
        return refuse(Reason.TIME_UNREADABLE, path, shown(said.get("Time")), clocks.LOCAL)
    parsed = Parsed()
    if incoming.is_retained and math.isnan(time):
        return parsed  # sent nobody knows when
    zigbee = said.pop(_ZIGBEE, None)
    _read(incoming.levels[0], said, time, Fields(Units.of(said), is_state=is_state), parsed, steps)
    for name, heard in zigbee.items() if isinstance(zigbee, dict) else ():
        # Other devices, which this one has heard: as its own fields those of all of them would be mixed.
        if isinstance(heard, dict) and 0 < len(name) <= LONGEST_SOURCE:
            _read(name, heard, time, Fields(Units()), parsed, (*steps, _ZIGBEE, name))
    return parsed


def _read(
    source: str, said: dict[str, Any], time: float, fields: Fields, parsed: Parsed, steps: tuple[str, ...]
) -> None:
    if not fields.take(said):
        parsed.refusals.append(Refusal(Reason.TOO_LARGE, pointer(*steps), "more than that", BOUNDS))
    if fields.values:
        parsed.readings.append(Reading(source, time, fields.values, fields.units))


def _time(said: dict[str, Any], incoming: Incoming) -> float:
    """Return Unix seconds, NaN where it says none. Raises ValueError."""
    time, seconds = said.get("Time"), _unix(said.get("Epoch"))
    if seconds is None:
        seconds = _unix(time)
    if seconds is not None:
        return clocks.unix(seconds)
    if time is None:
        return math.nan
    if not isinstance(time, str):
        raise ValueError(shown(time))
    return clocks.local(time, incoming.zone, incoming.received)


def _unix(value: Any) -> float | None:
    return None if isinstance(value, bool | str) else number(value)


FORMAT = Format(
    "tasmota",
    "Tasmota",
    (
        "tele/+/SENSOR",
        "tele/+/STATE",
        "tele/+/LWT",
        "stat/+/STATUS10",
        "+/tele/SENSOR",
        "+/tele/STATE",
        "+/tele/LWT",
        "+/stat/STATUS10",
    ),
    decode,
    is_own=True,
)
