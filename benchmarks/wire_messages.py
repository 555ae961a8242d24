"""Messages as devices, servers and gateways send them: what ``bench decode`` reads, by format.

They hold six values each, but in formats whose messages hold one.
"""

from __future__ import annotations

import base64
import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from ingest.decoders import (
    chirpstack,
    collectd,
    fiware,
    homie,
    influx,
    senml,
    sensorthings,
    shelly,
    sparkplug,
    tasmota,
    things_stack,
    thingsboard,
    zigbee2mqtt,
)
from ingest.decoders.parsed import Format
from sensors.profiles import Field, Profile
from sensors.topics import Channel, Topics

KIND = "air_quality"
_LEAST = {"pm1": 8.2, "pm2_5": 12.5, "pm10": 20.3, "co2": 421.6, "temperature": 21.7, "humidity": 41.4}
NAMES = tuple(_LEAST)
NOW = 1_767_225_600  # Unix seconds
_SENML_UNITS = {"temperature": "Cel", "humidity": "%RH", "co2": "ppm"}


@dataclasses.dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one format; ``write`` makes topic and payload of a device's number. None: the native format.

    ``before`` makes what came earlier, such as a birth; ``profile`` says which fields are metrics, if names do not.
    """

    name: str
    format: Format | None
    write: Callable[[int], tuple[str, bytes]]
    least: float | None = None  # the target of all work for one against that for a native one
    before: Callable[[int], tuple[str, bytes]] | None = None
    profile: Profile | None = None


def device(number: int) -> str:
    """Return the id of a device."""
    return f"air-{number:05d}"


def _values(number: int) -> dict[str, float]:
    return {name: round(least + number % 64 / 10, 1) for name, least in _LEAST.items()}


def _time(number: int, fraction: str) -> str:
    return f"2026-01-01T00:00:{number % 60:02d}{fraction}"


def _native(number: int) -> tuple[str, bytes]:
    payload = msgspec.json.encode({"ts": NOW + number % 60, **_values(number)})
    return Topics().of(device(number), Channel.TELEMETRY), payload


def _senml(number: int) -> tuple[str, bytes]:
    records: list[dict[str, Any]] = [
        {"n": name, "u": _SENML_UNITS.get(name, "ug/m3"), "v": value}
        for name, value in _values(number).items()
    ]
    records[0] = {"bt": NOW + number % 60, **records[0]}
    return f"senml/{device(number)}", msgspec.json.encode(records)


def _chirpstack(number: int) -> tuple[str, bytes]:
    """Source of the members: ChirpStack's documentation, "Event types"."""
    eui, application = f"24e124aa{number:08x}", "17c82e96-be03-4f38-aef3-f83d48582d97"
    event = {
        "deduplicationId": f"3ac7e3c4-4401-4b8d-9386-a5c9{number:08x}",
        "time": _time(number, ".775023242+00:00"),
        "deviceInfo": {
            "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
            "tenantName": "City",
            "applicationId": application,
            "applicationName": "Air",
            "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad",
            "deviceProfileName": "Air quality",
            "deviceName": device(number),
            "devEui": eui,
            "deviceClassEnabled": "CLASS_A",
            "tags": {"district": "north"},
        },
        "devAddr": "00189440",
        "adr": True,
        "dr": 5,
        "fCnt": number + 1,
        "fPort": 2,
        "confirmed": False,
        "data": base64.b64encode(bytes(12)).decode(),
        "object": _values(number),
        "rxInfo": [
            {
                "gatewayId": "0016c001f153a14c",
                "uplinkId": 4217106255,
                "nsTime": _time(number, ".775023242+00:00"),
                "rssi": -97,
                "snr": 7.2,
                "channel": 2,
                "location": {"latitude": 43.238, "longitude": 76.945},
                "context": "E3OWOQ==",
                "metadata": {"region_name": "eu868", "region_common_name": "EU868"},
                "crcStatus": "CRC_OK",
            }
        ],
        "txInfo": {
            "frequency": 867100000,
            "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 7, "codeRate": "CR_4_5"}},
        },
        "regionConfigId": "eu868",
    }
    return f"application/{application}/device/{eui}/event/up", msgspec.json.encode(event)


