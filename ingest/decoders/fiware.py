"""FIWARE's IoT Agent for JSON: groups of measures, or one measure whose attribute is in the topic.

The API key in the topic is a secret that all devices of a service share, so it is no part of the source.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from ingest.decoders.json_readings import LONGEST_SOURCE, Group, document, numbers_of, pointer
from ingest.decoders.literals import number, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, refuse
from sensors.checks import Reason
from sensors.times import SECOND, to_microseconds

_TIME = "TimeInstant"
_STAMP = "timestamp"
_VALID_TIME = "ISO 8601 such as 2026-01-01T00:00:00Z"


def decode(incoming: Incoming, _: None) -> Parsed:
    """Return the measures of a message."""
    device, *attribute = incoming.levels[1:]
    if not 0 < len(device) <= LONGEST_SOURCE or attribute == [""]:
        return refuse(Reason.UNKNOWN_TOPIC, "", "an id too long or empty", "/json/APIKEY/DEVICE/attrs")
    group = Group(device, Parsed())
    try:
        said = document(incoming.payload)
    except ValueError as error:
        if attribute:
            return Parsed()  # the agent takes it as bytes, which are no number
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], '{"t": -3.5}')
    if attribute:
        _take_single(said, attribute[0], group)
    elif isinstance(said, list):
        for place, measures in enumerate(said):
            _take_group(measures, group, (place,))
    else:
        _take_group(said, group, ())
    return group.parsed


def _take_group(measures: Any, group: Group, path: tuple[int, ...]) -> None:
    if not isinstance(measures, dict):
        group.refuse(Reason.WRONG_TYPE, pointer(*path), measures, 'an object of measures such as {"t": -3.5}')
        return
    try:
        time = _time(measures.get(_TIME))
    except ValueError:
        group.refuse(Reason.TIME_UNREADABLE, pointer(*path, _TIME), measures[_TIME], _VALID_TIME)
        return
    group.add(time, numbers_of(measures, _TIME))


def _take_single(said: Any, attribute: str, group: Group) -> None:
    for place, measure in enumerate(said if isinstance(said, list) else [said]):
        path = (place,) if isinstance(said, list) else ()
        stamped = measure if isinstance(measure, dict) else {"value": measure}
        try:
            time = _time(stamped.get(_STAMP))
        except ValueError:
            group.refuse(Reason.TIME_UNREADABLE, pointer(*path, _STAMP), stamped[_STAMP], _VALID_TIME)
            continue
        value = number(stamped.get("value"))
        group.add(time, {} if value is None else {attribute: value})


def _time(text: Any) -> float:
    """Return Unix seconds, NaN for no time. NGSI takes a time without a zone as UTC. Raises ValueError."""
    if text is None:
        return math.nan
    if not isinstance(text, str):
        raise ValueError(shown(text))
    moment = dt.datetime.fromisoformat(text)
    return to_microseconds(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) / SECOND


FORMAT = Format(
    "fiware",
    "FIWARE IoT Agent JSON",
    ("/json/+/+/attrs", "/json/+/+/attrs/+"),
    decode,
)
