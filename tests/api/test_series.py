from __future__ import annotations

import datetime as dt
from typing import Any

import httpx2
import pytest

from tests.api.answers import NOW, fetch, get, problem, table_of
from tests.api.conftest import Served
from tests.cities import City

HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    await city.write(
        "air_quality",
        [
            ("air-1", NOW - 2 * HOUR, {"pm2_5": 10.0, "temperature": 1.0}),
            ("air-1", NOW - HOUR, {"pm2_5": 20.0, "temperature": 2.0}),
            ("air-1", NOW - HOUR / 2, {"temperature": 3.0}),
            ("air-2", NOW - HOUR, {"pm2_5": 40.0}),
        ],
    )
    await city.write("weather", [("weather-1", NOW - HOUR, {"temperature": 7.0})])
    await city.write("noise", [("sim-1", NOW - HOUR, {"laeq": 50.0})])
    await city.write("traffic_flow", [("traffic-1", NOW - HOUR, {"vehicles": 1000.0, "speed": 40.0})])


async def ask(client: httpx2.AsyncClient, **parameters: Any) -> Any:
    return await fetch(client, "series", **{"start": "-PT2H", "step": "PT1H", **parameters})


async def test_a_series_says_all_that_it_is(client: httpx2.AsyncClient) -> None:
    answer = await ask(client, metric="pm2_5", agg="avg,min,max,sum,count", group_by="district")
    assert answer == {
        "start": "2026-01-15T10:00:00Z",
        "end": "2026-01-15T12:00:00Z",
        "step": "PT1H",
        "tz": "Asia/Almaty",
        "source": ["raw"],
        "groups": [
            {
                "group": {"district": "gate"},
                "metric": "pm2_5",
                "unit": "ug/m3",
                "start": ["2026-01-15T15:00:00+05:00", "2026-01-15T16:00:00+05:00"],
                "end": ["2026-01-15T16:00:00+05:00", "2026-01-15T17:00:00+05:00"],
                "count": [1, 1],
                # Of 60 that its interval of a minute lets expect.
                "coverage": [pytest.approx(1 / 60), pytest.approx(1 / 60)],
                "avg": [10.0, 20.0],
                "min": [10.0, 20.0],
                "max": [10.0, 20.0],
                "sum": [10.0, 20.0],
            },
            {
                "group": {"district": "golden"},
                "metric": "pm2_5",
                "unit": "ug/m3",
                "start": ["2026-01-15T15:00:00+05:00", "2026-01-15T16:00:00+05:00"],
                "end": ["2026-01-15T16:00:00+05:00", "2026-01-15T17:00:00+05:00"],
                "count": [0, 1],
                "coverage": [0.0, pytest.approx(1 / 60)],
                "avg": [None, 40.0],
                "min": [None, 40.0],
                "max": [None, 40.0],
                "sum": [None, 40.0],
            },
        ],
        "warnings": [],
    }


async def test_a_metric_of_several_kinds_is_averaged_over_all_of_them(client: httpx2.AsyncClient) -> None:
    (group,) = (await ask(client, metric="temperature", tz="UTC"))["groups"]
    assert group["group"] == {}
    assert group["start"] == ["2026-01-15T10:00:00Z", "2026-01-15T11:00:00Z"]
    assert group["count"] == [1, 3]
    assert group["avg"] == [1.0, 4.0]


async def test_the_kind_filter_leaves_the_others_out(client: httpx2.AsyncClient) -> None:
    (group,) = (await ask(client, metric="temperature", kind="air_quality"))["groups"]
    assert group["avg"] == [1.0, 2.5]


async def test_series_by_kind_name_only_kinds_that_measure_the_metric(client: httpx2.AsyncClient) -> None:
    groups = (await ask(client, metric=["temperature", "pm2_5"], group_by="kind"))["groups"]
    found = [(group["group"]["kind"], group["metric"]) for group in groups]
    assert found == [("air_quality", "temperature"), ("air_quality", "pm2_5"), ("weather", "temperature")]


async def test_series_by_device_name_the_device(client: httpx2.AsyncClient) -> None:
    groups = (await ask(client, metric="pm2_5", group_by="device"))["groups"]
    assert [group["group"] for group in groups] == [{"device": "air-1"}, {"device": "air-2"}]


async def test_simulated_devices_are_warned_of_and_can_be_left_out(client: httpx2.AsyncClient) -> None:
    assert "simulated=false" in (await ask(client, metric="laeq"))["warnings"][0]
    without = await ask(client, metric="laeq", simulated="false")
    assert without["groups"] == []
    assert without["warnings"] == ["no reading in the range has a value"]
    assert (await ask(client, metric="laeq", simulated="true"))["warnings"] == []


