"""ChirpStack v4: the events of its MQTT integration, JSON or Protocol Buffers.

Source: ChirpStack's documentation, "Event types"; integration.proto and gw.proto. A field that is zero or false is
not sent.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Generic

import msgspec

from ingest.decoders.chirpstack_protobuf import read_event
from ingest.decoders.lorawan import (
    BATTERY_UNITS,
    LOCATION_UNITS,
    AnyContent,
    Content,
    Frame,
    Gateway,
    Location,
    SomeContent,
    add_radio,
    locate,
    read_frame,
    read_object,
    source_of,
    with_faults,
)
from ingest.decoders.lorawan_layouts import Fields, Layouts
from ingest.decoders.parsed import Format, Incoming, Layout, Parsed, Reading, Status, refuse
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


class _Up(_Event, Generic[SomeContent], gc=False, rename="camel"):
    dr: float = 0.0
    f_cnt: float = 0.0
    f_port: float = 0.0
    data: str = ""
    content: SomeContent | None = msgspec.field(default=None, name="object")
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


def decode(incoming: Incoming, _memory: Any) -> Parsed:
    """Return what an event says; acknowledgements, logs and other integrations' events say nothing here."""
    _, called, name = incoming.levels
    kind = _KINDS.get(name)
    if kind is None:
        return Parsed()
    try:
        event = kind.decode_json(incoming.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _take_apart(kind, name, incoming.payload, called)
    return _read(kind, event, called)


def _take_apart(kind: _Kind, name: str, payload: bytes, called: str) -> Parsed:
    try:
        document = _document(name, payload)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return refuse(Reason.UNDECODABLE, "", str(error)[:80], _VALID)
    event, refusals = convert(document, kind.shape)
    return Parsed(refusals=refusals) if event is None else with_faults(_read(kind, event, called), refusals)


def _read(kind: _Kind, event: _Event, called: str) -> Parsed:
    return kind.read(event, source_of(event.device_info.dev_eui, called), _time(event))


def _time(event: _Event) -> float:
    return math.nan if event.time is None else event.time.timestamp()


def _document(name: str, payload: bytes) -> Any:
    # A Protobuf event begins with the tag of a text or a message, never with a brace.
    if payload.lstrip()[:1] == b"{":
        return msgspec.json.decode(payload)
    return read_event(name, payload)


def _read_up(up: _Up[Content], source: str, time: float) -> Parsed:
    if up.content is not None:
        values, units, refusals = read_object(up.content, "/object")
    else:
        is_encrypted = up.join_server_context is not None
        values, units, refusals = read_frame(Frame(up.data, up.f_port, is_encrypted, "/data", _CODEC))
    sent = up.tx_info
    lora = sent.modulation.lora if sent.modulation is not None else None
    radio = add_radio(values, up.rx_info, sent.frequency, None if lora is None else lora.spreading_factor)
    values["radio.dr"] = up.dr
    values["radio.f_cnt"] = up.f_cnt
    return Parsed([Reading(source, time, values, {**units, **radio} if units else radio)], refusals)


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
    """A kind of event: its shape, the decoder of plain JSON of it, and what it says."""

    shape: type[Any]
    decode_json: Callable[[bytes], Any]
    read: Callable[[Any, str, float], Parsed]


def _kind(
    shape: type[Any], read: Callable[[Any, str, float], Parsed], plain: type[Any] | None = None
) -> _Kind:
    return _Kind(shape, msgspec.json.Decoder(plain or shape).decode, read)


_KINDS = {
    "up": _kind(_Up[AnyContent], _read_up, _Up[Content]),
    "join": _kind(_Event, _read_join),
    "status": _kind(_Status, _read_status),
    "location": _kind(_Located, _read_location),
}


def _fields_of(content: type) -> Fields:
    return [
        ("device_info", _Info, msgspec.NODEFAULT),
        ("object", content, msgspec.NODEFAULT),
        ("time", Time | None, None),
    ]


_layouts = Layouts(
    _fields_of, "object", "device_info.dev_eui", lambda event, _received: _time(event), rename="camel"
)


def _layout(incoming: Incoming) -> Layout | None:
    if incoming.levels[2] != "up":
        return None
    try:
        return _layouts.of(_KINDS["up"].decode_json(incoming.payload).content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


FORMAT = Format("chirpstack", "ChirpStack", ("application/+/device/+/event/+",), decode, layout=_layout)
