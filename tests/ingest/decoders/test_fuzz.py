"""Whatever the bytes: each decoder answers, briefly, with finite numbers, and says what was wrong."""

from __future__ import annotations

import json
import math
import pathlib
import tomllib

import hypothesis
import pytest
from hypothesis import strategies as st

from ingest.decoders.parsed import Format, Incoming, Parsed
from ingest.decoders.table import FORMATS, match

CASES = pathlib.Path(__file__).parents[2] / "cases" / "decoders"
LARGEST = 65_536

MEMBERS = st.sampled_from(
    ["ts", "values", "value", "timestamp", "TimeInstant", "result", "phenomenonTime"]
) | st.sampled_from(["Datastream", "@iot.id", "nodes", "properties", "datatype", "unit", "root", "device"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["float", "2026-01-01T00:00:00Z", "1e999", "0001-01-01T00:00:00+23:59"])
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=4)
)
FEW = hypothesis.settings(max_examples=25, deadline=None)
EDITS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), st.binary(max_size=6)), max_size=4)


@pytest.mark.parametrize("wire", FORMATS, ids=lambda wire: wire.name)
def test_any_bytes(wire: Format) -> None:
    @FEW
    @hypothesis.given(st.lists(st.tuples(st.sampled_from(_topics(wire)), st.binary(max_size=60)), max_size=4))
    def each(messages: list[tuple[str, bytes]]) -> None:
        _answer(wire, messages)

    each()


@pytest.mark.parametrize("wire", FORMATS, ids=lambda wire: wire.name)
def test_any_document(wire: Format) -> None:
    @FEW
    @hypothesis.given(st.lists(st.tuples(st.sampled_from(_topics(wire)), DOCUMENTS.map(_json)), max_size=3))
    def each(messages: list[tuple[str, bytes]]) -> None:
        _answer(wire, messages)

    each()


@pytest.mark.parametrize("wire", FORMATS, ids=lambda wire: wire.name)
def test_messages_of_the_cases_with_bytes_lost_added_and_changed(wire: Format) -> None:
    @FEW
    @hypothesis.given(st.sampled_from(_sessions(wire)), st.data())
    def each(session: list[tuple[str, bytes]], data: st.DataObject) -> None:
        _answer(wire, [(topic, _edited(payload, data.draw(EDITS))) for topic, payload in session])

    each()


@pytest.mark.parametrize("wire", FORMATS, ids=lambda wire: wire.name)
@pytest.mark.parametrize("unit", [b"[", b'{"a":', b"\x12\x00", b"\x12\x02\x10\x01", b"1,", b"[{}],", b"\xff"])
def test_what_repeats_up_to_the_largest_message(wire: Format, unit: bytes) -> None:
    payload = unit * (LARGEST // len(unit))
    _answer(wire, [(topic, payload) for topic in _topics(wire)])


def _answer(wire: Format, messages: list[tuple[str, bytes]]) -> None:
    memory = wire.memory()
    for topic, payload in messages:
        levels = next(found for pattern in wire.patterns if (found := match(pattern, topic)) is not None)
        _is_sound(wire.decode(Incoming(topic, levels, payload, 1_767_225_600.0), memory), payload)


def _is_sound(parsed: Parsed, payload: bytes) -> None:
    for reading in parsed.readings:
        assert reading.source
        assert not math.isinf(reading.time)
        assert reading.values
        assert all(type(value) is float and math.isfinite(value) for value in reading.values.values())
        assert reading.units.keys() <= reading.values.keys()
    for refusal in parsed.refusals:
        assert refusal.path == "" or refusal.path.startswith("/")
        assert len(refusal.found) <= 80
        assert refusal.valid
    assert sum(len(one.values) for one in parsed.readings) <= len(payload)
    assert len(parsed.refusals) <= len(payload) + 1


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _topics(wire: Format) -> list[str]:
    return [pattern.replace("+", "a").replace("#", "a/b") for pattern in wire.patterns]


def _sessions(wire: Format) -> list[list[tuple[str, bytes]]]:
    sessions = []
    for case in sorted((CASES / wire.name).glob("*/case.toml")):
        said = tomllib.loads(case.read_text())["message"]
        sessions.append([(message["topic"], _payload(case.parent / message["payload"])) for message in said])
    return sessions


def _payload(path: pathlib.Path) -> bytes:
    return bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()


def _edited(payload: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, lost, added in edits:
        at = place % (len(payload) + 1)
        payload = payload[:at] + added + payload[at + lost :]
    return payload
