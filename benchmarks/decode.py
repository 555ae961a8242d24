"""Readings a second that each decoder makes of messages, against the native one: ``./alatau bench decode``.

Each message holds six values of one device at one time, as that format sends them; what is timed is from its bytes to a
row of metrics. The formats take turns, so that a machine whose speed changes changes it for all of them.
"""

from __future__ import annotations

import base64
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.report import Measure, Result, options
from ingest.decode import compile_decoder
from ingest.decoders import (
    chirpstack,
    fiware,
    influx,
    senml,
    shelly,
    tasmota,
    things_stack,
    thingsboard,
    zigbee2mqtt,
)
from ingest.decoders.parsed import Format, Incoming
from ingest.decoders.table import match
from ingest.mapping import Compiled
from sensors.catalogue import build_catalogue, builtin_file
from sensors.kinds import Kind

_KIND = "air_quality"
_NAMES = ("pm1", "pm2_5", "pm10", "co2", "temperature", "humidity")
_NOW = 1_767_225_600.0
_DISTINCT = 64  # messages, whose values differ
_ROUNDS, _QUICK_ROUNDS, _SECONDS, _QUICK_SECONDS = 5, 2, 0.4, 0.05
_LEAST = 0.4


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Messages of one kind and what makes rows of one; ``readings`` is how many each holds."""

    name: str
    payloads: Sequence[bytes]
    read: Callable[[bytes], int]
    target: float | None = None


def _values(number: int) -> dict[str, float]:
    return {name: round(20 + place + number / 10, 1) for place, name in enumerate(_NAMES)}


def _native(kind: Kind) -> Case:
    decode, as_row = compile_decoder(kind), msgspec.structs.astuple

    def read(payload: bytes) -> int:
        as_row(decode(payload))
        return 1

    payloads = [
        msgspec.json.encode({"ts": int(_NOW) + number, **_values(number)}) for number in range(_DISTINCT)
    ]
    return Case("native", payloads, read)


def _of(
    wire: Format, name: str, topic: str, payloads: Sequence[bytes], kind: Kind, *, held: bool = False
) -> Case:
    levels = next(found for one in wire.patterns if (found := match(one, topic)) is not None)
    memory, compiled, decode = wire.memory(), Compiled(kind), wire.decode

    def read(payload: bytes) -> int:
        parsed = decode(Incoming(topic, levels, payload, _NOW), memory)
        return sum(compiled.map(reading).row is not None for reading in parsed.readings)

    return Case(name, payloads, read, _LEAST if held else None)


def _senml(number: int) -> bytes:
    values = _values(number)
    units = {"temperature": "Cel", "humidity": "%RH", "co2": "ppm"}
    records = [{"n": name, "u": units.get(name, "ug/m3"), "v": value} for name, value in values.items()]
    records[0] = {"bt": _NOW + number, **records[0]}
    return msgspec.json.encode(records)


def _chirpstack(number: int) -> bytes:
    return msgspec.json.encode(
        {
            "deduplicationId": f"6f1f8f0e-1f5b-4a51-9a3e-0c2b1d7e{number:04d}",
            "time": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.125+00:00",
            "deviceInfo": {"applicationName": "air", "deviceName": "air-7", "devEui": "24e124aa00000007"},
            "devAddr": "00bca11f",
            "dr": 5,
            "fCnt": number,
            "fPort": 2,
            "data": base64.b64encode(bytes(12)).decode(),
            "object": _values(number),
            "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -97, "snr": 7.2}],
            "txInfo": {"frequency": 868100000},
        }
    )


def _things_stack(number: int) -> bytes:
    return msgspec.json.encode(
        {
            "end_device_ids": {"device_id": "air-7", "dev_eui": "24E124AA00000007"},
            "received_at": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.9Z",
            "uplink_message": {
                "f_port": 2,
                "f_cnt": number + 1,
                "frm_payload": base64.b64encode(bytes(12)).decode(),
                "decoded_payload": _values(number),
                "rx_metadata": [{"gateway_ids": {"gateway_id": "g1"}, "rssi": -97, "snr": 7.2}],
                "received_at": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.7Z",
            },
        }
    )


def _influx(number: int) -> bytes:
    fields = ",".join(f"{name}={value}" for name, value in _values(number).items())
    return f"air,device=air-7 {fields} {int(_NOW) + number}000000000".encode()


def _tasmota(number: int) -> bytes:
    values = _values(number)
    return msgspec.json.encode(
        {
            "Time": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}",
            "PMS5003": {"PM1": values["pm1"], "PM2.5": values["pm2_5"], "PM10": values["pm10"]},
            "SCD40": {
                "CarbonDioxide": values["co2"],
                "Temperature": values["temperature"],
                "Humidity": values["humidity"],
            },
            "TempUnit": "C",
        }
    )


def _shelly(number: int) -> bytes:
    params = {"ts": _NOW + number, "air:0": {"id": 0, **_values(number)}}
    return msgspec.json.encode(
        {"src": "air-7", "dst": "air-7/events", "method": "NotifyStatus", "params": params}
    )


def _zigbee2mqtt(number: int) -> bytes:
    return msgspec.json.encode({**_values(number), "last_seen": (int(_NOW) + number) * 1000})


def _cases(kind: Kind) -> list[Case]:
    every = range(_DISTINCT)
    nested = [msgspec.json.encode({"ts": (int(_NOW) + n) * 1000, "values": _values(n)}) for n in every]
    gateway = [b'{"air-7":[' + one + b"]}" for one in nested]
    stamped = [
        msgspec.json.encode({**_values(n), "TimeInstant": f"2026-01-01T00:{n // 60:02d}:{n % 60:02d}Z"})
        for n in every
    ]
    uplink = "application/1/device/24e124aa00000007/event/up"
    return [
        _native(kind),
        _of(senml.FORMAT, "SenML", "senml/air-7", [*map(_senml, every)], kind, held=True),
        _of(chirpstack.FORMAT, "ChirpStack", uplink, [*map(_chirpstack, every)], kind, held=True),
        _of(
            things_stack.FORMAT,
            "The Things Stack",
            "v3/a@t/devices/air-7/up",
            [*map(_things_stack, every)],
            kind,
        ),
        _of(thingsboard.FORMAT, "ThingsBoard gateway", "v1/gateway/telemetry", gateway, kind),
        _of(fiware.FORMAT, "FIWARE IoTAgent-JSON", "/json/key/air-7/attrs", stamped, kind),
        _of(influx.FORMAT, "line protocol", "influx/air-7", [*map(_influx, every)], kind),
        _of(tasmota.FORMAT, "Tasmota", "tele/air-7/SENSOR", [*map(_tasmota, every)], kind),
        _of(shelly.FORMAT, "Shelly", "air-7/events/rpc", [*map(_shelly, every)], kind),
        _of(zigbee2mqtt.FORMAT, "Zigbee2MQTT", "zigbee2mqtt/air-7", [*map(_zigbee2mqtt, every)], kind),
    ]


def _speed(case: Case, seconds: float) -> float:
    """Return readings a second of processor time."""
    payloads, read = case.payloads, case.read
    readings, began = 0, time.process_time()
    while (taken := time.process_time() - began) < seconds:
        for payload in payloads:
            readings += read(payload)
    if not readings:
        raise RuntimeError(f"{case.name}: nothing was read")
    return readings / taken


def measure(rounds: int, seconds: float) -> list[Measure]:
    """Return the speed of each, and its ratio to the native one's: the median of the rounds'."""
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    cases = _cases(catalogue.kind_of[_KIND])
    taken = [{case.name: _speed(case, seconds) for case in cases} for _ in range(rounds)]
    measures = []
    for case in cases:
        speed = statistics.median(one[case.name] for one in taken)
        measures.append(Measure(case.name, speed, "readings/s"))
        if case.name != "native":
            ratio = statistics.median(one[case.name] / one["native"] for one in taken)
            measures.append(Measure(f"{case.name}: against native", ratio, "ratio", "native", case.target))
    return measures


def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    rounds, seconds = (_QUICK_ROUNDS, _QUICK_SECONDS) if asked.quick else (_ROUNDS, _SECONDS)
    result = Result("decode", {"rounds": rounds, "seconds": seconds, "values": len(_NAMES)})
    result.measures += measure(rounds, seconds)
    result.publish(asked.json)


if __name__ == "__main__":
    main()
