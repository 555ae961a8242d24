"""Units as they are written, and the codes that they become."""

from __future__ import annotations

import pytest

from ingest.decoders.written_units import WRITTEN, ucum
from sensors.ucum import check_unit, convert


@pytest.mark.parametrize("written", WRITTEN)
def test_each_becomes_a_unit_that_can_be_converted(written: str) -> None:
    code = ucum(written)
    assert code is not None
    check_unit(code)


@pytest.mark.parametrize(
    ("written", "other", "factor"),
    [
        ("kWh", "J", 3.6e6),
        ("m³", "L", 1e3),
        ("mph", "km/h", 1.609344),
        ("rpm", "Hz", 1 / 60),
        ("#", "1", 1.0),
    ],
)
def test_it_is_as_large_as_it_says(written: str, other: str, factor: float) -> None:
    assert convert(ucum(written) or "", other).factor == pytest.approx(factor)


@pytest.mark.parametrize("written", ["C", "", "counts/shift", "degrees"])
def test_what_could_be_another_is_none(written: str) -> None:
    assert ucum(written) is None
