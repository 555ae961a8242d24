"""What the network servers of LoRaWAN have in common: the payload of a frame, how it was heard, where its device is.

Facts of the network itself are fields that begin with ``radio.`` or ``location.``; a codec's own of these names give
way.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from ingest.decoders import cayenne
from ingest.decoders.flat import BOUNDS, LONGEST_NAME, MOST_FIELDS, flatten
from ingest.decoders.parsed import NO_UNITS, Parsed, Refusal
from ingest.decoders.shapes import shown
from sensors.checks import Reason

_DIGITS_OF_EUI = 16
# Its devices' port. Their layout has the same types with little-endian values: read as the other, nonsense comes out.
_MILESIGHT = 85
BATTERY_UNITS: Mapping[str, str] = MappingProxyType({"radio.battery": "%"})
LOCATION_UNITS: Mapping[str, str] = {
    "location.latitude": "deg",
    "location.longitude": "deg",
    "location.altitude": "m",
    "location.accuracy": "m",
}
RADIO = ("radio.carrier", "radio.spreading_factor", "radio.rssi", "radio.snr", "radio.dr", "radio.f_cnt")
_CARRIER: Mapping[str, str] = MappingProxyType({"radio.carrier": "Hz"})
_SNR: Mapping[str, str] = MappingProxyType({"radio.snr": "dB"})
_CARRIER_AND_SNR: Mapping[str, str] = MappingProxyType({**_CARRIER, **_SNR})


class Gateway(msgspec.Struct, gc=False):
    """How one gateway heard a frame: dBm, and dB where the modulation has it."""

    rssi: float | None = None
    snr: float | None = None


class Location(msgspec.Struct, gc=False):
    """Where a device is; numbers that are zero are not sent."""

    latitude: float = 0.0
    longitude: float = 0.0
    altitude: float | None = None
    accuracy: float | None = None


class Frame(NamedTuple):
    """The payload of a frame that no codec has read: base64, its port, and whether it is still encrypted.

    ``path`` says where it is in the message, ``codec`` how its server is given a codec.
    """

    data: str
    port: float
    is_encrypted: bool
    path: str
    codec: str


# The fields of a payload, the units of some, and what can't be read: a tuple, as it is made for each message.
Payload = tuple[dict[str, float], Mapping[str, str], list[Refusal]]

# What a codec makes of a payload, its whole numbers as doubles, so that most objects need no change; and any.
Content = dict[str, float | bool | str | list[Any] | dict[str, Any] | None]
AnyContent = dict[str, Any]
SomeContent = TypeVar("SomeContent", Content, AnyContent)


def read_object(content: Content | AnyContent, path: str) -> Payload:
    """Return what a codec made of a payload; the object itself may become the fields."""
    for name, value in content.items():
        if type(value) is not float or len(name) > LONGEST_NAME:
            break
    else:
        if len(content) <= MOST_FIELDS:
            return cast("dict[str, float]", content), NO_UNITS, []
    values: dict[str, float] = {}
    if flatten(content, values):
        return values, NO_UNITS, []
    return values, NO_UNITS, [Refusal(Reason.TOO_LARGE, path, "beyond the bounds", BOUNDS)]


def read_frame(frame: Frame) -> Payload:
    """Return what Cayenne LPP makes of a payload, where it is that."""
    if not frame.data or not frame.port:  # port 0 is the network's own
        return {}, NO_UNITS, []
    if frame.is_encrypted:
        return _unread(
            frame, "still encrypted", "a payload that the server has the AppSKey of, and decrypted"
        )
    if frame.port == _MILESIGHT:
        return _unread(frame, "port 85, Milesight's layout, which only looks like Cayenne LPP")
    try:
        content = binascii.a2b_base64(frame.data, strict_mode=True)
    except ValueError:
        return _unread(frame, f"not base64: {shown(frame.data)}")
    try:
        return *cayenne.decode(content), []
    except cayenne.NotCayenneError as error:
        return _unread(frame, f"port {frame.port:.0f}, not Cayenne LPP: {error}")


def _unread(frame: Frame, found: str, valid: str = "") -> Payload:
    return {}, NO_UNITS, [Refusal(Reason.UNDECODABLE, frame.path, found[:80], valid or frame.codec)]


def add_radio(
    values: dict[str, float], gateways: Sequence[Gateway], frequency: float, spreading_factor: float | None
) -> Mapping[str, str]:
    """Add how a frame was sent (Hz, 0 if that is not known; the factor of LoRa) and how its best gateway heard it.

    That is the one of the highest SNR, and of these of the highest RSSI: LoRa is heard below the noise, where RSSI says
    little. An SNR of zero is not sent. RSSI never is zero: a gateway without has not said how it heard. Returns the
    units, the same mapping for the same fields.
    """
    if frequency:  # called so as not to be taken for one that a meter measured
        values["radio.carrier"] = frequency
    if spreading_factor is not None:
        values["radio.spreading_factor"] = spreading_factor
    if gateways:
        best = gateways[0] if len(gateways) == 1 else max(gateways, key=_quality)
        if best.rssi is not None:
            values["radio.rssi"] = best.rssi  # UCUM has no code for dBm
            if best.snr is not None or spreading_factor is not None:
                values["radio.snr"] = best.snr or 0.0
                return _CARRIER_AND_SNR if frequency else _SNR
    return _CARRIER if frequency else NO_UNITS


def _quality(gateway: Gateway) -> tuple[float, float]:
    return (-math.inf, -math.inf) if gateway.rssi is None else (gateway.snr or 0.0, gateway.rssi)


def source_of(eui: str, called: str) -> str:
    """Return who sent a message: its DevEUI, else what the topic calls it; in lower case, as servers differ in that."""
    return (eui if len(eui) == _DIGITS_OF_EUI else called).lower()


def locate(location: Location | None) -> dict[str, float]:
    """Return where a device is, nothing if that is not known: both coordinates zero are as if not sent."""
    if location is None or not (location.latitude or location.longitude):
        return {}
    values = {"location.latitude": location.latitude, "location.longitude": location.longitude}
    if location.altitude is not None:
        values["location.altitude"] = location.altitude
    if location.accuracy is not None:
        values["location.accuracy"] = location.accuracy
    return values


def with_faults(parsed: Parsed, faults: list[Refusal]) -> Parsed:
    """Put what had to be taken out of a message first; where a time was, what has none else can't be read."""
    parsed.refusals = faults + parsed.refusals
    if any(one.reason is Reason.TIME_UNREADABLE for one in faults):
        # Sent again, it would be another reading, of another time of arrival.
        parsed.readings = [one for one in parsed.readings if not math.isnan(one.time)]
    return parsed