@pytest.mark.parametrize(("agg", "warned"), [("avg", True), ("sum,max", True), ("min,max", False)])
async def test_meaningless_aggregates_of_a_counter_are_warned_of(
    client: httpx2.AsyncClient, agg: str, warned: bool
) -> None:
    warnings = (await ask(client, metric="vehicles", agg=agg))["warnings"]
    assert any("counter" in warning and "agg=increase" in warning for warning in warnings) is warned


async def test_increase_of_what_is_no_counter_is_warned_of(client: httpx2.AsyncClient) -> None:
    (warning,) = (await ask(client, metric="pm2_5", agg="increase"))["warnings"]
    assert "no counter" in warning


async def test_percentiles_are_named_as_they_were_asked_for_and_state_their_error(
    client: httpx2.AsyncClient,
) -> None:
    parameters = {"metric": "temperature", "agg": "median,p99.9,p50", "step": "P1D", "start": "-PT5H"}
    answer = await ask(client, **parameters)
    (group,) = answer["groups"]
    assert answer["percentile_error"] == 0.01
    assert group["median"] == group["p50"] == [pytest.approx(2.5, rel=0.01)]
    assert group["p99.9"] == [pytest.approx(7.0, rel=0.01)]
    exact = await ask(client, **parameters, exact="true")
    assert exact["percentile_error"] == 0.0
    assert exact["groups"][0]["median"] == [2.5]


async def test_an_aggregate_that_is_none_is_refused_with_the_nearest(client: httpx2.AsyncClient) -> None:
    for wrong, near in (("average", "rate"), ("p100", "p50"), ("p0", "p50"), ("increse", "increase")):
        response = await client.get("/api/v1/series", params={"metric": "pm2_5", "agg": wrong})
        document = problem(response, 422, "invalid-parameter")
        assert near in document["valid"], wrong
    assert document["nearest"] == "increase"


