"""Fields of another format's reading become metrics: by a profile, or by name."""

from __future__ import annotations

import math

import pytest

from ingest.decoders.parsed import Reading
from ingest.mapping import Compiled
from sensors.catalogue import Catalogue
from sensors.checks import Reason
from sensors.kinds import Kind
from sensors.profiles import Field, Profile, ProfileError, check_profile, read_profiles

PROFILE = """
[[profile]]
name = "bme280"
title = "Tasmota with a BME280"
format = "tasmota"
kind = "weather"
map = [
  { field = "BME280.Temperature", metric = "temperature" },
  { field = "BME280.Pressure", metric = "air_pressure", unit = "Pa" },
  { field = "wind", metric = "wind_speed", unit = "km/h", scale = 0.1, offset = 1 },
]
"""


@pytest.fixture
def kind(catalogue: Catalogue) -> Kind:
    return catalogue.kind_of["weather"]


def row_of(kind: Kind, compiled: Compiled, reading: Reading) -> dict[str, float]:
    mapped = compiled.map(reading)
    assert mapped.row is not None
    time, *values = mapped.row
    assert time == reading.time or (math.isnan(time) and math.isnan(reading.time))
    return {name: value for name, value in zip(kind.columns, values, strict=True) if not math.isnan(value)}


def test_a_profile_says_field_unit_scale_and_offset(kind: Kind) -> None:
    (profile,) = read_profiles(PROFILE.encode(), "test.toml")
    values = {"BME280.Temperature": -3.5, "BME280.Pressure": 93210.0, "wind": 350.0, "uptime": 7.0}
    found = row_of(kind, Compiled(kind, profile), Reading("air7", 1767225600.0, values))
    assert found == pytest.approx({"temperature": -3.5, "air_pressure": 932.1, "wind_speed": 10.0})


def test_the_payload_s_own_unit_is_converted_to_the_metric_s(kind: Kind) -> None:
    (profile,) = read_profiles(PROFILE.encode(), "test.toml")
    reading = Reading("air7", math.nan, {"BME280.Temperature": 26.6}, {"BME280.Temperature": "[degF]"})
    assert row_of(kind, Compiled(kind, profile), reading) == pytest.approx({"temperature": -3.0})


def test_without_a_profile_fields_are_metrics_of_the_same_name(kind: Kind) -> None:
    reading = Reading("air7", math.nan, {"temperature": 21.5, "BME.Humidity": 41.0, "x": 1.0})
    assert row_of(kind, Compiled(kind), reading) == {"temperature": 21.5, "humidity": 41.0}


def test_a_field_of_the_metric_s_whole_name_goes_before_one_within_another(kind: Kind) -> None:
    reading = Reading(
        "a", math.nan, {"soil.temperature": 7.0, "temperature": 21.5, "normalized.temperature": 9.0}
    )
    assert row_of(kind, Compiled(kind), reading) == {"temperature": 21.5}


def test_of_two_fields_with_the_same_last_name_neither_is_taken(kind: Kind) -> None:
    mapped = Compiled(kind).map(Reading("a", math.nan, {"soil.temperature": 7.0, "air.temperature": 21.5}))
    assert mapped.row is None
    (fault,) = mapped.faults
    assert fault.reason is Reason.DUPLICATE
    assert (
        fault.detail == "soil.temperature and air.temperature have the same last name; map one by a profile"
    )


def test_a_unit_of_something_else_is_refused_and_the_rest_is_kept(kind: Kind) -> None:
    reading = Reading("a", math.nan, {"temperature": 21.5, "humidity": 41.0}, {"temperature": "hPa"})
    mapped = Compiled(kind).map(reading)
    assert mapped.row is not None
    (fault,) = mapped.faults
    assert fault.reason is Reason.WRONG_UNIT
    assert 'temperature: "hPa" and "Cel" measure different things' in fault.detail


def test_a_reading_of_which_nothing_is_mapped_says_what_it_has(kind: Kind) -> None:
    mapped = Compiled(kind).map(Reading("a", math.nan, {"temprature": 21.5}))
    assert mapped.row is None
    (fault,) = mapped.faults
    assert fault.reason is Reason.NO_METRICS
    assert "temprature" in fault.detail
    assert 'did you mean "temperature"?' in fault.detail


def _profile(**changes: object) -> Profile:
    good: dict[str, object] = {
        "name": "p",
        "title": "t",
        "format": "senml",
        "kind": "weather",
        "fields": (Field("t", "temperature"),),
    }
    return Profile(**{**good, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "A b"}, "is no name of a profile"),
        ({"format": "senlm"}, 'did you mean "senml"'),
        ({"kind": "wether"}, 'did you mean "weather"'),
        ({"fields": ()}, "map between 1 and"),
        ({"fields": (Field("t", "temperatur"),)}, 'did you mean "temperature"'),
        ({"fields": (Field("t", "temperature"), Field("t", "humidity"))}, "field t is mapped twice"),
        (
            {"fields": (Field("t", "temperature"), Field("u", "temperature"))},
            "metric temperature is mapped twice",
        ),
        ({"fields": (Field("t", "temperature", unit="hPa"),)}, "measure different things"),
        ({"fields": (Field("t", "temperature", unit="celsius"),)}, "no unit that is known here"),
        ({"fields": (Field("t", "temperature", scale=math.nan),)}, "finite numbers"),
        ({"fields": (Field("t", "temperature", offset=math.inf),)}, "finite numbers"),
        ({"fields": (Field("t\0", "temperature"),)}, "NUL"),
    ],
)
def test_a_wrong_profile_is_refused_with_what_would_be_right(
    catalogue: Catalogue, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ProfileError, match=said):
        check_profile(_profile(**changes), catalogue, ["senml", "tasmota"])


def test_a_file_with_an_unknown_member_names_the_nearest() -> None:
    with pytest.raises(ProfileError, match=r'test\.toml: .* did you mean "metric"'):
        read_profiles(PROFILE.replace("metric =", "metrik =").encode(), "test.toml")
