"""OGC SensorThings observations, published to create them: the source is the datastream, its field ``result``."""

from __future__ import annotations

import math
import re
from typing import Any

from ingest.decoders.json_readings import document
from ingest.decoders.literals import number, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, Reading, refuse
from sensors.checks import Reason
from sensors.times import SECOND, parse_timestamp

_DATASTREAM = re.compile(r"Datastreams\(([^()]{1,128})\)")
_VALID_STREAM = 'a topic Datastreams(1)/Observations, or "Datastream": {"@iot.id": 1}'


def decode(incoming: Incoming, _: None) -> Parsed:
    """Return the reading of an observation."""
    try:
        said = document(incoming.payload)
    except ValueError as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], '{"result": -3.5}')
    if not isinstance(said, dict):
        return refuse(Reason.UNDECODABLE, "", shown(said), 'an observation such as {"result": -3.5}')
    parent = incoming.levels[0] if incoming.levels else ""
    if parent.startswith("MultiDatastreams("):
        return refuse(Reason.WRONG_TYPE, "", "a MultiDatastream", "a Datastream for each of its numbers")
    source = _source(parent, said)
    if source is None:
        return refuse(Reason.UNKNOWN_DEVICE, "/Datastream", shown(said.get("Datastream")), _VALID_STREAM)
    if "result" not in said:
        return refuse(Reason.NO_METRICS, "/result", "no result", "a number")
    result = said["result"]
    if isinstance(result, str) or (value := number(result)) is None:
        return Parsed()  # a category, a link or a record is an observation too
    for name in ("phenomenonTime", "resultTime"):
        if said.get(name) is not None:
            try:
                return Parsed([Reading(source, _time(said[name]), {"result": value})])
            except ValueError:
                return refuse(Reason.TIME_UNREADABLE, f"/{name}", shown(said[name]), "2026-01-01T00:00:00Z")
    return Parsed([Reading(source, math.nan, {"result": value})])


def _source(parent: str, said: dict[str, Any]) -> str | None:
    if _DATASTREAM.fullmatch(parent):
        return parent
    stream = said.get("Datastream")
    key = stream.get("@iot.id") if isinstance(stream, dict) else None
    if isinstance(key, str):
        key = f"'{key}'"
    elif isinstance(key, bool) or not isinstance(key, int):
        return None
    source = f"Datastreams({key})"
    return source if _DATASTREAM.fullmatch(source) else None


def _time(text: Any) -> float:
    """Return Unix seconds of a time with a zone, of an interval its end. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(shown(text))
    return parse_timestamp(text.rpartition("/")[2]) / SECOND


FORMAT = Format(
    "sensorthings",
    "OGC SensorThings",
    ("v1.1/Observations", "v1.1/+/Observations", "v1.0/Observations", "v1.0/+/Observations"),
    decode,
)