async def test_time_over_a_limit_needs_one(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/v1/series", params={"metric": "pm2_5", "agg": "exceed"})
    assert "limit=35" in problem(response, 422, "invalid-parameter")["detail"]
    # Of air-1 from 11:00, of air-2 too; carried to the end of the range.
    (group,) = (await ask(client, metric="pm2_5", agg="exceed", limit=15, fill="none"))["groups"]
    assert group["exceed"] == [0.0, 7200.0]


@pytest.mark.parametrize(
    ("fill", "starts", "values"),
    [
        ("none", [10, 11], [10.0, 30.0]),
        ("null", [9, 10, 11], [None, 10.0, 30.0]),
        ("previous", [9, 10, 11], [None, 10.0, 30.0]),
        ("linear", [9, 10, 11], [None, 10.0, 30.0]),
    ],
)
async def test_empty_buckets_are_filled_as_asked(
    client: httpx2.AsyncClient, fill: str, starts: list[int], values: list[float | None]
) -> None:
    (group,) = (await ask(client, metric="pm2_5", start="-PT3H", tz="UTC", fill=fill))["groups"]
    assert group["start"] == [f"2026-01-15T{hour:02}:00:00Z" for hour in starts]
    assert group["avg"] == values


async def test_gaps_are_filled_with_the_value_before_or_on_a_line(client: httpx2.AsyncClient) -> None:
    for fill, middle in (("previous", 10.0), ("linear", 20.0)):
        (group,) = (await ask(client, metric="pm2_5", step="PT30M", fill=fill))["groups"]
        assert group["count"] == [1, 0, 2, 0]
        assert group["avg"][:3] == [10.0, middle, 30.0]
        assert group["avg"][3] == (30.0 if fill == "previous" else None)


async def test_the_same_span_of_a_week_before_is_bucket_by_bucket_beside_it(
    client: httpx2.AsyncClient, city: City
) -> None:
    await city.write("air_quality", [("air-1", NOW - 7 * 24 * HOUR - HOUR, {"pm2_5": 5.0})])
    answer = await ask(client, metric="pm2_5", compare="-P7D", tz="UTC")
    assert answer["compare"]["start"] == "2026-01-08T10:00:00Z"
    (group,) = answer["compare"]["groups"]
    assert group["start"] == ["2026-01-08T10:00:00Z", "2026-01-08T11:00:00Z"]
    assert group["avg"] == [None, 5.0]


async def test_a_table_has_a_row_for_each_bucket_and_the_unit_of_its_values(
    client: httpx2.AsyncClient,
) -> None:
    parameters = {
        "metric": "pm2_5",
        "agg": "avg,rate",
        "group_by": "district",
        "step": "PT1H",
        "start": "-PT2H",
        "fill": "none",
    }
    response = await client.get("/api/v1/series", params={**parameters, "format": "csv"})
    lines = response.text.splitlines()
    assert lines[0] == '"district","metric","unit","start","end","count","coverage","avg","rate"'
    assert [line.split(",")[0] for line in lines[1:]] == ['"gate"', '"gate"', '"golden"']
    assert '"2026-01-15T10:00:00.000000Z","2026-01-15T11:00:00.000000Z",1,' in lines[1]
    table = table_of(await get(client, "series", **parameters, format="arrow"))
    assert table.schema.field("avg").metadata == {b"unit": b"ug/m3"}
    assert table.schema.field("rate").metadata == {b"unit": b"ug/m3/s"}
    assert table["avg"].to_pylist() == [10.0, 20.0, 40.0]


async def test_a_table_has_no_room_for_a_comparison(client: httpx2.AsyncClient) -> None:
    parameters = {"metric": "pm2_5", "compare": "-P7D", "format": "csv"}
    response = await client.get("/api/v1/series", params=parameters)
    assert "format=json" in problem(response, 422, "invalid-parameter")["detail"]


async def test_a_comparison_with_the_future_is_refused(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/v1/series", params={"metric": "pm2_5", "compare": "P7D"})
    assert "-P7D" in problem(response, 422, "invalid-parameter")["detail"]


async def test_a_place_selects_the_devices_within_it(client: httpx2.AsyncClient) -> None:
    (group,) = (await ask(client, metric="pm2_5", near="77.0,43.48,500"))["groups"]
    assert group["avg"] == [10.0, 20.0]
    (group,) = (await ask(client, metric="pm2_5", tag="pole:7"))["groups"]
    assert group["avg"] == [None, 40.0]


async def test_auto_chooses_the_finest_step_with_no_more_points_than_asked(
    client: httpx2.AsyncClient,
) -> None:
    answer = await fetch(client, "series", metric="pm2_5", max_points=24)
    assert answer["step"] == "PT1H"


async def test_following_too_many_readings_is_refused_at_once(client: httpx2.AsyncClient) -> None:
    parameters = {"metric": "pm2_5", "agg": "twa", "start": "-P9000D", "step": "P1M"}
    response = await client.get("/api/v1/series", params=parameters)
    assert "shorter range" in problem(response, 422, "too-large")["detail"]


async def test_partial_buckets_are_warned_of(client: httpx2.AsyncClient) -> None:
    warnings = (await ask(client, metric="pm2_5", start="-PT90M", end="-PT10M"))["warnings"]
    assert [warning.split(":")[0] for warning in warnings] == [
        "the first bucket is partial",
        "the last bucket is partial",
    ]


async def test_without_a_range_the_last_day_is_cut_into_about_300(client: httpx2.AsyncClient) -> None:
    answer = await fetch(client, "series", metric="pm2_5")
    assert (answer["start"], answer["end"]) == ("2026-01-14T12:00:00Z", "2026-01-15T12:00:00Z")
    assert answer["step"] == "PT5M"
    assert len(answer["groups"][0]["count"]) == 288


async def test_calendar_days_are_those_of_the_zone(client: httpx2.AsyncClient) -> None:
    range_ = {"start": "2024-02-28T00:00:00+06:00", "end": "2024-03-02T00:00:00+05:00", "step": "P1D"}
    (group,) = (await ask(client, metric="pm2_5", **{**range_, "end": "now"}))["groups"]
    assert group["start"][1:3] == ["2024-02-29T00:00:00+06:00", "2024-03-01T00:00:00+05:00"]


async def test_too_many_buckets_are_refused_with_a_step_that_is_not(client: httpx2.AsyncClient) -> None:
    parameters = {"metric": "pm2_5", "start": "-P30D", "step": "PT1S"}
    document = problem(await client.get("/api/v1/series", params=parameters), 422, "too-large")
    assert document["nearest"] == "PT5M"
    assert "step=PT5M" in document["detail"]
    await fetch(client, "series", **{**parameters, "step": document["nearest"]})


async def test_too_many_points_are_refused_with_what_to_ask_instead(application: Served) -> None:
    async with application(max_points=100) as client:
        by_device = {"metric": "pm2_5", "group_by": "device", "start": "-PT24H"}
        response = await client.get("/api/v1/series", params={**by_device, "step": "PT5M"})
        assert "step=PT30M" in problem(response, 422, "too-large")["detail"]
        await fetch(client, "series", **by_device, step="PT1H")
    async with application(max_points=3) as client:
        response = await client.get("/api/v1/series", params={**by_device, "step": "P1D"})
        assert "group_by=district" in problem(response, 422, "too-large")["detail"]


async def test_a_kind_that_does_not_measure_the_metric_is_refused_with_those_that_do(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.get("/api/v1/series", params={"metric": "pm2_5", "kind": "noise"})
    assert problem(response, 422, "invalid-parameter")["valid"] == ["air_quality"]


async def test_a_query_that_takes_too_long_is_stopped_and_says_what_to_do(
    application: Served, city: City
) -> None:
    async with application(statement_timeout_seconds=0.05) as client, city.owner.transaction():
        await city.owner.execute("LOCK TABLE reading.air_quality IN ACCESS EXCLUSIVE MODE")
        response = await client.get("/api/v1/series", params={"metric": "pm2_5"})
    assert "shorter range" in problem(response, 504, "timeout")["detail"]
