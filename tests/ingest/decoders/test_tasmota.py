"""Tasmota's bounds, whatever else its topics bring, and that what is written is read."""

from __future__ import annotations

import json
import zoneinfo

import hypothesis
import pytest
from hypothesis import strategies as st

from ingest.decoders.flat import MOST_FIELDS
from ingest.decoders.parsed import Incoming, Parsed
from ingest.decoders.tasmota import FORMAT, decode
from ingest.decoders.tasmota_fields import Units
from sensors.checks import Reason
from sensors.ucum import check_unit
from tests.ingest.decoders.encode_tasmota import telemetry
from tests.ingest.decoders.fuzzed import check_sound, fuzz, incoming

TOPIC = "tele/air7/SENSOR"
NUMBERS = st.floats(-1e9, 1e9) | st.integers(-(2**53), 2**53)
NAMES = st.sampled_from(["Temperature", "Humidity", "Power", "Voltage", "Speed", "A0", "DewPoint"])
SENSORS = st.dictionaries(
    st.sampled_from(["BME280", "DS18B20-1", "ENERGY", "ANALOG"]),
    st.dictionaries(NAMES, NUMBERS | st.lists(NUMBERS, min_size=1, max_size=3), min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)
MEMBERS = st.sampled_from(
    ["Time", "Epoch", "ENERGY", "Power", "Id", "TempUnit", "ZbReceived", "0x1", "StatusSNS"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6)
TIMES = st.sampled_from(
    ["2026-01-01T00:00:00", "9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", "C", "1e400"]
)
SHAPED = st.recursive(
    SCALARS | TIMES, lambda one: st.lists(one, max_size=3) | st.dictionaries(MEMBERS, one, max_size=4)
)
FEW = hypothesis.settings(max_examples=40, deadline=None)


@FEW
@hypothesis.given(
    st.integers(1_500_000_000, 4_000_000_000),
    SENSORS,
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from(["Asia/Almaty", "Europe/Berlin", "America/St_Johns"]),
)
def test_what_is_written_is_read(
    seconds: int,
    sensors: dict[str, dict[str, float | list[float]]],
    time_format: int,
    is_text: bool,
    zone: str,
) -> None:
    there = zoneinfo.ZoneInfo(zone)
    payload = telemetry(seconds, there, sensors, time_format=time_format, is_text=is_text)
    (reading,) = decode(Incoming(TOPIC, ("air7",), payload, seconds + 1.0, zone=there), None).readings
    assert (reading.source, reading.time) == ("air7", seconds)
    assert reading.values == {
        f"{sensor}.{name}{place}": one
        for sensor, said in sensors.items()
        for name, value in said.items()
        for place, one in (
            [(f".{n}", v) for n, v in enumerate(value, 1)] if isinstance(value, list) else [("", value)]
        )
    }
    assert {"Cel"} >= {unit for field, unit in reading.units.items() if "Temperature" in field}


@FEW
@hypothesis.given(SHAPED, st.sampled_from(FORMAT.patterns))
def test_any_document_of_its_shape(document: object, pattern: str) -> None:
    payload = json.dumps(document).encode()
    check_sound(decode(incoming(FORMAT, pattern.replace("+", "air7"), payload), None), payload)


def test_mutated_telemetry() -> None:
    fuzz(FORMAT, (TOPIC, "tele/air7/STATE", "tele/air7/LWT", "stat/air7/STATUS10"), 2000)


def test_fields_of_one_message_are_bounded() -> None:
    parsed = _decode({"A": list(range(MOST_FIELDS + 5))})
    assert [len(one.values) for one in parsed.readings] == [MOST_FIELDS]
    assert [one.reason for one in parsed.refusals] == [Reason.TOO_LARGE]


def test_what_is_nested_too_deeply_costs_itself_alone() -> None:
    deep: object = 1
    for _ in range(40):
        deep = {"a": deep}
    parsed = _decode({"A": deep, "B": {"C": 2}})
    assert [one.values for one in parsed.readings] == [{"B.C": 2.0}]
    assert [one.reason for one in parsed.refusals] == [Reason.TOO_LARGE]


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_a_name_that_is_empty_or_too_long_is_refused(name: str) -> None:
    parsed = decode(incoming(FORMAT, f"tele/{name}/SENSOR", b"{}"), None)
    assert [one.reason for one in parsed.refusals] == [Reason.UNKNOWN_TOPIC]


@pytest.mark.parametrize("pressure", ["hPa", "гПа", "mmHg", "мм рт.ст.", "inHg"])
@pytest.mark.parametrize("speed", ["m/s", "км/ч", "km/h", "kn", "mph", "ft/s", "yd/s"])
def test_units_that_it_may_say_are_of_ucum(pressure: str, speed: str) -> None:
    units = Units.of({"TempUnit": "F", "PressureUnit": pressure, "SpeedUnit": speed})
    for unit in units:
        check_unit(unit)


def _decode(document: dict[str, object]) -> Parsed:
    return decode(incoming(FORMAT, TOPIC, json.dumps(document).encode()), None)