def _things_stack(number: int) -> tuple[str, bytes]:
    """Source of the members: The Things Stack's documentation, "Data Formats"."""
    name = device(number)
    message = {
        "end_device_ids": {
            "device_id": name,
            "application_ids": {"application_id": "air"},
            "dev_eui": f"24E124AA{number:08X}",
            "join_eui": "800000000000000C",
            "dev_addr": "00BCB929",
        },
        "correlation_ids": ["as:up:01E0WZGT6Y7657CPFPE5WEYDSQ"],
        "received_at": _time(number, ".914773143Z"),
        "uplink_message": {
            "session_key_id": "AXA50tHUGUucuzS/bCGMNw==",
            "f_port": 2,
            "f_cnt": number + 1,
            "frm_payload": base64.b64encode(bytes(12)).decode(),
            "decoded_payload": _values(number),
            "rx_metadata": [
                {
                    "gateway_ids": {"gateway_id": "gateway-1", "eui": "9C5C8E00001A05C4"},
                    "time": _time(number, ".787Z"),
                    "timestamp": 2463457000,
                    "rssi": -97,
                    "channel_rssi": -97,
                    "snr": 7.2,
                    "uplink_token": "ChIKEAoEZ3R3MRIInFyOAAAaBcQQ6L3Vlgk=",
                }
            ],
            "settings": {
                "data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7, "coding_rate": "4/5"}},
                "frequency": "868300000",
                "timestamp": 2463457000,
            },
            "received_at": _time(number, ".789585559Z"),
            "consumed_airtime": "0.056576s",
            "network_ids": {"net_id": "000013", "tenant_id": "city", "cluster_id": "eu1"},
        },
    }
    return f"v3/air@city/devices/{name}/up", msgspec.json.encode(message)


def _thingsboard(number: int) -> tuple[str, bytes]:
    reading = {"ts": (NOW + number % 60) * 1000, "values": _values(number)}
    return "v1/gateway/telemetry", msgspec.json.encode({device(number): [reading]})


def _fiware(number: int) -> tuple[str, bytes]:
    payload = msgspec.json.encode({**_values(number), "TimeInstant": _time(number, "Z")})
    return f"/json/key/{device(number)}/attrs", payload


def _influx(number: int) -> tuple[str, bytes]:
    fields = ",".join(f"{name}={value}" for name, value in _values(number).items())
    name = device(number)
    return f"influx/{name}", f"air,device={name} {fields} {NOW + number % 60}000000000".encode()


def _tasmota(number: int) -> tuple[str, bytes]:
    values = _values(number)
    message = {
        "Time": _time(number, ""),
        "PMS5003": {"PM1": values["pm1"], "PM2.5": values["pm2_5"], "PM10": values["pm10"]},
        "SCD40": {
            "CarbonDioxide": values["co2"],
            "Temperature": values["temperature"],
            "Humidity": values["humidity"],
        },
        "TempUnit": "C",
    }
    return f"tele/{device(number)}/SENSOR", msgspec.json.encode(message)


def _shelly(number: int) -> tuple[str, bytes]:
    name, params = device(number), {"ts": NOW + number % 60, "air:0": {"id": 0, **_values(number)}}
    message = {"src": name, "dst": f"{name}/events", "method": "NotifyStatus", "params": params}
    return f"{name}/events/rpc", msgspec.json.encode(message)


def _zigbee2mqtt(number: int) -> tuple[str, bytes]:
    message = {**_values(number), "last_seen": (NOW + number % 60) * 1000}
    return f"zigbee2mqtt/{device(number)}", msgspec.json.encode(message)


