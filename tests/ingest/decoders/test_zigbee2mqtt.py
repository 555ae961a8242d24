"""Zigbee2MQTT's bounds, whatever else its topics bring, and that what is written is read."""

from __future__ import annotations

import json
import math

import hypothesis
import pytest
from hypothesis import strategies as st

from ingest.decoders.exposes import MOST_PROPERTIES
from ingest.decoders.flat import MOST_FIELDS
from ingest.decoders.known import Known
from ingest.decoders.parsed import Parsed
from ingest.decoders.zigbee2mqtt import FORMAT, Device, decode
from sensors.checks import Reason
from tests.ingest.decoders.encode_zigbee2mqtt import Bridge, listed
from tests.ingest.decoders.fuzzed import check_sound, fuzz, incoming

LIST = "zigbee2mqtt/bridge/devices"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
FIELDS = st.sampled_from(["temperature", "humidity", "battery", "linkquality"])
HEARD = st.dictionaries(FIELDS, NUMBERS, min_size=1)
NAMES = st.sampled_from(["attic", "kitchen/floor", "0x00158d00018255df"])
STAMPS = st.sampled_from(["ISO_8601", "ISO_8601_local", "epoch"])
MEMBERS = st.sampled_from(
    [
        "friendly_name",
        "definition",
        "exposes",
        "type",
        "property",
        "features",
        "unit",
        "value_on",
        "value_off",
    ]
) | st.sampled_from(["last_seen", "state", "a", "update"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | NUMBERS
TEXTS = st.sampled_from(["a", "a/b", "numeric", "binary", "composite", "ON", "7", "2026-01-01T00:00:00"])
SHAPED = st.recursive(
    SCALARS | TEXTS, lambda one: st.lists(one, max_size=3) | st.dictionaries(MEMBERS, one, max_size=5)
)
FEW = hypothesis.settings(max_examples=40, deadline=None)


@FEW
@hypothesis.given(
    NAMES, st.lists(HEARD, min_size=1, max_size=4), st.integers(1_500_000_000_000, 4_000_000_000_000), STAMPS
)
def test_what_is_written_is_read(
    name: str, all_heard: list[dict[str, float]], start: int, stamp: str
) -> None:
    bridge, devices = Bridge(stamp), FORMAT.memory()
    _decode(LIST, listed({name: [("temperature", "°C"), ("linkquality", "lqi")]}), devices)
    state: dict[str, float] = {}
    for milliseconds, heard in enumerate(all_heard, start):
        state |= heard
        (reading,) = _decode(*bridge.publish(name, heard, milliseconds), devices).readings
        assert (reading.source, reading.time) == (name, milliseconds / 1000)
        assert reading.values == state
        assert reading.units == ({"temperature": "Cel"} if "temperature" in state else {})


@FEW
@hypothesis.given(st.lists(HEARD | st.none(), min_size=1, max_size=6))
def test_without_a_time_a_reading_is_what_differs_from_the_message_before(
    all_heard: list[dict[str, float] | None],
) -> None:
    bridge, devices = Bridge(), FORMAT.memory()
    bridge.publish("attic", {"battery": 87}, 0)
    before: dict[str, float] = {}
    for heard in all_heard:
        message = bridge.publish_again("attic") if heard is None else bridge.publish("attic", heard, 0)
        state = json.loads(message[1])
        readings = _decode(*message, devices).readings
        assert [one.values for one in readings] == ([] if state == before else [state])
        assert all(math.isnan(one.time) for one in readings)
        before = state


@FEW
@hypothesis.given(
    st.lists(st.tuples(st.sampled_from([LIST, "zigbee2mqtt/a", "zigbee2mqtt/a/availability"]), SHAPED))
)
def test_any_documents_of_its_shape(messages: list[tuple[str, object]]) -> None:
    devices = FORMAT.memory()
    for topic, document in messages:
        payload = json.dumps(document).encode()
        check_sound(_decode(topic, payload, devices), payload)


def test_mutated_messages() -> None:
    fuzz(FORMAT, (LIST, "zigbee2mqtt/attic", "zigbee2mqtt/attic/availability"), 2000)


def test_properties_of_one_device_are_bounded() -> None:
    devices = FORMAT.memory()
    parsed = _decode(LIST, listed({"attic": [(str(n), "V") for n in range(MOST_PROPERTIES + 5)]}), devices)
    assert [(one.reason, one.path) for one in parsed.refusals] == [
        (Reason.TOO_LARGE, "/0/definition/exposes")
    ]
    assert devices.names == MOST_PROPERTIES + 1


def test_who_was_silent_longest_is_forgotten() -> None:
    devices: Known[Device] = Known(5)
    for name in ("a", "b", "c"):
        _decode(f"zigbee2mqtt/{name}", b'{"temperature": 1}', devices)
    assert devices.names == 4
    assert devices.get("a") is None


def test_fields_of_one_message_are_bounded() -> None:
    payload = json.dumps({"a": list(range(MOST_FIELDS + 5))}).encode()
    parsed = _decode("zigbee2mqtt/attic", payload, FORMAT.memory())
    assert [len(one.values) for one in parsed.readings] == [MOST_FIELDS]
    assert [one.reason for one in parsed.refusals] == [Reason.TOO_LARGE]


def test_only_the_list_of_devices_is_a_lesson() -> None:
    devices = FORMAT.memory()
    assert _decode(LIST, b"[]", devices).is_lesson
    for topic in ("zigbee2mqtt/attic", "zigbee2mqtt/bridge/state"):
        assert not _decode(topic, b"{}", devices).is_lesson


@pytest.mark.parametrize("name", ["", "x" * 257, f"{'x' * 257}/availability"])
def test_a_name_that_is_empty_or_too_long_is_refused(name: str) -> None:
    parsed = _decode(f"zigbee2mqtt/{name}", b"{}", FORMAT.memory())
    assert [one.reason for one in parsed.refusals] == [Reason.UNKNOWN_TOPIC]


def _decode(topic: str, payload: bytes, devices: Known[Device]) -> Parsed:
    return decode(incoming(FORMAT, topic, payload), devices)
