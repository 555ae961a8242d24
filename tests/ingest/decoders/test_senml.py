"""SenML: what a pack says is read back however it is written, and nothing else hurts."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.parsed import Parsed, Reading
from ingest.decoders.senml import FORMAT
from ingest.decoders.senml_units import ucum
from sensors.checks import Reason
from sensors.ucum import check_unit
from tests.ingest.decoders.encode_senml import Measured, as_cbor, as_json, pack
from tests.ingest.decoders.fuzzed import check_sound, fuzz, incoming

_EIGHTHS = st.integers(-(2**20), 2**20).map(lambda n: n / 8)
_MEASURED = st.lists(
    st.builds(
        Measured,
        device=st.sampled_from(
            ["urn:dev:mac:0024befffe804ff1", "urn:dev:os:32473-12:7", "urn:imei:490154203237518"]
        ),
        field=st.from_regex(r"[a-z0-9][a-z0-9:/._-]{0,6}[a-z0-9]", fullmatch=True),
        time=st.integers(1767225600 - 9, 1767225600),
        value=_EIGHTHS,
        unit=st.sampled_from(["Cel", "W", "m3/s", "degC"]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda one: (one.device, one.field, one.time),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=3,
)
_LABELS = st.sampled_from(
    ["n", "u", "v", "t", "vb", "vs", "vd", "s", "ut", "bn", "bt", "bu", "bv", "bs", "bver", "x", "y_"]
)
_ANY_PACK = st.lists(
    st.dictionaries(_LABELS, _JSON | st.sampled_from(["a", "urn:dev:ow:1/", 1767225600, 10, 2.5])), max_size=5
)


def _read(payload: bytes, topic: str = "senml/air-7") -> Parsed:
    parsed = FORMAT.decode(incoming(FORMAT, topic, payload), None)
    check_sound(parsed, payload)
    return parsed


def _said(measured: list[Measured]) -> list[Reading]:
    readings: dict[tuple[str, int], Reading] = {}
    for one in measured:
        reading = readings.setdefault((one.device, one.time), Reading(one.device, float(one.time), {}, {}))
        reading.values[one.field] = one.value
        reading.units[one.field] = one.unit  # type: ignore[index]
    return list(readings.values())


@settings(max_examples=25)
@given(_MEASURED, st.randoms(use_true_random=False))
def test_what_was_measured_is_read_from_json_however_its_base_fields_stand(
    measured: list[Measured], choose: random.Random
) -> None:
    parsed = _read(as_json(pack(measured, choose)))
    assert not parsed.refusals
    assert parsed.readings == _said(measured)


@settings(max_examples=25)
@given(_MEASURED, st.randoms(use_true_random=False))
def test_what_was_measured_is_read_from_cbor_in_whatever_form_its_numbers_are(
    measured: list[Measured], choose: random.Random
) -> None:
    parsed = _read(as_cbor(pack(measured, choose), choose))
    assert not parsed.refusals
    assert parsed.readings == _said(measured)


@settings(max_examples=40)
@given(_ANY_PACK)
def test_any_pack_is_read_or_refused(records: list[dict[str, Any]]) -> None:
    _read(json.dumps(records).encode())


@settings(max_examples=80)
@given(st.sampled_from([b"", b"\x81", b"\x82\xa2\x00", b"\x9f", b"[", b'[{"v":']), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(start: bytes, rest: bytes) -> None:
    _read(start + rest)


def test_mutations_of_the_cases_are_read_or_refused() -> None:
    fuzz(FORMAT, ("senml/air-7", "senml/"), 1500)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"[" + b'{"v":1},' * 10_000 + b'{"v":1}]', Reason.TOO_LARGE),
        (b"\x99\x27\x11" + b"\xa1\x02\x01" * 10_001, Reason.TOO_LARGE),
        (b"[" * 60_000, Reason.UNDECODABLE),
        (b'[{"x":' * 10_000, Reason.UNDECODABLE),
        (b"\x81" * 60_000, Reason.UNDECODABLE),
        (b"\x81\xa1\x61x" * 15_000, Reason.UNDECODABLE),
        (b"\xd8\x1c" * 30_000, Reason.UNDECODABLE),
        (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", Reason.UNDECODABLE),
        (b"\x9a\x40\x00\x00\x00\xa0", Reason.UNDECODABLE),
        (b"\x81\xbb\x00\x00\x00\x10\x00\x00\x00\x00", Reason.UNDECODABLE),
        (b"\x81\x5b\x00\x00\x00\x10\x00\x00\x00\x00", Reason.UNDECODABLE),
        (b"\x81\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01", Reason.WRONG_TYPE),
        (b"\x81\xc2\x59\xff\x00" + b"\xff" * 0xFF00, Reason.WRONG_TYPE),
        (b"\x81\xa2\x00\x61x\x02\xc4\x82\x01\xc2\x59\xff\x00" + b"\xff" * 0xFF00, Reason.WRONG_TYPE),
        (b'[{"n":"x","v":' + b"1" * 60_000 + b"}]", Reason.UNDECODABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else value[:8].hex(),
)
def test_payloads_made_to_exhaust_are_refused(payload: bytes, reason: Reason) -> None:
    parsed = _read(payload)
    assert not parsed.readings
    assert parsed.refusals[0].reason is reason


def test_long_names_are_refused() -> None:
    parsed = _read(
        json.dumps(
            [{"n": "x" * 256, "v": 1}, {"n": "y" * 255, "v": 2}, {"n": "z", "u": "u" * 65, "v": 3}]
        ).encode()
    )
    assert [list(reading.values) for reading in parsed.readings] == [["y" * 255]]
    assert [refusal.path for refusal in parsed.refusals] == ["/0/n", "/2/u"]


def test_a_long_topic_is_refused() -> None:
    assert _read(b'[{"n":"t","v":1}]', "senml/" + "x" * 256).refusals[0].reason is Reason.UNKNOWN_TOPIC


@pytest.mark.parametrize(
    ("unit", "code"),
    [
        *(("m", "m"), ("%RH", "%"), ("%", "1"), ("/", "1"), ("/100", "%"), ("lat", "deg"), ("dBW", "dB[W]")),
        *(("var", "V.A"), ("MBit/s", "Mbit/s"), ("kWh", "kW.h"), ("EL", "s"), ("ppt", "[pptr]"), ("B", "By")),
        *(("pH", "[pH]"), ("NTU", "{NTU}"), ("dBm", ""), ("degC", "degC")),
    ],
)
def test_units_of_the_registry_become_ucum(unit: str, code: str) -> None:
    assert ucum(unit) == code


_REGISTRY = """m kg g s A K cd mol Hz rad N Pa J W C V Ohm S T Cel lm lx Bq Gy Sv m2 m3 l m/s m/s2 m3/s l/s W/m2 cd/m2
lat lon pH dB count / % %RH %EL EL 1/s 1/min beat/min beats S/m VA VAs var vars J/m kg/m3 deg NTU ms min h MHz kW kVA
kvar Ah Wh kWh varh kvarh kVAh Wh/km mV mA ug/m3 mm/h m/h ppm /100 /1000 hPa mm cm km km/h ppb VAh mg/l ug/l g/l"""


@pytest.mark.parametrize("unit", _REGISTRY.split())
def test_units_that_sensors_measure_in_can_be_converted(unit: str) -> None:
    check_unit(ucum(unit))
