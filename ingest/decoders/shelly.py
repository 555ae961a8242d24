"""Shelly of the second generation and later: notifications, statuses of components, and the last will.

Source: Shelly's API documentation, "Notifications", "MQTT" and "Components and Services".
"""

from __future__ import annotations

import math
from typing import Any

from ingest.decoders import clocks
from ingest.decoders.flat import BOUNDS, flatten
from ingest.decoders.json_readings import LONGEST_SOURCE, document, pointer
from ingest.decoders.literals import number, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, Reading, Refusal, Status, refuse
from sensors.checks import Reason

_NOTIFICATION = '{"method": "NotifyStatus", "params": {"ts": 1767225600.12, "switch:0": {"apower": 41.3}}}'
_COMPONENT = 'a component\'s status such as {"id": 0, "apower": 41.3}'
_TIME = "Unix seconds such as 1767225600.12, or null"
_ONLINE = {b"true": True, b"false": False}
_STATUSES = ("NotifyStatus", "NotifyFullStatus")
# Which one of its kind a component is, and times of something else than its measurement.
_NO_MEASUREMENTS = ("id", "ts", "unixtime")
_TIMES = "_ts"

_UNITS = {
    "apower": "W",
    "act_power": "W",
    "aprt_power": "V.A",
    "voltage": "V",
    "current": "A",
    "pf": "1",
    "freq": "Hz",
    "aenergy.total": "W.h",
    "ret_aenergy.total": "W.h",
    "total_act": "W.h",
    "total_act_ret": "W.h",
    "total_act_energy": "W.h",
    "total_act_ret_energy": "W.h",
    "temperature.tC": "Cel",
    "temperature.tF": "[degF]",
    "tC": "Cel",
    "tF": "[degF]",
    "rh": "%",
    "lux": "lx",
    "battery.V": "V",
    "battery.percent": "%",
    "uptime": "s",
}
_PHASES = ("a_", "b_", "c_", "n_", "total_")
# Values of components of these kinds are what somebody made of them.
_OF_OTHERS = ("script", "number", "boolean", "bthomesensor", "bthomedevice")


def decode(incoming: Incoming, _: None) -> Parsed:
    """Return what a message says: readings, or a status. Who it is of is said by the topic, never by ``src``."""
    device, payload = incoming.levels[0], incoming.payload
    if not 0 < len(device) <= LONGEST_SOURCE:
        return refuse(Reason.UNKNOWN_TOPIC, "", "an id too long or empty", "DEVICE/events/rpc")
    if not payload:
        return Parsed()  # what was retained is cleared
    if incoming.topic.endswith("/online"):
        return _will(device, payload)
    is_component = len(incoming.levels) > 1
    valid = _COMPONENT if is_component else _NOTIFICATION
    try:
        said = document(payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], valid)
    if not isinstance(said, dict):
        return refuse(Reason.UNDECODABLE, "", shown(said), valid)
    if is_component:
        return _read(incoming, math.nan, {incoming.levels[1]: said}, "")
    return _notification(incoming, said)


def _will(device: str, payload: bytes) -> Parsed:
    is_online = _ONLINE.get(payload)
    if is_online is None:
        return refuse(Reason.BAD_STATUS, "", shown(payload[:60].decode(errors="replace")), "true or false")
    return Parsed(statuses=[Status(device, is_online)])


def _notification(incoming: Incoming, said: dict[str, Any]) -> Parsed:
    method, params = said.get("method"), said.get("params")
    if not isinstance(method, str):
        return refuse(Reason.UNDECODABLE, "/method", shown(method), _NOTIFICATION)
    if method not in _STATUSES:
        return Parsed()  # NotifyEvent: a button was pushed, a script said something
    if not isinstance(params, dict):
        return refuse(Reason.WRONG_TYPE, "/params", shown(params), _NOTIFICATION)
    try:
        time = _time(params.get("ts"))
    except ValueError:
        return refuse(Reason.TIME_UNREADABLE, "/params/ts", shown(params["ts"]), _TIME)
    return _read(incoming, time, params, "/params")


def _read(incoming: Incoming, time: float, components: dict[str, Any], path: str) -> Parsed:
    parsed = Parsed()
    if incoming.is_retained and math.isnan(time):
        return parsed  # measured nobody knows when
    found: dict[str, float] = {}
    for name, status in components.items():
        if isinstance(status, dict) and not flatten(status, found, f"{name}."):
            refusal = Refusal(Reason.TOO_LARGE, path and path + pointer(name), "more than that", BOUNDS)
            parsed.refusals.append(refusal)
    values = {field: value for field, value in found.items() if _is_measurement(field)}
    if values:
        units = {field: unit for field in values if (unit := _unit(field))}
        parsed.readings.append(Reading(incoming.levels[0], time, values, units))
    return parsed


def _is_measurement(field: str) -> bool:
    name = field.rpartition(".")[2]
    return name not in _NO_MEASUREMENTS and not name.endswith(_TIMES)


def _unit(field: str) -> str | None:
    component, _, name = field.partition(".")
    if component.startswith(_OF_OTHERS):
        return None
    unit = _UNITS.get(name)
    if unit is None and name.startswith(_PHASES):
        unit = _UNITS.get(name.partition("_")[2])
    if unit is None and ".by_minute." in field:
        return "mW.h"
    return unit


def _time(ts: Any) -> float:
    """Return Unix seconds, NaN where the clock was not set yet. Raises ValueError."""
    if ts is None:
        return math.nan
    seconds = None if isinstance(ts, bool | str) else number(ts)
    if seconds is None:
        raise ValueError(shown(ts))
    return clocks.unix(seconds)


FORMAT = Format(
    "shelly",
    "Shelly Gen2+",
    ("+/events/rpc", "+/status/+", "+/online"),
    decode,
    is_own=True,
    mixes=True,
)
