"""collectd on ``collectd/{host}/{plugin}/{type}``: its plain values, and the JSON of its write plugins.

A field is ``plugin.type``, each with its instance behind a dash as in collectd's own names, and the data source after
it where a type has several.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from ingest.decoders.gathering import LONGEST_NAME, SECONDS_BELOW, Gathering, Steps, as_double, shown
from ingest.decoders.parsed import Format, Incoming, Parsed, refuse
from sensors.checks import Reason

_MOST_LISTS = 10_000
_READ_WRITE, _RX_TX, _FAULTS = ("read", "write"), ("rx", "tx"), ("minflt", "majflt")
# Types of collectd's types.db with several data sources, whose names plain values leave out.
_DATA_SOURCES = {
    **dict.fromkeys(
        (
            "disk_latency",
            "disk_merged",
            "disk_octets",
            "disk_ops",
            "disk_time",
            "ps_disk_octets",
            "ps_disk_ops",
        ),
        _READ_WRITE,
    ),
    **dict.fromkeys(
        ("if_dropped", "if_errors", "if_octets", "if_packets", "io_octets", "io_packets"), _RX_TX
    ),
    **dict.fromkeys(("memcached_octets", "mysql_octets", "node_octets", "serial_octets"), _RX_TX),
    **dict.fromkeys(("ps_pagefaults", "vmpage_faults"), _FAULTS),
    "compression": ("uncompressed", "compressed"),
    "df": ("used", "free"),
    "disk_io_time": ("io_time", "weighted_io_time"),
    "dns_octets": ("queries", "responses"),
    "load": ("shortterm", "midterm", "longterm"),
    "ps_count": ("processes", "threads"),
    "ps_cputime": ("user", "syst"),
    "smart_attribute": ("current", "worst", "threshold", "pretty"),
    "vmpage_io": ("in", "out"),
    "voltage_threshold": ("value", "threshold"),
}
_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
# collectd writes U, printf writes the others.
_UNKNOWN = frozenset({"U", "nan", "-nan", "NaN"})
_PLAIN = "time:value[:value…], such as 1767225600.000:21.5"
_A_LIST = (
    'a value list: {"host": "air-7", "plugin": "lora", "type": "gauge", "values": [21.5], "time": 1767225600}'
)
_NAME_TOO_LONG = f"at most {LONGEST_NAME} characters"


def decode(incoming: Incoming, _memory: None) -> Parsed:
    """Return what a message says; an array or an object is JSON, anything else plain values."""
    payload = incoming.payload.rstrip(b"\0 \r\n\t")
    if not payload:
        return Parsed()
    host, *names = incoming.levels[0].split("/")
    if payload.lstrip()[:1] in (b"[", b"{"):
        return _decode_json(incoming, payload, host)
    if len(names) != 2 or not host or not all(names):
        return refuse(Reason.UNKNOWN_TOPIC, "", shown(incoming.topic), "collectd/{host}/{plugin}/{type}")
    return _decode_plain(incoming, payload, host, names)


def _decode_plain(incoming: Incoming, payload: bytes, host: str, names: list[str]) -> Parsed:
    try:
        stamp, *values = payload.decode("ascii").split(":")
    except UnicodeDecodeError:
        return refuse(Reason.UNDECODABLE, "", "bytes that are not ASCII", _PLAIN)
    if not values:
        return refuse(Reason.UNDECODABLE, "", shown(stamp), _PLAIN)
    time = math.nan if stamp == "N" else _number(stamp)
    if time is None or abs(time) >= SECONDS_BELOW:
        return refuse(Reason.TIME_UNREADABLE, "/0", shown(stamp), "Unix seconds, or N for now")
    name = ".".join(names)
    if len(name) > LONGEST_NAME or len(host) > LONGEST_NAME:
        return refuse(Reason.UNKNOWN_TOPIC, "", shown(name), _NAME_TOO_LONG)
    gathering = Gathering(incoming)
    sources = _data_sources(names[1], len(values))
    for place, (literal, suffix) in enumerate(zip(values, sources, strict=True), start=1):
        value = _number(literal)
        if value is not None:
            gathering.add(host, time, name + suffix, value, (place,))
        elif literal not in _UNKNOWN:
            gathering.refuse(Reason.WRONG_TYPE, (place,), shown(literal), "a number, or U for unknown")
    return gathering.parsed


def _data_sources(kind: str, count: int) -> list[str]:
    """Return what the names of values end in: nothing for a single one, their places where they have no names."""
    if count == 1:
        return [""]
    known = _DATA_SOURCES.get(kind.partition("-")[0], ())
    names = known if len(known) == count else range(count)
    return [f".{name}" for name in names]


def _decode_json(incoming: Incoming, payload: bytes, topic_host: str) -> Parsed:
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return refuse(Reason.UNDECODABLE, "", f"not JSON: {error}"[:80], _A_LIST)
    lists = document if isinstance(document, list) else [document]
    if len(lists) > _MOST_LISTS:
        return refuse(
            Reason.TOO_LARGE, "", f"{len(lists)} value lists", f"at most {_MOST_LISTS} in one message"
        )
    gathering = Gathering(incoming)
    for place, one in enumerate(lists):
        steps: Steps = (place,) if isinstance(document, list) else ()
        if isinstance(one, dict):
            _take(one, topic_host, steps, gathering)
        else:
            gathering.refuse(Reason.WRONG_TYPE, steps, shown(one), _A_LIST)
    return gathering.parsed


def _take(one: dict[str, Any], topic_host: str, steps: Steps, gathering: Gathering) -> None:
    """Add the values of one value list."""
    values, host = one.get("values"), one.get("host") or topic_host
    if not isinstance(values, list):
        gathering.refuse(Reason.WRONG_TYPE, (*steps, "values"), shown(values), "an array of numbers")
        return
    if not isinstance(host, str) or not host or len(host) > LONGEST_NAME:
        gathering.refuse(Reason.UNKNOWN_DEVICE, (*steps, "host"), shown(host), "the name of a host")
        return
    time = _json_number(one.get("time"))
    if one.get("time") is not None and (time is None or abs(time) >= SECONDS_BELOW):
        gathering.refuse(Reason.TIME_UNREADABLE, (*steps, "time"), shown(one["time"]), "Unix seconds")
        return
    name = _name_of(one)
    if name is None:
        gathering.refuse(Reason.WRONG_TYPE, steps, "no plugin or no type", _A_LIST)
        return
    moment = math.nan if time is None else time
    for place, (value, suffix) in enumerate(zip(values, _suffixes(one, len(values)), strict=True)):
        if value is None:  # not measured
            continue
        path, number = (*steps, "values", place), _json_number(value)
        if number is None:
            gathering.refuse(Reason.WRONG_TYPE, path, shown(value), "a number, or null")
        elif len(name + suffix) > LONGEST_NAME:
            gathering.refuse(Reason.UNDECODABLE, path, shown(name), _NAME_TOO_LONG)
        else:
            gathering.add(host, moment, name + suffix, number, path)


def _name_of(one: dict[str, Any]) -> str | None:
    """Return plugin and type with their instances, as a plain topic has them."""
    parts = []
    for label in ("plugin", "type"):
        part, instance = one.get(label), one.get(f"{label}_instance") or ""
        if not isinstance(part, str) or not part or not isinstance(instance, str):
            return None
        parts.append(f"{part}-{instance}" if instance else part)
    return ".".join(parts)


def _suffixes(one: dict[str, Any], count: int) -> list[str]:
    names = one.get("dsnames")
    if (
        count > 1
        and isinstance(names, list)
        and len(names) == count
        and all(isinstance(name, str) for name in names)
    ):
        return [f".{name}" for name in names]
    return _data_sources(one["type"], count)


def _json_number(value: Any) -> float | None:
    """Return a number, also one that a writer has put into a string."""
    if isinstance(value, str):
        return _number(value)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else as_double(value)


def _number(literal: str) -> float | None:
    return float(literal) if _NUMBER.fullmatch(literal) else None


FORMAT = Format("collectd", "collectd", ("collectd/#",), decode, is_own=True)
