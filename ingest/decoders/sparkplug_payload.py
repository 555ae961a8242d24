"""Sparkplug B on the wire: the parts of a payload that hold numbers, and the request for a birth.

Source: Sparkplug 3.0.0, chapter 6. What has no number (strings, bytes, tables, templates) stays bytes and is not
taken apart, so that nothing nests.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from ingest.decoders import protobuf
from ingest.decoders.written_units import ucum
from sensors.checks import Reason

REBIRTH = "Node Control/Rebirth"
BOOLEAN, DATETIME = 11, 13
MOST_METRICS = 10_000

_VALID = "a payload of Sparkplug B, in protobuf and not compressed"
_COMPRESSED = b"SPBV1.0_COMPRESSED"
_GOOD = 192  # of the property Quality; 0 is bad and 500 stale
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999

_SCHEMA = {
    "Property": ["3 uint32 whole", "8 bytes text"],
    "Properties": ["1 bytes keys *", "2 Property values *"],
    "Metric": [
        "1 bytes name",
        "2 uint64 alias",
        "3 uint64 timestamp",
        "4 uint32 datatype",
        "5 bool is_historical",
        "6 bool is_transient",
        "7 bool is_null",
        "9 Properties properties",
        "10 uint32 int_value =",
        "11 uint64 long_value =",
        "12 float float_value =",
        "13 double double_value =",
        "14 bool boolean_value =",
        "15 bytes string_value =",
        "16 bytes bytes_value =",
        "17 bytes dataset_value =",
        "18 bytes template_value =",
    ],
    "Payload": ["1 uint64 timestamp", "2 Metric metrics *", "3 uint64 seq", "4 bytes uuid"],
}


class Metric(NamedTuple):
    """A metric of a message: what is not there is None; ``timestamp`` in Unix milliseconds, ``unit`` in UCUM."""

    name: str | None
    alias: int | None
    timestamp: int | None
    datatype: int
    is_historical: bool
    has_value: bool
    field: str
    value: Any
    unit: str | None


class Payload(NamedTuple):
    """What a message says; ``timestamp`` in Unix milliseconds."""

    timestamp: int | None
    metrics: list[Metric]
    seq: int | None

    @property
    def time(self) -> float:
        """Return when it was sent in Unix seconds, NaN where it says no time that there is."""
        is_time = self.timestamp is not None and self.timestamp <= LAST_MILLISECOND
        return self.timestamp / 1000 if self.timestamp is not None and is_time else math.nan


class MisfitError(ValueError):
    """A payload or a metric that can't be read: ``found`` is there, ``valid`` would be right."""

    def __init__(self, reason: Reason, found: str, valid: str) -> None:
        super().__init__(found)
        self.reason, self.found, self.valid = reason, found, valid


_Payload = protobuf.compile_schema("alatau.sparkplug", _SCHEMA)["Payload"]


def read_payload(content: bytes) -> Payload:
    """Return what a payload says. Raises MisfitError."""
    try:
        found = _Payload.FromString(content)
    except DecodeError:
        raise MisfitError(Reason.UNDECODABLE, "bytes of another kind", _VALID) from None
    if found.uuid == _COMPRESSED:
        raise MisfitError(Reason.UNDECODABLE, "a compressed payload", _VALID)
    if len(found.metrics) > MOST_METRICS:
        valid = f"at most {MOST_METRICS:,} metrics in a message"
        raise MisfitError(Reason.TOO_LARGE, f"{len(found.metrics)} metrics", valid)
    return Payload(
        found.timestamp if found.HasField("timestamp") else None,
        [_metric(one) for one in found.metrics],
        found.seq if found.HasField("seq") else None,
    )


def rebirth_request(milliseconds: int) -> bytes:
    """Return the payload of an NCMD that asks a node for its births."""
    request = _Payload(timestamp=milliseconds)
    request.metrics.add(name=REBIRTH.encode(), timestamp=milliseconds, datatype=BOOLEAN, boolean_value=True)
    content: bytes = request.SerializeToString(deterministic=True)
    return content


def _metric(found: Any) -> Metric:
    field = found.WhichOneof(protobuf.ONE_OF)
    has_value = field is not None and not found.is_null and not found.is_transient
    unit = None
    if found.HasField("properties"):
        properties = dict(zip(found.properties.keys, found.properties.values, strict=False))
        if quality := properties.get(b"Quality"):
            has_value = has_value and quality.whole == _GOOD
        if written := properties.get(b"engUnit"):
            unit = ucum(written.text.decode(errors="replace"))
    return Metric(
        found.name.decode(errors="replace") or None,
        found.alias if found.HasField("alias") else None,
        found.timestamp if found.HasField("timestamp") else None,
        found.datatype,
        found.is_historical,
        has_value,
        field or "",
        getattr(found, field) if field else None,
        unit,
    )
