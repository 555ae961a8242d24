"""Places by a metric: of devices, districts and kinds."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx2
import pytest

from tests.api.answers import NOW, TABLES, fetch, fetch_rows, get, problem, table_of
from tests.api.conftest import Served
from tests.cities import City

pytestmark = pytest.mark.servers

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    """air-1 measures 10 and 30 of temperature, air-2 20 three times, weather-1 20 once."""
    await city.write(
        "air_quality",
        [
            ("air-1", NOW - 2 * MINUTE, {"temperature": 10.0, "pm2_5": 5.0}),
            ("air-1", NOW - 3 * MINUTE, {"temperature": 30.0}),
            ("air-1", dt.datetime(2025, 1, 1, 0, 5, tzinfo=dt.UTC), {"pm2_5": 7.0}),
            *(("air-2", NOW - n * MINUTE, {"temperature": 20.0}) for n in (1, 2, 3)),
            ("air-2", NOW - 2 * 24 * 60 * MINUTE, {"temperature": 50.0}),
        ],
    )
    await city.write("weather", [("weather-1", NOW - 5 * MINUTE, {"temperature": 20.0})])
    await city.write("noise", [("sim-1", NOW - MINUTE, {"laeq": 60.0})])


def places(answer: Any) -> list[tuple[str, float, int]]:
    return [(*one["group"].values(), one["value"], one["count"]) for one in answer["top"]]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"agg": "max"}, [("air-1", 30.0, 2), ("air-2", 20.0, 3), ("weather-1", 20.0, 1)]),
        ({"agg": "min", "order": "asc"}, [("air-1", 10.0, 2), ("air-2", 20.0, 3), ("weather-1", 20.0, 1)]),
        ({}, [("air-1", 20.0, 2), ("air-2", 20.0, 3), ("weather-1", 20.0, 1)]),
        ({"agg": "count"}, [("air-2", 3.0, 3), ("air-1", 2.0, 2), ("weather-1", 1.0, 1)]),
        ({"agg": "count", "k": 1, "order": "asc"}, [("weather-1", 1.0, 1)]),
        ({"agg": "sum", "by": "kind"}, [("air_quality", 100.0, 5), ("weather", 20.0, 1)]),
        ({"agg": "sum", "by": "district"}, [("gate", 60.0, 3), ("golden", 60.0, 3)]),
        ({"agg": "max", "start": "-P3D"}, [("air-2", 50.0, 4), ("air-1", 30.0, 2), ("weather-1", 20.0, 1)]),
        ({"agg": "max", "near": "77,43.48,10"}, [("air-1", 30.0, 2)]),
        ({"agg": "max", "kind": "weather"}, [("weather-1", 20.0, 1)]),
    ],
)
async def test_the_most_or_the_least_come_first_and_ties_by_id(
    client: httpx2.AsyncClient, parameters: dict[str, str], expected: list[tuple[str, float, int]]
) -> None:
    assert places(await fetch(client, "top", metric="temperature", **parameters)) == expected


async def test_a_place_says_how_much_of_what_was_expected_has_a_value(client: httpx2.AsyncClient) -> None:
    answer = await fetch(client, "top", metric="temperature", start="-PT10M", by="device")
    coverage = {one["group"]["device"]: one["coverage"] for one in answer["top"]}
    assert coverage == {"air-1": 0.2, "air-2": 0.3, "weather-1": 0.1}
    assert (answer["unit"], answer["agg"], answer["order"]) == ("Cel", "avg", "desc")
    assert answer["start"] == "2026-01-15T11:50:00Z"
    # The district has a second device that measures the temperature.
    answer = await fetch(client, "top", metric="temperature", start="-PT10M", by="district")
    assert [one["coverage"] for one in answer["top"]] == [3 / 20, 3 / 10]


async def test_what_was_before_a_device_was_installed_is_not_expected(client: httpx2.AsyncClient) -> None:
    range_ = {"start": "2024-12-31T23:50:00Z", "end": "2025-01-01T00:10:00Z"}
    (place,) = (await fetch(client, "top", metric="pm2_5", **range_))["top"]
    assert (place["group"], place["coverage"]) == ({"device": "air-1"}, 0.1)


async def test_readings_of_simulated_devices_and_averages_of_counters_are_warned_of(
    client: httpx2.AsyncClient,
) -> None:
    warnings = (await fetch(client, "top", metric="laeq"))["warnings"]
    assert warnings == ["includes readings of simulated devices; simulated=false leaves them out"]
    (counter, nothing) = (await fetch(client, "top", metric="vehicles", agg="sum"))["warnings"]
    assert "vehicles is a counter" in counter
    assert "no reading" in nothing


@pytest.mark.parametrize("format_", TABLES)
async def test_a_table_has_the_places_in_their_order(client: httpx2.AsyncClient, format_: str) -> None:
    asked = {"metric": "temperature", "agg": "max", "start": "-PT10M"}
    rows = await fetch_rows(client, "top", **asked, format=format_)
    assert list(rows[0]) == ["device", "metric", "unit", "start", "end", "count", "coverage", "max"]
    assert {(row["metric"], row["unit"]) for row in rows} == {("temperature", "Cel")}
    found = [(row["device"], float(row["max"]), int(row["count"]), float(row["coverage"])) for row in rows]
    assert found == [
        ("air-1", 30.0, 2, 0.2),
        ("air-2", 20.0, 3, 0.3),
        ("weather-1", 20.0, 1, 0.1),
    ]
    assert await fetch_rows(client, "top", metric="vehicles", format=format_) == []


async def test_a_table_tells_the_unit_of_the_aggregate_and_the_range(client: httpx2.AsyncClient) -> None:
    asked = {"metric": "temperature", "agg": "rate", "by": "kind", "start": "-PT10M"}
    table = table_of(await get(client, "top", **asked, format="arrow"))
    assert table.schema.field("rate").metadata == {b"unit": b"Cel/s"}
    # Of the weather there is but one reading.
    assert table.select(["kind", "start", "end"]).to_pylist() == [
        {"kind": "air_quality", "start": NOW - 10 * MINUTE, "end": NOW}
    ]
    counted = table_of(await get(client, "top", **asked | {"agg": "count"}, format="arrow"))
    assert counted.column_names == ["kind", "metric", "unit", "start", "end", "count", "coverage"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"metric": "temprature"}, 'did you mean "temperature"?'),
        ({"metric": "pm2_5", "kind": "weather"}, "weather does not measure pm2_5; ask for air_quality"),
        ({"metric": "pm2_5", "by": "none"}, "by"),
        ({"metric": "pm2_5", "k": "0"}, "k"),
        ({"metric": "pm2_5", "k": "101"}, "k"),
        ({"metric": "pm2_5", "agg": "average"}, "agg"),
        ({"metric": "pm2_5", "start": "now"}, "is not before end"),
        ({}, "metric"),
    ],
)
async def test_a_question_that_is_not_valid_is_refused(
    client: httpx2.AsyncClient, parameters: dict[str, str], says: str
) -> None:
    response = await client.get("/api/v1/top", params=parameters)
    assert says in problem(response, 422, "invalid-parameter")["detail"]


async def test_more_devices_than_an_answer_may_hold_are_refused_with_what_to_ask(application: Served) -> None:
    async with application(max_points=2) as client:
        response = await client.get("/api/v1/top", params={"metric": "temperature"})
        assert "ask for by=district" in problem(response, 422, "too-large")["detail"]
        assert (await fetch(client, "top", metric="temperature", by="kind"))["top"]


async def test_following_too_many_readings_is_refused_and_so_is_a_limit_that_is_not_there(
    client: httpx2.AsyncClient,
) -> None:
    parameters = {"metric": "pm2_5", "agg": "twa", "start": "-P9000D"}
    response = await client.get("/api/v1/top", params=parameters)
    assert "shorter range" in problem(response, 422, "too-large")["detail"]
    response = await client.get("/api/v1/top", params={"metric": "pm2_5", "agg": "exceed"})
    assert "limit" in problem(response, 422, "invalid-parameter")["detail"]
