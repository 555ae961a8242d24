"""The Things Stack v3: uplinks, joins and solved locations of its MQTT server.

Source: The Things Stack's documentation, "Data Formats" and "MQTT Server"; messages.proto and metadata.proto. A field
that is zero, false or empty is not sent.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic

import msgspec

from ingest.decoders import normalized
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
from ingest.decoders.parsed import Format, Incoming, Layout, Parsed, Reading, Refusal, Status, refuse
from ingest.decoders.shapes import Time, convert, shown
from sensors.checks import Reason

_VALID = "an uplink, a join or a location of The Things Stack v3, JSON"
_CODEC = "decoded_payload: set the device's payload formatter in The Things Stack, or send Cayenne LPP"
# How far from the Network Server's clock a gateway's may be: ahead of it, or behind, having kept a frame.
_AHEAD, _BEHIND = 60.0, 86_400.0
_DIGITS_OF_HERTZ = 12


class _Identifiers(msgspec.Struct, gc=False):
    dev_eui: str = ""


class _Lora(msgspec.Struct, gc=False):
    spreading_factor: float = 0.0


class _Rate(msgspec.Struct, gc=False):
    lora: _Lora | None = None


class _Settings(msgspec.Struct, gc=False, frozen=True):
    data_rate: _Rate | None = None
    frequency: str | float = ""
    time: Time | None = None


_UNKNOWN = _Settings()


class _Battery(msgspec.Struct, gc=False):
    value: float = 0.0
    received_at: Time | None = None


class _Uplink(msgspec.Struct, Generic[SomeContent], gc=False):
    f_port: float = 0.0
    f_cnt: float = 0.0
    frm_payload: str = ""
    decoded_payload: SomeContent | None = None
    normalized_payload: tuple[dict[str, Any], ...] = ()
    rx_metadata: tuple[Gateway, ...] = ()
    settings: _Settings = _UNKNOWN
    received_at: Time | None = None
    app_s_key: dict[str, Any] | None = None
    last_battery_percentage: _Battery | None = None


class _Join(msgspec.Struct, gc=False):
    received_at: Time | None = None


class _Solved(msgspec.Struct, gc=False):
    location: Location | None = None


class _Message(msgspec.Struct, Generic[SomeContent], gc=False):
    end_device_ids: _Identifiers
    received_at: Time | None = None
    uplink_message: _Uplink[SomeContent] | None = None
    join_accept: _Join | None = None
    location_solved: _Solved | None = None
    simulated: bool = False


_decode_json = msgspec.json.Decoder(_Message[Content]).decode


def decode(incoming: Incoming, _memory: Any) -> Parsed:
    """Return what a message says."""
    called = incoming.levels[1]
    try:
        message = _decode_json(incoming.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _take_apart(incoming.payload, called)
    return _read(message, called)


def _take_apart(payload: bytes, called: str) -> Parsed:
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return refuse(Reason.UNDECODABLE, "", f"not JSON: {error}"[:80], _VALID)
    message, refusals = convert(document, _Message[AnyContent])
    return Parsed(refusals=refusals) if message is None else with_faults(_read(message, called), refusals)


def _read(message: _Message[Any], called: str) -> Parsed:
    source = source_of(message.end_device_ids.dev_eui, called)
    if message.simulated:
        return refuse(Reason.SIMULATED, "/simulated", "true", "an uplink of the device itself")
    if message.uplink_message is not None:
        return _read_uplink(message.uplink_message, source, _time_of(message, message.uplink_message))
    arrived = _seconds(message.received_at)
    if message.join_accept is not None:
        heard = _seconds(message.join_accept.received_at)
        return Parsed(statuses=[Status(source, is_online=True, time=arrived if math.isnan(heard) else heard)])
    if message.location_solved is not None:
        values = locate(message.location_solved.location)
        units = {name: LOCATION_UNITS[name] for name in values}
        return Parsed([Reading(source, arrived, values, units)] if values else [])
    return refuse(Reason.UNDECODABLE, "", "no uplink_message, join_accept or location_solved", _VALID)


def _time_of(message: _Message[Any], uplink: _Uplink[Any]) -> float:
    """Return when a frame was sent by the gateway's clock, unless that is plainly wrong; then by the servers'."""
    sent = _seconds(uplink.settings.time)
    arrived = _seconds(uplink.received_at or message.received_at)
    # False for a time that is not known.
    if -_BEHIND <= sent - arrived <= _AHEAD:
        return sent
    return sent if math.isnan(arrived) else arrived


def _seconds(time: Time | None) -> float:
    return math.nan if time is None else time.timestamp()


def _read_uplink(uplink: _Uplink[Any], source: str, time: float) -> Parsed:
    if uplink.decoded_payload is not None:
        values, units, refusals = read_object(uplink.decoded_payload, "/uplink_message/decoded_payload")
    else:
        is_encrypted = uplink.app_s_key is not None
        path = "/uplink_message/frm_payload"
        values, units, refusals = read_frame(
            Frame(uplink.frm_payload, uplink.f_port, is_encrypted, path, _CODEC)
        )
    settings = uplink.settings
    lora = settings.data_rate.lora if settings.data_rate is not None else None
    frequency = _frequency(settings.frequency, refusals)
    radio = add_radio(values, uplink.rx_metadata, frequency, None if lora is None else lora.spreading_factor)
    values["radio.f_cnt"] = uplink.f_cnt
    first = Reading(source, time, values, {**units, **radio} if units else radio)
    readings = [first]
    if uplink.normalized_payload:
        path = "/uplink_message/normalized_payload"
        readings = normalized.read(uplink.normalized_payload, first, refusals, path)
    if (battery := uplink.last_battery_percentage) is not None:
        # Repeated with each uplink until the next is known: at its own time it is stored once.
        known = _seconds(battery.received_at)
        level = {"radio.battery": battery.value}
        readings.append(Reading(source, time if math.isnan(known) else known, level, BATTERY_UNITS))
    return Parsed(readings, refusals)


def _frequency(said: str | float, refusals: list[Refusal]) -> float:
    if isinstance(said, float) or (said.isascii() and said.isdecimal() and len(said) <= _DIGITS_OF_HERTZ):
        return float(said)
    if said:
        path = "/uplink_message/settings/frequency"
        refusals.append(Refusal(Reason.WRONG_TYPE, path, shown(said), "digits, in hertz"))
    return 0.0


class _Sent(msgspec.Struct, gc=False, frozen=True):
    time: Time | None = None


_AT_SOME_TIME = _Sent()


def _fields_of(content: type) -> Fields:
    # What makes further readings has to be looked at.
    nothing = Annotated[list[Any], msgspec.Meta(max_length=0)]
    uplink = msgspec.defstruct(
        "UplinkMessage",
        [
            ("decoded_payload", content),
            ("settings", _Sent, _AT_SOME_TIME),
            ("received_at", Time | None, None),
            ("last_battery_percentage", None, None),
            ("normalized_payload", nothing, msgspec.field(default_factory=list)),
        ],
        gc=False,
    )
    return [
        ("end_device_ids", _Identifiers, msgspec.NODEFAULT),
        ("uplink_message", uplink, msgspec.NODEFAULT),
        ("received_at", Time | None, None),
        ("simulated", bool, False),
    ]


def _time_if_real(message: Any, _received: float) -> float | None:
    return None if message.simulated else _time_of(message, message.uplink_message)


_layouts = Layouts(_fields_of, "uplink_message.decoded_payload", "end_device_ids.dev_eui", _time_if_real)


def _layout(incoming: Incoming) -> Layout | None:
    try:
        uplink = _decode_json(incoming.payload).uplink_message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if uplink is None else _layouts.of(uplink.decoded_payload)


FORMAT = Format(
    "things_stack",
    "The Things Stack",
    ("v3/+/devices/+/up", "v3/+/devices/+/join", "v3/+/devices/+/location/solved"),
    decode,
    layout=_layout,
)
