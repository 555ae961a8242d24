"""Decoding: a case is a directory with ``payload`` and ``expected.json``; a new quirk is a new directory."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decode import Row, compile_decoder, take_apart
from sensors.catalogue import builtin_file
from sensors.checks import Reason
from sensors.kinds import Kind

KINDS = {kind.name: kind for kind in builtin_file("kinds").kind}
NOISE = KINDS["noise"]
CASES = sorted((pathlib.Path(__file__).parent / "payloads").iterdir())


def as_json(row: Row) -> list[float | None]:
    return [None if math.isnan(value) else value for value in row]


def decode_fast(payload: bytes, kind: Kind) -> Row | None:
    """What the hot path makes of a payload: a row, or None where it leaves it to be taken apart."""
    try:
        record = compile_decoder(kind)(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    row: tuple[Any, ...] = msgspec.structs.astuple(record)[:-2]
    return (
        tuple(math.nan if value is None else float(value) for value in row) if type(row[0]) is float else None
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_payload_is_decoded_as_its_case_says(case: pathlib.Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    decoded = take_apart((case / "payload").read_bytes(), KINDS[expected["kind"]])
    assert [as_json(row) for row in decoded.rows] == expected["rows"]
    assert [fault.reason.value for fault in decoded.faults] == expected["faults"]


metric_values = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
readings = st.dictionaries(st.sampled_from(NOISE.columns), metric_values, min_size=1)


@given(readings, st.one_of(st.none(), st.integers(946_684_800, 4_102_444_800)))
def test_the_hot_path_agrees_with_taking_apart(reading: dict[str, Any], ts: int | None) -> None:
    payload = json.dumps(reading | ({"ts": ts} if ts else {})).encode()
    fast, slow = decode_fast(payload, NOISE), take_apart(payload, NOISE)
    assert fast is not None
    if slow.rows:
        assert slow.faults == []
        assert as_json(slow.rows[0]) == as_json(fast)
    else:
        assert [fault.reason for fault in slow.faults] == [Reason.NO_METRICS]


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["ts", "values", "seq", "oldest", "laeq", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=200), json_values.map(lambda value: json.dumps(value).encode())))
def test_any_payload_gives_rows_or_a_reason_and_never_an_error(payload: bytes) -> None:
    decoded = take_apart(payload, NOISE)
    for row in decoded.rows:
        assert len(row) == 1 + len(NOISE.columns)
    for fault in decoded.faults:
        assert isinstance(fault.reason, Reason)
        assert fault.detail
    assert decoded.rows or decoded.faults, "nothing vanishes"


def test_a_metric_may_be_called_what_python_reserves() -> None:
    metric = msgspec.structs.replace(NOISE.metrics[0], name="class")
    kind = Kind("odd", "Odd", "PT1M", (metric,))
    assert decode_fast(b'{"class": 3}', kind) == pytest.approx((math.nan, 3.0), nan_ok=True)


def test_deep_nesting_is_a_reason_not_a_crash() -> None:
    decoded = take_apart(b'{"laeq":' * 50_000, NOISE)
    assert [fault.reason for fault in decoded.faults] == [Reason.UNDECODABLE]


def test_an_array_is_bounded() -> None:
    decoded = take_apart(json.dumps([{"laeq": 1}] * 10_001).encode(), NOISE)
    assert [fault.reason for fault in decoded.faults] == [Reason.TOO_LARGE]
    assert decoded.rows == []
