"""The index of the air against the EPA's own tables and worked examples."""

from __future__ import annotations

import pytest

from sensors.air_index import HOURS, UNITS, Category, air_index, category_of, level_of, nowcast
from sensors.catalogue import builtin_file

# Of each pollutant, in its own unit: where the categories begin and end, and the index there. Source: EPA-454/B-24-002,
# table 6. Gases are given in the table's ppm or ppb.
PPB_NO2, PPB_SO2, PPM_CO, PPM_O3 = 46.01 / 24.45, 64.07 / 24.45, 28.01 / 24.45, 48_000 / 24.45
EDGES = [
    *(("pm2_5", value, index) for value, index in ((0, 0), (9.0, 50), (9.1, 51), (35.4, 100), (35.5, 101))),
    *(("pm2_5", value, index) for value, index in ((55.4, 150), (125.4, 200), (225.4, 300), (325.4, 500))),
    *(("pm10", value, index) for value, index in ((54, 50), (55, 51), (154, 100), (254, 150), (604, 500))),
    *(("no2", value * PPB_NO2, index) for value, index in ((53, 50), (54, 51), (100, 100), (2049, 500))),
    *(("so2", value * PPB_SO2, index) for value, index in ((35, 50), (75, 100), (185, 150), (304, 200))),
    *(("so2", value * PPB_SO2, index) for value, index in ((305, 201), (604, 300), (1004, 500))),
    *(("co", value * PPM_CO, index) for value, index in ((4.4, 50), (9.4, 100), (12.4, 150), (50.4, 500))),
    *(
        ("o3", value * PPM_O3, index)
        for value, index in ((0.054, 50), (0.055, 51), (0.070, 100), (0.105, 200))
    ),
]


@pytest.mark.parametrize(("metric", "value", "expected"), EDGES)
def test_every_edge_of_the_table_has_its_index(metric: str, value: float, expected: int) -> None:
    found = air_index({metric: [value] * HOURS})
    assert found is not None
    assert (found.value, found.metric) == (expected, metric)


def test_a_concentration_is_truncated_and_never_rounded() -> None:
    # Source: EPA-454/B-24-002: 35.49 is 35.4, and so still moderate.
    found = air_index({"pm2_5": [35.49] * 12})
    assert found is not None
    assert found.value == 100


def test_an_index_within_a_category_lies_on_its_line() -> None:
    # Source: the document's example: ozone of 0.07853333 ppm in eight hours is 126.
    found = air_index({"o3": [0.07853333 * PPM_O3] * 8})
    assert found is not None
    assert found.value == 126


def test_beyond_the_table_the_index_goes_on() -> None:
    found = air_index({"pm2_5": [425.4] * 12})
    assert found is not None
    assert found.value > 650
    assert found.category is Category.HAZARDOUS


def test_a_bad_hour_of_ozone_counts_beside_eight_good_ones() -> None:
    found = air_index({"o3": [0.050 * PPM_O3] * 7 + [0.165 * PPM_O3]})
    assert found is not None
    assert found.value == 151


def test_the_worst_pollutant_decides() -> None:
    found = air_index({"pm2_5": [10.0] * 12, "pm10": [300.0] * 12, "no2": [5.0]})
    assert found is not None
    assert found.metric == "pm10"
    assert found.category is Category.UNHEALTHY


def test_the_nowcast_counts_the_newest_hours_the_more_the_air_changes() -> None:
    # Source: the EPA's NowCast: the weight is the lowest by the highest, and half at least.
    assert nowcast([20.0] * 12) == pytest.approx(20.0)
    assert nowcast([10.0, 30.0]) == pytest.approx((30.0 + 0.5 * 10.0) / 1.5)
    assert nowcast([30.0, 20.0]) == pytest.approx((20.0 + 2 / 3 * 30.0) / (1 + 2 / 3))
    assert nowcast([0.0, 0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    "hours",
    [
        {},
        {"pm2_5": [50.0]},
        {"pm2_5": [50.0, 50.0, None, None]},
        {"o3": [50.0] * 5},
        {"no2": [50.0, None]},
        {"noise": [50.0] * 24},
    ],
)
def test_too_few_hours_are_no_index(hours: dict[str, list[float | None]]) -> None:
    assert air_index(hours) is None


def test_a_missing_hour_among_three_is_bridged() -> None:
    assert air_index({"pm2_5": [50.0, None, 50.0]}) is not None


def test_categories_are_in_order() -> None:
    assert [category_of(value) for value in (50, 100, 150, 200, 300, 301, 700)] == [
        *Category,
        Category.HAZARDOUS,
    ]
    assert [level_of(category) for category in Category] == list(range(6))


def test_the_units_are_those_of_the_catalogue() -> None:
    (air,) = (kind for kind in builtin_file("kinds").kind if kind.name == "air_quality")
    units = {metric.name: metric.unit for metric in air.metrics}
    assert {name: units[name] for name in UNITS} == UNITS
