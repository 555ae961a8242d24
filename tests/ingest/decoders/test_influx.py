"""Line protocol: what is written is read back, and nothing else hurts."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.influx import FORMAT
from ingest.decoders.parsed import Parsed, Reading
from sensors.checks import Reason
from tests.ingest.decoders.encode_influx import line
from tests.ingest.decoders.fuzzed import check_sound, fuzz, incoming

# No newline, and no backslash at an end, which the protocol can't say; no # first, which makes a comment.
_NAME = st.text(
    st.characters(exclude_characters="\n\r\\", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: not name.startswith("#"))
_VALUE = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=9)
)


def _read(payload: bytes, topic: str = "influx/air-7") -> Parsed:
    parsed = FORMAT.decode(incoming(FORMAT, topic, payload), None)
    check_sound(parsed, payload)
    return parsed


@settings(max_examples=25)
@given(
    _NAME,
    _NAME,
    st.dictionaries(_NAME, _VALUE, min_size=1, max_size=5),
    st.integers(0, 2**31),
    st.randoms(use_true_random=False),
)
def test_what_is_written_is_read(
    measurement: str, device: str, fields: Mapping[str, float | str], time: int, choose: random.Random
) -> None:
    payload = line(measurement, {"dev": device, "place": "roof"}, fields, time, choose)
    numbers = {
        f"{measurement}.{name}": float(value) for name, value in fields.items() if not isinstance(value, str)
    }
    parsed = _read(payload)
    assert not parsed.refusals
    assert parsed.readings == ([Reading(device, float(time), numbers, {})] if numbers else [])


@settings(max_examples=100)
@given(st.text(st.sampled_from('m,v= \\"\n#1i.eut\r'), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    _read(text.encode())


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    _read(payload)


def test_mutations_of_the_cases_are_read_or_refused() -> None:
    fuzz(FORMAT, ("influx/air-7", "telegraf/web-1/cpu", "influx"), 1500)


def test_a_bad_line_does_not_sink_its_neighbours() -> None:
    parsed = _read(b"m a=1\nm b\nm c=3")
    assert parsed.readings[0].values == {"m.a": 1.0, "m.c": 3.0}
    assert [refusal.path for refusal in parsed.refusals] == ["/1"]


@pytest.mark.parametrize(
    "payload",
    [
        b"m,t=" + b"x" * 30_000 + b" " + b",".join(b"f%d=1" % n for n in range(5_000)),
        b"m " + b"f" * 60_000 + b"=1",
        b'm f="' + b'\\"' * 30_000,
        b"m a=1\\" * 10_000,
        b"m,a=" * 15_000,
        b'm a="\n' * 10_000 + b"m",
        b"\\" * 60_000,
        b"m f=" + b"1" * 60_000 + b"i",
    ],
    ids=lambda payload: payload[:6].decode(),
)
def test_payloads_made_to_exhaust_are_refused(payload: bytes) -> None:
    parsed = _read(payload, "telegraf/web-1/m")
    assert not parsed.readings
    assert parsed.refusals


def test_a_long_source_is_refused() -> None:
    assert _read(b"m,dev=" + b"x" * 256 + b" v=1").refusals[0].reason is Reason.UNDECODABLE
