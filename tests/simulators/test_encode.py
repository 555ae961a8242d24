"""Payloads: small, exact, and readable by any JSON parser."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sensors.catalogue import Catalogue
from sensors.fleet import plan_fleet
from sensors.times import SECOND
from sensors.topics import Channel, Topics
from simulators.city import City
from simulators.compose import READINGS_PER_ARRAY, Composer, history_interval
from simulators.encode import KindEncoder, encode_array
from simulators.secrets import device_secret

NOW = 1_795_000_000 * SECOND


@pytest.fixture(scope="module")
def city(catalogue: Catalogue) -> City:
    """Two devices of each kind in each district."""
    return City(catalogue, plan_fleet(catalogue, 8 * len(catalogue.kinds)), seed=1)


def test_a_reading_with_its_topic_fits_in_256_bytes_and_says_what_was_measured(city: City) -> None:
    for row, device in enumerate(city.fleet):
        kind = city.catalogue.kind_of[device.kind]
        values = city.values(kind.name, np.array([row]), np.array([NOW]))
        payload = KindEncoder(kind).encode(np.array([NOW]), values)[0]
        topic = Topics().of(device.id, Channel.TELEMETRY)
        assert len(payload) + len(topic.encode()) <= 256
        fields = json.loads(payload)
        assert fields.pop("ts") == NOW // 1000
        assert fields == dict(zip(kind.columns, values[0].tolist(), strict=True))


def test_an_array_holds_its_readings(city: City) -> None:
    assert json.loads(encode_array([b'{"ts":1}', b'{"ts":2}'])) == [{"ts": 1}, {"ts": 2}]


def test_history_sends_every_aligned_reading_once_in_arrays_of_one_device(city: City) -> None:
    start, end = NOW - 7200 * SECOND, NOW - 13 * SECOND
    seen: set[tuple[int, int]] = set()
    fractions = []
    for fraction, message in Composer(city).history(city.interval, start, end):
        assert message.payload is not None
        readings = json.loads(message.payload)
        assert len(readings) == message.readings <= READINGS_PER_ARRAY
        seen |= {(message.row, reading["ts"] * 1000) for reading in readings}
        fractions.append(fraction)
    expected = {
        (row, time)
        for row, (interval, phase) in enumerate(zip(city.interval.tolist(), city.phase.tolist(), strict=True))
        for time in range(start + (phase - start) % interval, end, interval)
    }
    assert seen == expected
    assert fractions == sorted(fractions)
    assert 0.9 < fractions[-1] <= 1


def test_a_history_step_thins_out_to_a_multiple_of_the_devices_interval(city: City) -> None:
    step = history_interval(city, 7 * 60 * SECOND)
    assert (step % city.interval == 0).all()
    assert (step >= 7 * 60 * SECOND).all()
    assert (step < 7 * 60 * SECOND + city.interval).all()


def test_secrets_differ_by_device_and_fleet_and_suit_a_url() -> None:
    secrets = {device_secret(fleet, device) for fleet in ("a", "b") for device in ("x", "y")}
    assert len(secrets) == 4
    assert all(len(secret) == 43 and secret.replace("-", "").replace("_", "").isalnum() for secret in secrets)
