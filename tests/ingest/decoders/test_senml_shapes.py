"""Packs of a shape that was seen before say the same as when they were read record by record."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.parsed import Incoming, Parsed
from ingest.decoders.senml import FORMAT
from ingest.decoders.senml_pack import Record
from ingest.decoders.senml_shapes import Shapes
from tests.ingest.decoders.fuzzed import RECEIVED

_NAMES = st.sampled_from(
    ["t", "rh", "a/b", "", "_x", "urn:dev:ow:1", "urn:dev:ow:1:t", "u", "ü", "air-7", "9"]
)
_RECORD = st.fixed_dictionaries(
    {"v": st.integers(-5, 5) | st.floats(-1e9, 1e9)},
    optional={"n": _NAMES, "u": st.sampled_from(["Cel", "%", "", "odd", "u" * 65])},
)
_BASES = ["", "urn:dev:ow:1/", "urn:dev:ow:1:", "urn:dev:ow:", "u", "air-7/", "room-", "°", "x" * 200]
_FIRST = st.fixed_dictionaries(
    {},
    optional={
        "bn": st.sampled_from(_BASES),
        "bt": st.sampled_from([0, -5, 1767225600, 1e12, 2**28 - 1, 2**28]),
        "bu": st.sampled_from(["", "W", "/"]),
        "bver": st.sampled_from([10, 5, 11, 26, 0]),
    },
)
_PACK = [
    {"bn": "urn:dev:ow:1/", "bt": 1767225600, "n": "t", "u": "Cel", "v": 1.5},
    {"n": "rh", "u": "%RH", "v": 41},
]


def _incoming(pack: list[dict[str, Any]], level: str = "air-7") -> Incoming:
    return Incoming(f"senml/{level}", (level,), json.dumps(pack).encode(), RECEIVED)


def _seen(shapes: Shapes, incoming: Incoming, times: int = 9) -> Parsed | None:
    records = msgspec.json.decode(incoming.payload, type=list[Record])
    for _ in range(times):
        shapes.note(incoming, records)
    return shapes.read(incoming)


def _plainly(parsed: Parsed) -> str:
    readings = [(one.source, one.time, one.values, dict(one.units)) for one in parsed.readings]
    return repr((readings, parsed.refusals))  # as text NaN is NaN


@settings(max_examples=80)
@given(_FIRST, _FIRST, st.lists(_RECORD, min_size=1, max_size=4), st.sampled_from(["air-7", ""]))
def test_what_is_read_in_one_go_is_what_is_read_record_by_record(
    seen: dict[str, Any], base: dict[str, Any], records: list[dict[str, Any]], level: str
) -> None:
    """A label that is not known changes nothing, and keeps a pack from being read in one go."""
    first, *rest = records
    shapes = Shapes()
    _seen(shapes, _incoming([seen | first, *rest], level))
    for other in (seen, base, {"bn": seen.get("bn", "")} | base, {}):
        parsed = shapes.read(_incoming([other | first, *rest], level))
        careful = FORMAT.decode(_incoming([{"x": 0, **other, **first}, *rest], level), None)
        assert parsed is None or _plainly(parsed) == _plainly(careful)


def test_a_shape_is_read_in_one_go_once_it_has_come_often() -> None:
    assert _seen(Shapes(), _incoming(_PACK), times=8) is None
    parsed = _seen(Shapes(), _incoming(_PACK))
    assert parsed is not None
    assert parsed.readings[0].values == {"t": 1.5, "rh": 41.0}
    assert parsed.readings[0].units == {"t": "Cel", "rh": "%"}


def test_a_gateway_s_devices_share_a_shape() -> None:
    shapes = Shapes()
    _seen(shapes, _incoming(_PACK))
    other = shapes.read(_incoming([_PACK[0] | {"bn": "urn:dev:ow:2/"}, _PACK[1]]))
    assert other is not None
    assert other.readings[0].source == "urn:dev:ow:2"


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"n": "other"},
            {"u": "K"},
            {"u": None},
            {"t": -5},
            {"v": "1"},
            {"v": None},
            {"bu": "W"},
            {"x_": 1},
        ),
        *({"bn": "room/"}, {"bver": 11}, {"bt": 1e12}, {"s": 1}),
    ],
    ids=repr,
)
def test_a_pack_of_another_shape_is_left_to_be_read_record_by_record(change: dict[str, Any]) -> None:
    shapes = Shapes()
    assert _seen(shapes, _incoming(_PACK)) is not None
    assert shapes.read(_incoming([_PACK[0] | change, _PACK[1]])) is None


@pytest.mark.parametrize(
    "pack",
    [
        *(
            [{"n": "urn:dev:ow:1:t", "v": 1}],
            [{"n": "urn:dev:ow:1", "v": 1}],
            [{"bn": "urn:", "n": "imei:1:t", "v": 1}],
        ),
        *(
            [{"n": "t", "v": 1}, {"n": "/t", "v": 2}],
            [{"n": "t", "v": 1, "u": "u" * 65}],
            [{"n": "x" * 200, "v": 1}],
        ),
        *(
            [{"n": "t", "v": 1}, {"bn": "x", "n": "t", "v": 2}],
            [{"n": "t", "v": 1, "bv": 1}],
            [{"n": "t", "vb": True}],
        ),
    ],
    ids=repr,
)
def test_a_pack_of_which_more_than_the_numbers_may_change_is_never_read_in_one_go(
    pack: list[dict[str, Any]],
) -> None:
    assert _seen(Shapes(), _incoming(pack), times=20) is None


def test_a_name_that_needs_a_base_is_not_read_without_one() -> None:
    shapes = Shapes()
    assert _seen(shapes, _incoming([{"bn": "urn:dev:ow:1", "n": "_t", "v": 1}])) is not None
    assert shapes.read(_incoming([{"n": "_t", "v": 1}])) is None


def test_a_retained_pack_without_a_time_is_left_to_be_read_record_by_record() -> None:
    shapes = Shapes()
    timeless = _incoming([{"n": "t", "v": 1}])
    assert _seen(shapes, timeless) is not None
    assert shapes.read(msgspec.structs.replace(timeless, is_retained=True)) is None


def test_what_is_remembered_of_ever_new_shapes_is_bounded() -> None:
    shapes = Shapes()
    for number in range(1500):
        _seen(shapes, _incoming([{"n": f"n{number}", "v": 1}]), times=1)
    assert len(shapes._counts) <= 1025
    for number in range(260):
        _seen(shapes, _incoming([{"n": f"m{number}", "v": 1}], f"air-{number}"))
    assert len(shapes._shapes) <= 256
