"""ChirpStack v4: the events of its MQTT integration, JSON or Protocol Buffers.

Source: ChirpStack's documentation, "Event types"; integration.proto and gw.proto. A field that is zero or false is
not sent.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import msgspec

from ingest.decoders import protobuf
from ingest.decoders.lorawan import (
    BATTERY_UNITS,
    LOCATION_UNITS,
    Frame,
    Gateway,
    Location,
    add_radio,
    locate,
    read_frame,
    read_object,
    source_of,
    with_faults,
)
from ingest.decoders.parsed import Format, Incoming, Parsed, Reading, Status, refuse
from ingest.decoders.protobuf import Fields
from ingest.decoders.shapes import Time, convert
from sensors.checks import Reason

_VALID = "an event of ChirpStack v4, JSON or Protobuf"
_CODEC = "an object: choose a codec in ChirpStack's device profile, or send Cayenne LPP"


class _Info(msgspec.Struct, gc=False, rename="camel"):
    dev_eui: str = ""


class _Event(msgspec.Struct, gc=False, rename="camel"):
    # Always there; version 3, on the same topics, has none.
    device_info: _Info
    time: Time | None = None


class _Lora(msgspec.Struct, gc=False, rename="camel"):
    spreading_factor: float = 0.0


class _Modulation(msgspec.Struct, gc=False):
    lora: _Lora | None = None


class _Transmission(msgspec.Struct, gc=False, frozen=True):
    frequency: float = 0.0
    modulation: _Modulation | None = None


_UNKNOWN = _Transmission()


class _Up(_Event, gc=False, rename="camel"):
    dr: float = 0.0
    f_cnt: float = 0.0
    f_port: float = 0.0
    data: str = ""
    content: dict[str, Any] | None = msgspec.field(default=None, name="object")
    rx_info: tuple[Gateway, ...] = ()
    tx_info: _Transmission = _UNKNOWN
    join_server_context: dict[str, Any] | None = None


class _Status(_Event, gc=False, rename="camel"):
    margin: float = 0.0
    battery_level: float = 0.0
    battery_level_unavailable: bool = False
    external_power_source: bool = False


class _Located(_Event, gc=False, rename="camel"):
    location: Location | None = None


_INFO: Fields = {8: protobuf.text("devEui")}
_EVENT: Fields = {2: protobuf.timestamp("time"), 3: protobuf.message("deviceInfo", _INFO)}
_GATEWAY: Fields = {6: protobuf.signed("rssi"), 7: protobuf.single("snr")}
_MODULATION: Fields = {3: protobuf.message("lora", {2: protobuf.unsigned("spreadingFactor")})}
_TRANSMISSION: Fields = {
    1: protobuf.unsigned("frequency"),
    2: protobuf.message("modulation", _MODULATION),
}
_UP: Fields = {
    **_EVENT,
    6: protobuf.unsigned("dr"),
    7: protobuf.unsigned("fCnt"),
    8: protobuf.unsigned("fPort"),
    10: protobuf.binary("data"),
    11: protobuf.document("object"),
    12: protobuf.messages("rxInfo", _GATEWAY),
    13: protobuf.message("txInfo", _TRANSMISSION),
    15: protobuf.message("joinServerContext", {}),
}
_STATUS: Fields = {
    **_EVENT,
    5: protobuf.signed("margin"),
    6: protobuf.boolean("externalPowerSource"),
    7: protobuf.boolean("batteryLevelUnavailable"),
    8: protobuf.single("batteryLevel"),
}
_LOCATION: Fields = {
    1: protobuf.double("latitude"),
    2: protobuf.double("longitude"),
    3: protobuf.double("altitude"),
    5: protobuf.single("accuracy"),
}
_LOCATED: Fields = {**_EVENT, 4: protobuf.message("location", _LOCATION)}


def decode(incoming: Incoming, _memory: Any) -> Parsed:
    """Return what an event says; acknowledgements, logs and other integrations' events say nothing here."""
    _, called, name = incoming.levels
    kind = _KINDS.get(name)
    if kind is None:
        return Parsed()
    try:
        event = kind.decode_json(incoming.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _take_apart(kind, incoming.payload, called)
    return _read(kind, event, called)


def _take_apart(kind: _Kind, payload: bytes, called: str) -> Parsed:
    try:
        document = _document(payload, kind.fields)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], _VALID)
    event, refusals = convert(document, kind.shape)
    return Parsed(refusals=refusals) if event is None else with_faults(_read(kind, event, called), refusals)


def _read(kind: _Kind, event: _Event, called: str) -> Parsed:
    time = math.nan if event.time is None else event.time.timestamp()
    return kind.read(event, source_of(event.device_info.dev_eui, called), time)


def _document(payload: bytes, fields: Fields) -> Any:
    # A Protobuf event begins with the tag of a text or a message, never with a brace.
    if payload.lstrip()[:1] == b"{":
        return msgspec.json.decode(payload)
    return protobuf.read(payload, fields)


def _read_up(up: _Up, source: str, time: float) -> Parsed:
    if up.content is not None:
        payload = read_object(up.content, "/object")
    else:
        is_encrypted = up.join_server_context is not None
        payload = read_frame(Frame(up.data, up.f_port, is_encrypted, "/data", _CODEC))
    sent = up.tx_info
    lora = sent.modulation.lora if sent.modulation is not None else None
    add_radio(payload, up.rx_info, sent.frequency, None if lora is None else lora.spreading_factor)
    values, units, refusals = payload
    values["radio.dr"] = up.dr
    values["radio.f_cnt"] = up.f_cnt
    return Parsed([Reading(source, time, values, units)], refusals, [], [])


def _read_join(_join: _Event, source: str, time: float) -> Parsed:
    return Parsed(statuses=[Status(source, is_online=True, time=time)])


def _read_status(status: _Status, source: str, time: float) -> Parsed:
    values = {"radio.margin": status.margin, "radio.external_power": float(status.external_power_source)}
    units = {"radio.margin": "dB"}
    if not (status.external_power_source or status.battery_level_unavailable):
        values["radio.battery"] = status.battery_level
        units |= BATTERY_UNITS
    return Parsed([Reading(source, time, values, units)])


def _read_location(located: _Located, source: str, time: float) -> Parsed:
    values = locate(located.location)
    if not values:
        return Parsed()
    return Parsed([Reading(source, time, values, {name: LOCATION_UNITS[name] for name in values})])


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of event: its shape, the decoder of its JSON, its fields in Protobuf, and what it says."""

    shape: type[Any]
    decode_json: Callable[[bytes], Any]
    fields: Fields
    read: Callable[[Any, str, float], Parsed]


def _kind(shape: type[Any], fields: Fields, read: Callable[[Any, str, float], Parsed]) -> _Kind:
    return _Kind(shape, msgspec.json.Decoder(shape).decode, fields, read)


_KINDS = {
    "up": _kind(_Up, _UP, _read_up),
    "join": _kind(_Event, _EVENT, _read_join),
    "status": _kind(_Status, _STATUS, _read_status),
    "location": _kind(_Located, _LOCATED, _read_location),
}

FORMAT = Format("chirpstack", "ChirpStack", ("application/+/device/+/event/+",), decode)
