"""The network servers of LoRaWAN: the same said twice, what is not theirs, and bytes of all kinds."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders import chirpstack, normalized, things_stack
from ingest.decoders.flat import DEEPEST, LONGEST_NAME, MOST_FIELDS, flatten
from ingest.decoders.lorawan import BATTERY_UNITS, LOCATION_UNITS
from ingest.decoders.parsed import Format, Incoming, Parsed
from ingest.decoders.table import format_of, match
from sensors.ucum import check_unit
from tests.ingest.decoders.encode_lorawan import document, double, header, part, single, varint, whole

SOURCE = "24e124aa00000007"
UP = f"application/air/device/{SOURCE}/event/up"
EVENTS = tuple(
    f"application/air/device/{SOURCE}/event/{event}" for event in ("up", "join", "status", "location")
)
STACK = ("v3/air@alatau/devices/air-7/up",)
CASES = pathlib.Path(__file__).parents[2] / "cases" / "decoders"


def read(wire: Format, topic: str, payload: bytes) -> Parsed:
    levels = next(levels for pattern in wire.patterns if (levels := match(pattern, topic)) is not None)
    return wire.decode(Incoming(topic, levels, payload, 1_767_225_600.0), wire.memory())


names = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=8)
objects = st.dictionaries(
    names,
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
    ),
    max_size=6,
)
gateways = st.lists(
    st.tuples(st.integers(-140, -1), st.integers(-80, 60).map(lambda quarter: quarter / 4)), max_size=3
)


@given(
    objects | st.none(),
    gateways,
    st.binary(max_size=24),
    st.integers(0, 2**32 - 1),
    st.integers(0, 223),
    st.integers(0, 253_402_300_798),
    st.integers(0, 10**9 - 1),
)
def test_protocol_buffers_say_what_json_says(
    content: dict[str, Any] | None,
    heard: list[tuple[int, float]],
    data: bytes,
    count: int,
    port: int,
    seconds: int,
    nanoseconds: int,
) -> None:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    as_json = {
        "deviceInfo": {"devEui": SOURCE},
        "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}+00:00",
        "fCnt": count,
        "fPort": port,
        "data": base64.b64encode(data).decode(),
        "rxInfo": [{"rssi": rssi, "snr": snr} for rssi, snr in heard],
        "txInfo": {"frequency": 868_100_000, "modulation": {"lora": {"spreadingFactor": 9}}},
    }
    as_bytes = header(SOURCE, seconds, nanoseconds) + whole(7, count) + whole(8, port) + part(10, data)
    if content is not None:
        as_json["object"] = content
        as_bytes += part(11, document(content))
    as_bytes += b"".join(part(12, whole(6, rssi) + single(7, snr)) for rssi, snr in heard)
    as_bytes += part(13, whole(1, 868_100_000) + part(2, part(3, whole(1, 125_000) + whole(2, 9))))
    said = read(chirpstack.FORMAT, UP, json.dumps(as_json).encode())
    assert said == read(chirpstack.FORMAT, UP, as_bytes)
    assert said.readings[0].time == pytest.approx(seconds + nanoseconds / 1e9, rel=1e-15, abs=1e-6)
    assert said.readings[0].values["radio.f_cnt"] == count


def numbers_of(content: Any, *path: str) -> Iterator[tuple[str, float]]:
    """Yield what is to be read of an object, found another way than the decoder does."""
    if isinstance(content, dict | list):
        parts = content.items() if isinstance(content, dict) else enumerate(content)
        for name, value in parts:
            yield from numbers_of(value, *path, str(name))
    elif isinstance(content, bool | int | float):
        yield ".".join(path), float(content)


@given(objects, st.integers(0, 2**32 - 1))
def test_what_a_codec_said_is_read_by_its_nested_names(content: dict[str, Any], count: int) -> None:
    up = {"deviceInfo": {}, "object": content, "fCnt": count}
    message = {"end_device_ids": {}, "uplink_message": {"decoded_payload": content, "f_cnt": count}}
    wanted = dict(numbers_of(content)) | {"radio.f_cnt": count}
    (of_stack,) = read(things_stack.FORMAT, STACK[0], json.dumps(message).encode()).readings
    assert of_stack.values == wanted
    (of_chirpstack,) = read(chirpstack.FORMAT, UP, json.dumps(up).encode()).readings
    assert of_chirpstack.values == wanted | {"radio.dr": 0}


@pytest.mark.parametrize(
    "topic", [*EVENTS, *STACK, "v3/air/devices/air-7/join", "v3/air/devices/air-7/location/solved"]
)
def test_what_devices_send_has_a_format(topic: str) -> None:
    assert format_of(topic) is not None


@pytest.mark.parametrize(
    "topic",
    [
        f"application/air/device/{SOURCE}/command/down",
        "v3/air@alatau/devices/air-7/down/push",
        "v3/air@alatau/devices/air-7/down/ack",
        "v3/air@alatau/devices/air-7/service/data",
    ],
)
def test_what_is_sent_to_devices_is_not_read(topic: str) -> None:
    assert format_of(topic) is None


@pytest.mark.parametrize(
    "unit",
    sorted({*normalized.UNITS.values(), *BATTERY_UNITS.values(), *LOCATION_UNITS.values(), "dB", "Hz"}),
)
def test_a_unit_that_is_said_is_one_that_converts(unit: str) -> None:
    check_unit(unit)


def test_a_codec_may_say_much_but_not_without_end() -> None:
    many = {f"field_{number}": number for number in range(MOST_FIELDS + 1)}
    deep: dict[str, Any] = {"value": 1}
    for _ in range(DEEPEST + 1):
        deep = {"in": deep}
    for content in (many, deep, {"n" * (LONGEST_NAME + 1): 1}):
        message = {"deviceInfo": {}, "object": {"kept": 1, **content}, "rxInfo": [{"rssi": -80}]}
        parsed = read(chirpstack.FORMAT, UP, json.dumps(message).encode())
        assert [(one.reason.value, one.path) for one in parsed.refusals] == [("too_large", "/object")]
        assert parsed.readings[0].values["kept"] == 1
        assert parsed.readings[0].values["radio.rssi"] == -80
        assert len(parsed.readings[0].values) <= MOST_FIELDS + 10


def test_long_names_above_many_values_do_not_multiply() -> None:
    values: dict[str, float] = {}
    assert not flatten({"n" * 30_000: dict.fromkeys("abcdefgh", 1)}, values)
    assert values == {}


def test_a_whole_number_beyond_all_doubles_is_no_number() -> None:
    values: dict[str, float] = {}
    content = {"huge": 10**400, "small": -(10**400), "one": 1}
    assert flatten(content, values)
    assert values == {"one": 1.0}
    message = {"end_device_ids": {}, "uplink_message": {"decoded_payload": content}}
    for parsed in (
        read(chirpstack.FORMAT, UP, json.dumps({"deviceInfo": {}, "object": content}).encode()),
        read(things_stack.FORMAT, STACK[0], json.dumps(message).encode()),
    ):
        assert not parsed.refusals
        assert not {"huge", "small"} & parsed.readings[0].values.keys()
        assert parsed.readings[0].values["one"] == 1.0


def test_a_number_that_is_not_finite_is_as_if_not_sent() -> None:
    heard = part(12, whole(6, -80) + single(7, math.nan))
    content = part(11, document({"temperature": math.inf, "humidity": 40}))
    parsed = read(chirpstack.FORMAT, UP, header(SOURCE, 1_767_225_600) + content + heard)
    assert parsed.readings[0].values == {"humidity": 40, "radio.rssi": -80, "radio.dr": 0, "radio.f_cnt": 0}


def test_a_time_beyond_all_calendars_is_refused() -> None:
    parsed = read(chirpstack.FORMAT, UP, header(SOURCE, 2**62))
    assert parsed.readings == []
    assert [(one.reason.value, one.path, one.found) for one in parsed.refusals] == [
        ("time_unreadable", "/time", '"4611686018427387904 s"')
    ]


@pytest.mark.parametrize(("levels", "reason"), [(DEEPEST + 1, "too_large"), (2_000, "undecodable")])
def test_structures_in_protocol_buffers_are_read_to_a_depth(levels: int, reason: str) -> None:
    content = document({"value": 1})
    for _ in range(levels):
        content = part(1, part(1, b"") + part(2, part(5, content)))
    parsed = read(chirpstack.FORMAT, UP, header(SOURCE, 0) + part(11, content))
    assert [one.reason.value for one in parsed.refusals] == [reason]


@pytest.mark.parametrize(
    "content",
    [
        varint(2 << 3 | 2) + varint(5) + b"abc",
        varint(2 << 3),
        b"\xff" * 11,
        varint(2 << 3 | 3),
        double(2, 1.0),
        part(11, b"\xff"),
    ],
    ids=["cut short", "no number", "no tag", "a group without end", "no device", "no structure"],
)
def test_bytes_that_are_no_event_are_refused(content: bytes) -> None:
    parsed = read(chirpstack.FORMAT, UP, content)
    assert [(one.reason.value, one.path) for one in parsed.refusals] == [("undecodable", "")]
    assert not parsed.readings


def test_too_many_wrong_fields_are_another_message() -> None:
    message = {"deviceInfo": {}, "rxInfo": [{"rssi": "loud"}] * 9}
    parsed = read(chirpstack.FORMAT, UP, json.dumps(message).encode())
    assert parsed.readings == []
    assert parsed.refusals[-1].found == "8 fields or more of other types"


fuzzed = st.sampled_from([*((chirpstack.FORMAT, topic) for topic in EVENTS), (things_stack.FORMAT, STACK[0])])
messages = [
    path.read_bytes()
    for wire in (chirpstack.FORMAT, things_stack.FORMAT)
    for path in sorted(CASES.glob(f"{wire.name}/*/*.json"))
    if path.name != "expected.json"
]
payloads = messages + [bytes.fromhex(path.read_text()) for path in sorted(CASES.glob("chirpstack/*/*.hex"))]
anything = st.recursive(
    leaves
    | st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
)
words = sorted({word for message in messages for word in json.loads(message)})


@given(fuzzed, st.binary(max_size=200))
def test_any_bytes_give_readings_or_reasons(wire: tuple[Format, str], payload: bytes) -> None:
    check(read(*wire, payload))


@given(
    fuzzed,
    st.sampled_from(payloads),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
)
def test_damaged_messages_give_readings_or_reasons(
    wire: tuple[Format, str], payload: bytes, damage: list[tuple[int, int]]
) -> None:
    damaged = bytearray(payload)
    for place, byte in damage:
        damaged[place % len(damaged)] = byte
    check(read(*wire, bytes(damaged)))


@settings(max_examples=50)  # each draws much
@given(fuzzed, st.sampled_from(messages), st.data())
def test_messages_with_anything_in_their_fields_give_readings_or_reasons(
    wire: tuple[Format, str], payload: bytes, data: st.DataObject
) -> None:
    message = json.loads(payload)
    for container in (message, message.get("uplink_message")):
        if isinstance(container, dict):
            container |= data.draw(
                st.dictionaries(st.sampled_from([*words, *container]), anything, max_size=3)
            )
    check(read(*wire, json.dumps(message).encode()))


def check(parsed: Parsed) -> None:
    """Hold what came out against what every decoder promises."""
    for reading in parsed.readings:
        assert reading.source == reading.source.lower()
        assert all(type(value) is float and math.isfinite(value) for value in reading.values.values())
        assert set(reading.units) <= set(reading.values)
        assert math.isnan(reading.time) or abs(reading.time) < 3e11
    for refusal in parsed.refusals:
        assert refusal.path == "" or refusal.path.startswith("/")
        assert 0 < len(refusal.found) <= 80
        assert refusal.valid
