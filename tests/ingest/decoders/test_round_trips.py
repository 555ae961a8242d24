"""What is written in a format is read from it: Homie, ThingsBoard, FIWARE, SensorThings, written by the tests."""

from __future__ import annotations

import datetime as dt
import json
import math

import hypothesis
import pytest
from hypothesis import strategies as st

from ingest.decoders import fiware, homie, sensorthings, thingsboard
from ingest.decoders.parsed import Format, Incoming, Parsed
from ingest.decoders.table import match

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
IDS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
FIELDS = st.text(min_size=1, max_size=8).filter(lambda name: name not in ("ts", "values", "TimeInstant"))
VALUES = st.dictionaries(FIELDS, NUMBERS, min_size=1, max_size=4)
FEW = hypothesis.settings(max_examples=25, deadline=None)
MILLISECONDS = st.integers(0, 4_102_444_800_000)


@FEW
@hypothesis.given(IDS, IDS, IDS, NUMBERS, st.booleans())
def test_homie(device: str, node: str, name: str, value: float, is_described: bool) -> None:
    memory = homie.FORMAT.memory()
    datatype = "integer" if isinstance(value, int) else "float"
    if is_described:
        description = {"nodes": {node: {"properties": {name: {"datatype": datatype, "unit": "W"}}}}}
        _read(homie.FORMAT, f"homie/5/{device}/$description", json.dumps(description), memory)
    (reading,) = _read(homie.FORMAT, f"homie/5/{device}/{node}/{name}", repr(value), memory).readings
    assert (reading.source, reading.values) == (device, {f"{node}.{name}": value})
    assert dict(reading.units) == ({f"{node}.{name}": "W"} if is_described else {})
    assert math.isnan(reading.time)


@FEW
@hypothesis.given(
    st.dictionaries(
        st.text(min_size=1, max_size=8), st.dictionaries(MILLISECONDS, VALUES, max_size=2), max_size=3
    )
)
def test_thingsboard(said: dict[str, dict[int, dict[str, float]]]) -> None:
    document = {
        device: [{"ts": ts, "values": values} for ts, values in entries.items()]
        for device, entries in said.items()
    }
    parsed = _read(thingsboard.FORMAT, "v1/gateway/telemetry", json.dumps(document))
    assert [(one.source, one.time, one.values) for one in parsed.readings] == [
        (device, ts / 1000, values) for device, entries in said.items() for ts, values in entries.items()
    ]
    assert not parsed.refusals


@FEW
@hypothesis.given(st.dictionaries(MILLISECONDS, VALUES, max_size=3))
def test_thingsboard_s_device(said: dict[int, dict[str, float]]) -> None:
    document = [{"ts": ts, "values": values} for ts, values in said.items()]
    parsed = _read(thingsboard.DEVICE_FORMAT, "v1/devices/air-7/telemetry", json.dumps(document))
    assert [(one.source, one.time, one.values) for one in parsed.readings] == [
        ("air-7", ts / 1000, values) for ts, values in said.items()
    ]
    assert not parsed.refusals


@FEW
@hypothesis.given(MILLISECONDS, VALUES)
def test_fiware(milliseconds: int, values: dict[str, float]) -> None:
    document = values | {"TimeInstant": _iso(milliseconds)}
    (reading,) = _read(fiware.FORMAT, "/json/key/air-7/attrs", json.dumps(document)).readings
    assert (reading.source, reading.time, reading.values) == ("air-7", milliseconds / 1000, values)


@FEW
@hypothesis.given(MILLISECONDS, NUMBERS)
def test_sensorthings(milliseconds: int, result: float) -> None:
    document = {"phenomenonTime": _iso(milliseconds), "result": result}
    (reading,) = _read(sensorthings.FORMAT, "v1.1/Datastreams(7)/Observations", json.dumps(document)).readings
    assert (reading.source, reading.time) == ("Datastreams(7)", milliseconds / 1000)
    assert reading.values == {"result": result}


@pytest.mark.parametrize(
    ("payload", "times", "values"),
    [
        (b'{"temperature": -3.5}', [math.nan], [{"temperature": -3.5}]),
        (b'{"ts": 1767225600000, "values": {"temperature": -3.5}}', [1767225600.0], [{"temperature": -3.5}]),
        (
            b'[{"ts": 1767225600000, "values": {"t": 1}}, {"ts": 1767225601000, "values": {"t": 2}}]',
            [1767225600.0, 1767225601.0],
            [{"t": 1.0}, {"t": 2.0}],
        ),
    ],
)
def test_each_shape_of_thingsboard_s_entries_is_read_for_its_device(
    payload: bytes, times: list[float], values: list[dict[str, float]]
) -> None:
    parsed = _read(thingsboard.FORMAT, "v1/gateway/telemetry", f'{{"air-7": {payload.decode()}}}')
    assert [one.source for one in parsed.readings] == ["air-7"] * len(values)
    assert [one.values for one in parsed.readings] == values
    assert [one.time for one in parsed.readings] == pytest.approx(times, nan_ok=True)


def test_a_payload_of_thingsboard_that_is_none_is_refused_where_it_is_wrong() -> None:
    for payload, path in (('{"air-7": [-3.5]}', "/air-7/0"), ("-", "")):
        parsed = _read(thingsboard.FORMAT, "v1/gateway/telemetry", payload)
        assert [one.path for one in parsed.refusals] == [path]


def _iso(milliseconds: int) -> str:
    moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=milliseconds)
    return moment.isoformat()


def _read(wire: Format, topic: str, payload: str, memory: object = None) -> Parsed:
    levels = next(found for pattern in wire.patterns if (found := match(pattern, topic)) is not None)
    return wire.decode(Incoming(topic, levels, payload.encode(), 1_767_225_600.0), memory)
