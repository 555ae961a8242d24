"""The planned fleet, and the topics of the device contract."""

from __future__ import annotations

import pytest

from sensors.catalogue import Catalogue, validate_device
from sensors.fleet import contains, plan_fleet
from sensors.topics import Channel, Topics


def test_every_district_has_every_kind_and_each_device_stands_in_its_district(catalogue: Catalogue) -> None:
    fleet = plan_fleet(catalogue, 52)
    assert len({(device.kind, device.district) for device in fleet}) == 52
    for device in fleet:
        validate_device(device, catalogue)
        assert device.position is not None
        assert contains(catalogue.district_of[device.district].outline, device.position)


def test_a_larger_fleet_begins_with_the_smaller_one(catalogue: Catalogue) -> None:
    assert plan_fleet(catalogue, 300)[:100] == plan_fleet(catalogue, 100)
    assert len({device.id for device in plan_fleet(catalogue, 300)}) == 300


def test_a_topic_leads_back_to_its_device() -> None:
    topics = Topics("city/v1")
    assert topics.of("a-1", Channel.TELEMETRY) == "city/v1/a-1/telemetry"
    assert topics.device_of("city/v1/a-1/telemetry", Channel.TELEMETRY) == "a-1"


@pytest.mark.parametrize(
    "topic",
    ["city/v1/a/b/telemetry", "city/v1//telemetry", "city/v1/a/status", "telemetry", "city/v2/a/telemetry"],
)
def test_a_topic_of_something_else_has_no_device(topic: str) -> None:
    assert Topics("city/v1").device_of(topic, Channel.TELEMETRY) is None
