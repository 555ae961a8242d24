"""Homie's bounds, and what is no text."""

from __future__ import annotations

import json

import pytest

from ingest.decoders.homie import FORMAT, MOST_CHILDREN, MOST_PROPERTIES, Device, decode
from ingest.decoders.known import Known
from ingest.decoders.parsed import Incoming, Parsed
from sensors.checks import Reason


def test_properties_of_one_device_are_bounded() -> None:
    properties = {str(number): {"datatype": "float", "unit": "W"} for number in range(MOST_PROPERTIES + 5)}
    devices = FORMAT.memory()
    parsed = _decode("meter/$description", _json({"nodes": {"n": {"properties": properties}}}), devices)
    assert [refusal.reason for refusal in parsed.refusals] == [Reason.TOO_LARGE]
    assert devices.names == MOST_PROPERTIES + 1
    (reading,) = _decode(f"meter/n/{MOST_PROPERTIES}", b"5", devices).readings
    assert reading.values == {f"n.{MOST_PROPERTIES}": 5.0}
    assert not reading.units


def test_children_of_one_root_are_bounded() -> None:
    devices = FORMAT.memory()
    for number in range(MOST_CHILDREN + 5):
        _decode(f"child{number}/$description", b'{"root": "bridge"}', devices)
        _decode(f"child{number}/$state", b"ready", devices)
    assert len(_decode("bridge/$state", b"lost", devices).statuses) == MOST_CHILDREN + 1


def test_a_child_that_moved_is_not_lost_with_its_former_root() -> None:
    devices = FORMAT.memory()
    for root in (b"attic", b"cellar"):
        _decode("lamp/$description", b'{"root": "%s"}' % root, devices)
    _decode("lamp/$state", b"ready", devices)
    assert [one.source for one in _decode("attic/$state", b"lost", devices).statuses] == ["attic"]
    assert [one.source for one in _decode("cellar/$state", b"lost", devices).statuses] == ["cellar", "lamp"]


@pytest.mark.parametrize("topic", ["meter//power", f"{'x' * 129}/$state"])
def test_an_id_that_is_empty_or_too_long_is_refused(topic: str) -> None:
    devices = FORMAT.memory()
    assert [one.reason for one in _decode(topic, b"ready", devices).refusals] == [Reason.UNKNOWN_TOPIC]
    assert len(devices) == 0


@pytest.mark.parametrize("topic", ["meter/n/power", "meter/$state", "meter/$description"])
def test_what_is_no_utf_8_is_refused(topic: str) -> None:
    assert [one.reason for one in _decode(topic, b"\xff", FORMAT.memory()).refusals] == [Reason.UNDECODABLE]


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _decode(topic: str, payload: bytes, devices: Known[Device]) -> Parsed:
    levels = tuple(level for level in topic.split("/") if not level.startswith("$"))
    return decode(Incoming(f"homie/5/{topic}", levels, payload, 1_767_225_600.0), devices)