def _device_of_thingsboard(number: int) -> tuple[str, bytes]:
    reading = {"ts": (NOW + number % 60) * 1000, "values": _values(number)}
    return thingsboard.topic_of(device(number)), msgspec.json.encode(reading)


def _temperature(number: int) -> float:
    return _values(number)["temperature"]


def _collectd(number: int) -> tuple[str, bytes]:
    topic = f"collectd/{device(number)}/air/temperature"
    return topic, f"{NOW + number % 60}.000:{_temperature(number)}".encode()


def _homie(number: int) -> tuple[str, bytes]:
    return f"homie/5/{device(number)}/air/temperature", str(_temperature(number)).encode()


def _homie_description(number: int) -> tuple[str, bytes]:
    properties = {"temperature": {"datatype": "float", "unit": "°C"}}
    said = {"homie": "5.0", "version": 1, "nodes": {"air": {"properties": properties}}}
    return f"homie/5/{device(number)}/$description", msgspec.json.encode(said)


def _sensorthings(number: int) -> tuple[str, bytes]:
    said = {"phenomenonTime": _time(number, "Z"), "result": _temperature(number)}
    return f"v1.1/Datastreams({number})/Observations", msgspec.json.encode(said)


def _varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _sparkplug_payload(number: int, *, is_birth: bool) -> bytes:
    """Return six metrics that have names at the birth and aliases later. Source: Sparkplug 3.0.0, chapter 6."""
    stamp = _varint((NOW + number % 60) * 1000)
    metrics = []
    for alias, (name, value) in enumerate(_values(number).items(), 1):
        named = _block(1, name.encode()) if is_birth else b""
        what = b"\x10" + _varint(alias) + b"\x18" + stamp + b"\x20\x0a"  # of datatype 10, a double
        metrics.append(_block(2, named + what + b"\x69" + struct.pack("<d", value)))
    return b"\x08" + stamp + b"".join(metrics)


def _sparkplug(number: int) -> tuple[str, bytes]:
    return f"spBv1.0/city/DDATA/edge/{device(number)}", _sparkplug_payload(number, is_birth=False)


def _sparkplug_birth(number: int) -> tuple[str, bytes]:
    return f"spBv1.0/city/DBIRTH/edge/{device(number)}", _sparkplug_payload(number, is_birth=True)


_RESULT = Profile("result", "", "sensorthings", KIND, (Field("result", "temperature"),))
NATIVE = Messages("native", None, _native)
FOREIGN = (
    Messages("SenML", senml.FORMAT, _senml, 0.4),
    Messages("ChirpStack", chirpstack.FORMAT, _chirpstack, 0.4),
    # As messages are read that are laid out differently each time.
    Messages("SenML, the long way", dataclasses.replace(senml.FORMAT, layout=None), _senml),
    Messages("ChirpStack, the long way", dataclasses.replace(chirpstack.FORMAT, layout=None), _chirpstack),
    Messages("The Things Stack", things_stack.FORMAT, _things_stack),
    Messages("ThingsBoard gateway", thingsboard.FORMAT, _thingsboard),
    Messages("FIWARE IoTAgent-JSON", fiware.FORMAT, _fiware),
    Messages("line protocol", influx.FORMAT, _influx),
    Messages("Tasmota", tasmota.FORMAT, _tasmota),
    Messages("Shelly", shelly.FORMAT, _shelly),
    Messages("Zigbee2MQTT", zigbee2mqtt.FORMAT, _zigbee2mqtt),
    Messages("ThingsBoard device", thingsboard.DEVICE_FORMAT, _device_of_thingsboard),
    Messages("Sparkplug", sparkplug.FORMAT, _sparkplug, before=_sparkplug_birth),
    Messages("Homie, one value", homie.FORMAT, _homie, before=_homie_description),
    Messages("collectd, one value", collectd.FORMAT, _collectd),
    Messages("SensorThings, one value", sensorthings.FORMAT, _sensorthings, profile=_RESULT),
)
