"""Units: what converts, by how much, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.ucum import Conversion, UnitError, check_unit, convert


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return build_catalogue(builtin_file("alatau"), "alatau.toml")


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("K", "Cel", 273.15, 0),
        ("[degF]", "Cel", 212, 100),
        ("[degF]", "Cel", -40, -40),
        ("mg/m3", "ug/m3", 0.0125, 12.5),
        ("W.h", "kW.h", 12345, 12.345),
        ("GJ", "kW.h", 3.6, 1000),
        ("J", "kW.h", 3.6e6, 1),
        ("m/s", "km/h", 10, 36),
        ("[mi_i]/h", "km/h", 1, 1.609344),
        ("[kn_i]", "m/s", 1, 1852 / 3600),
        ("L/min", "m3/h", 1000, 60),
        ("Pa", "hPa", 93210, 932.1),
        ("mbar", "hPa", 932.1, 932.1),
        ("mm[Hg]", "hPa", 760, 1013.250144354),
        ("1", "%", 0.5, 50),
        ("[ppb]", "[ppm]", 420_000, 420),
        ("mA", "A", 180, 0.18),
        ("10*3.W", "kW", 2, 2),
        ("/h", "Hz", 3600, 1),
        ("{vehicle}/h", "/min", 60, 1),
        ("m3/m2", "mm", 0.001, 1),
        ("[g]", "m/s2", 2, 19.6133),
    ],
)
def test_a_value_is_the_same_in_another_unit(source: str, target: str, value: float, expected: float) -> None:
    factor, offset = convert(source, target)
    assert value * factor + offset == pytest.approx(expected, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize(
    ("source", "target"),
    [("Cel", "hPa"), ("ug/m3", "[ppb]"), ("kW", "kW.h"), ("{KZT}", "{USD}"), ("m", "m2"), ("dB", "1")],
)
def test_what_measures_something_else_is_refused(source: str, target: str) -> None:
    with pytest.raises(UnitError, match="measure different things"):
        convert(source, target)


@pytest.mark.parametrize("text", ["", "foo", "Cel/", "m//s", "°C", "m99", "[", "{", "1" * 65, "kW h", "m3.."])
def test_what_is_no_unit_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(UnitError, match=r"write|valid|mean|leave|power"):
        check_unit(text)


def test_every_unit_of_the_catalogue_is_known(catalogue: Catalogue) -> None:
    for kind in catalogue.kinds:
        for metric in kind.metrics:
            check_unit(metric.unit)
            assert convert(metric.unit, metric.unit) == Conversion(1, 0)


_UNITS = ["Cel", "K", "[degF]", "ug/m3", "g/L", "kW.h", "cal", "m/s", "[kn_i]", "hPa", "[psi]", "L/h", "m3/s"]


@given(st.sampled_from(_UNITS), st.sampled_from(_UNITS), st.floats(-1e6, 1e6))
def test_there_and_back_is_the_same_value(one: str, other: str, value: float) -> None:
    try:
        there = convert(one, other)
    except UnitError:
        return
    back = convert(other, one)
    assert (value * there.factor + there.offset) * back.factor + back.offset == pytest.approx(
        value, rel=1e-9, abs=1e-6
    )


@given(st.text(st.sampled_from("mgskKACelPWhL0123456789./{}[]*%-+ "), max_size=20))
def test_no_text_does_anything_but_be_a_unit_or_be_refused(text: str) -> None:
    with contextlib.suppress(UnitError):
        check_unit(text)
