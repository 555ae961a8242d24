"""collectd: both of its forms say the same, and nothing else hurts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.collectd import FORMAT
from ingest.decoders.parsed import Parsed, Reading
from sensors.checks import Reason
from tests.ingest.decoders.encode_collectd import ValueList, as_json, plain, topic
from tests.ingest.decoders.fuzzed import check_sound, fuzz, incoming

_NAME = st.from_regex(r"[a-z0-9_.]{1,8}", fullmatch=True)
_LIST = st.builds(
    ValueList,
    host=st.from_regex(r"[A-Za-z0-9.-]{1,12}", fullmatch=True),
    plugin=_NAME,
    plugin_instance=_NAME | st.just(""),
    type=st.sampled_from(
        [("load", ("shortterm", "midterm", "longterm")), ("if_octets", ("rx", "tx")), ("gauge", ("value",))]
    ),
    type_instance=_NAME | st.just(""),
    milliseconds=st.integers(0, 2**41),
    numbers=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.integers(0, 2**64 - 1),
        min_size=3,
        max_size=3,
    ),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=3,
)
_LABELS = st.sampled_from(
    ["values", "dsnames", "time", "host", "plugin", "plugin_instance", "type", "type_instance"]
)
_ANY_LISTS = st.lists(
    st.dictionaries(_LABELS, _JSON | st.sampled_from([[1, 2], ["rx", "tx"], "load", 1767225600])), max_size=4
)


def _read(payload: bytes, topic: str = "collectd/web-1/load/load") -> Parsed:
    parsed = FORMAT.decode(incoming(FORMAT, topic, payload), None)
    check_sound(parsed, payload)
    return parsed


@settings(max_examples=30)
@given(_LIST)
def test_both_forms_say_what_was_measured(one: ValueList) -> None:
    numbers = {name: float(value) for name, value in one.fields().items() if value is not None}
    said = [Reading(one.host, one.milliseconds / 1000, numbers, {})] if numbers else []
    for parsed in (_read(plain(one), topic(one)), _read(as_json([one]), "collectd/json")):
        assert not parsed.refusals
        assert parsed.readings == said


@settings(max_examples=40)
@given(_ANY_LISTS)
def test_any_json_is_read_or_refused(lists: list[dict[str, Any]]) -> None:
    _read(json.dumps(lists).encode())


@given(st.sampled_from(["", "1767225600:", "N:", "[", "{"]), st.text(max_size=20))
def test_any_text_is_read_or_refused(start: str, rest: str) -> None:
    _read((start + rest).encode(errors="replace"))


def test_mutations_of_the_cases_are_read_or_refused() -> None:
    fuzz(
        FORMAT,
        ("collectd/web-1/load/load", "collectd/air-7/lora/temperature", "collectd", "collectd/a"),
        4000,
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"1767225600:" + b"1" * 60_000, Reason.OUT_OF_RANGE),
        (b"1" * 60_000 + b":1", Reason.TIME_UNREADABLE),
        (b"[" * 60_000, Reason.UNDECODABLE),
        (b"[" + b"0," * 10_000 + b"0]", Reason.TOO_LARGE),
        (b'[{"values":[1],"host":"' + b"x" * 256 + b'","plugin":"p","type":"t"}]', Reason.UNKNOWN_DEVICE),
        (b'[{"values":[1],"host":"h","plugin":"' + b"x" * 256 + b'","type":"t"}]', Reason.UNDECODABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else value[:12].decode(),
)
def test_payloads_made_to_exhaust_are_refused(payload: bytes, reason: Reason) -> None:
    parsed = _read(payload)
    assert not parsed.readings
    assert parsed.refusals[0].reason is reason


def test_a_long_topic_is_refused() -> None:
    assert _read(b"N:1", f"collectd/{'x' * 256}/load/load").refusals[0].reason is Reason.UNKNOWN_TOPIC
