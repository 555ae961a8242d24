"""Shelly's bounds, whatever else its topics bring, and that what is written is read."""

from __future__ import annotations

import json
import math

import hypothesis
import pytest
from hypothesis import strategies as st

from ingest.decoders.flat import MOST_FIELDS
from ingest.decoders.shelly import FORMAT, decode
from ingest.decoders.table import format_of
from sensors.checks import Reason
from sensors.ucum import check_unit
from tests.ingest.decoders.encode_shelly import notification
from tests.ingest.decoders.fuzzed import check_sound, fuzz, incoming

TOPIC = "plug-3/events/rpc"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
STATUSES = st.dictionaries(
    st.sampled_from(["switch:0", "switch:1", "em:0", "temperature:100", "sys"]),
    st.dictionaries(
        st.sampled_from(["apower", "a_voltage", "tC", "output", "x"]), NUMBERS | st.booleans(), min_size=1
    ),
    min_size=1,
)
MEMBERS = st.sampled_from(
    ["method", "params", "ts", "switch:0", "id", "apower", "aenergy", "by_minute", "a_pf"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | NUMBERS | st.just("NotifyStatus")
SHAPED = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(MEMBERS, one, max_size=4)
)
FEW = hypothesis.settings(max_examples=40, deadline=None)


@FEW
@hypothesis.given(st.none() | st.floats(1.5e9, 4e9), STATUSES)
def test_what_is_written_is_read(seconds: float | None, statuses: dict[str, dict[str, float]]) -> None:
    payload = notification("plug-3", seconds, statuses)
    (reading,) = decode(incoming(FORMAT, TOPIC, payload), None).readings
    assert reading.source == "plug-3"
    assert reading.time == seconds if seconds is not None else math.isnan(reading.time)
    assert reading.values == {
        f"{name}.{key}": one for name, said in statuses.items() for key, one in said.items()
    }
    known = {"apower": "W", "a_voltage": "V", "tC": "Cel"}
    assert reading.units == {
        field: unit for field in reading.values if (unit := known.get(field.rpartition(".")[2]))
    }


@FEW
@hypothesis.given(SHAPED)
def test_any_document_of_its_shape(document: object) -> None:
    for said in (document, {"method": "NotifyStatus", "params": document}):
        payload = json.dumps(said).encode()
        for topic in (TOPIC, "plug-3/status/switch:0", "plug-3/online"):
            check_sound(decode(incoming(FORMAT, topic, payload), None), payload)


def test_mutated_notifications() -> None:
    fuzz(FORMAT, (TOPIC, "plug-3/status/switch:0", "plug-3/online"), 2000)


def test_fields_of_one_message_are_bounded() -> None:
    payload = notification(
        "plug-3", None, {"switch:0": {"x": list(range(MOST_FIELDS + 5))}, "sys": {"uptime": 7}}
    )
    parsed = decode(incoming(FORMAT, TOPIC, payload), None)
    assert sum(len(one.values) for one in parsed.readings) == MOST_FIELDS - 1  # without the id
    assert [(one.reason, one.path) for one in parsed.refusals] == [
        (Reason.TOO_LARGE, "/params/switch:0"),
        (Reason.TOO_LARGE, "/params/sys"),
    ]


@pytest.mark.parametrize("topic", ["/online", f"{'x' * 257}/events/rpc"])
def test_a_name_that_is_empty_or_too_long_is_refused(topic: str) -> None:
    assert [one.reason for one in decode(incoming(FORMAT, topic, b"{}"), None).refusals] == [
        Reason.UNKNOWN_TOPIC
    ]


@pytest.mark.parametrize(
    "topic", ["zigbee2mqtt/online", "zigbee2mqtt/status/hall", "senml/online", "influx/status/a"]
)
def test_a_topic_of_another_format_is_not_taken_for_a_shelly_s(topic: str) -> None:
    found = format_of(topic)
    assert found is not None
    assert found[0] is not FORMAT


def test_units_are_of_ucum() -> None:
    status = {
        "aenergy": {"total": 1, "by_minute": [1]},
        "battery": {"V": 1, "percent": 1},
        "rh": 1,
        "lux": 1,
        "tF": 1,
    }
    powers = {
        f"{phase}_{name}": 1
        for phase in "abc"
        for name in ("act_power", "aprt_power", "pf", "freq", "current")
    }
    payload = notification("plug-3", None, {"em:0": {**status, **powers}})
    (reading,) = decode(incoming(FORMAT, TOPIC, payload), None).readings
    assert reading.units.keys() == reading.values.keys()
    for unit in reading.units.values():
        check_unit(unit)
