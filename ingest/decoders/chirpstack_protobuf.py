"""ChirpStack's events in Protocol Buffers, as they would be in JSON. Source: integration.proto and gw.proto."""

from __future__ import annotations

import base64
import datetime as dt
import math
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from ingest.decoders import protobuf
from ingest.decoders.flat import DEEPEST
from sensors.times import EPOCH

_EVENT = ["2 Timestamp time", "3 Info deviceInfo"]
_CLASSES = protobuf.compile_schema(
    "alatau.chirpstack",
    {
        "Timestamp": ["1 int64 seconds", "2 int32 nanos"],
        "Info": ["8 bytes devEui"],
        "Gateway": ["6 int32 rssi", "7 float snr"],
        "Lora": ["2 uint32 spreadingFactor"],
        "Modulation": ["3 Lora lora"],
        "Transmission": ["1 uint32 frequency", "2 Modulation modulation"],
        "Context": [],
        "up": [
            *_EVENT,
            "6 uint32 dr",
            "7 uint32 fCnt",
            "8 uint32 fPort",
            "10 bytes data",
            "11 bytes object",  # a google.protobuf.Struct, read apart: it nests
            "12 Gateway rxInfo *",
            "13 Transmission txInfo",
            "15 Context joinServerContext",
        ],
        "join": _EVENT,
        "status": [
            *_EVENT,
            "5 int32 margin",
            "6 bool externalPowerSource",
            "7 bool batteryLevelUnavailable",
            "8 float batteryLevel",
        ],
        "Position": ["1 double latitude", "2 double longitude", "3 double altitude", "5 float accuracy"],
        "location": [*_EVENT, "4 Position location"],
    },
)


def read_event(name: str, content: bytes) -> dict[str, Any]:
    """Return an event as of its JSON. Raises ValueError that says what is there instead."""
    try:
        values = protobuf.document(_CLASSES[name].FromString(content))
        if (nested := values.get("object")) is not None:
            values["object"] = _object(struct_pb2.Struct.FromString(nested), DEEPEST + 1)
    except DecodeError:
        raise ValueError("bytes of another kind") from None
    if (time := values.get("time")) is not None:
        values["time"] = _time(time.get("seconds", 0), time.get("nanos", 0))
    if (info := values.get("deviceInfo")) is not None and "devEui" in info:
        info["devEui"] = info["devEui"].decode(errors="replace")
    if "data" in values:
        values["data"] = base64.b64encode(values["data"]).decode()
    return values


def _time(seconds: int, nanoseconds: int) -> dt.datetime | str:
    try:
        # As JSON is read.
        return EPOCH + dt.timedelta(seconds=seconds, microseconds=round(nanoseconds / 1000))
    except OverflowError:
        return f"{seconds} s"  # no time, which whoever reads on then says


def _object(struct: Any, depth: int) -> dict[str, Any]:
    # Beyond the depth it is empty, and still there, so that it counts as too deep. A map has no order: the same fields
    # are to come in the same one.
    fields = struct.fields if depth else {}
    return {name: _value(fields[name], depth - 1) for name in sorted(fields)}


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _object(value.struct_value, depth)
    if kind == "list_value":
        return [_value(one, depth - 1) for one in value.list_value.values] if depth else []
    if kind == "number_value":
        return value.number_value if math.isfinite(value.number_value) else None
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None
