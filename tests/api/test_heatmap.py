"""The week of a metric, against every reading sorted by hand on the zone's clock."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import statistics
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import pytest

from api.heatmap import DAYS
from tests.api.answers import TABLES, fetch, fetch_rows, get, problem, table_of
from tests.api.conftest import Served
from tests.cities import City, Row

pytestmark = pytest.mark.servers

# Almaty set its clocks back at 2024-03-01 00:00, New York forward on 2024-03-10.
BEGIN = dt.datetime(2024, 2, 26, 3, 17, tzinfo=dt.UTC)
END = dt.datetime(2024, 3, 16, 20, 41, tzinfo=dt.UTC)


def _rows() -> list[Row]:
    chance = random.Random(5)  # noqa: S311
    seconds = int((END - BEGIN).total_seconds())
    moments = sorted({*chance.sample(range(seconds), 3000), *range(43 * 60, seconds, 3600)})
    return [
        (
            chance.choice(["air-1", "air-2"]),
            BEGIN + dt.timedelta(seconds=moment),
            {"pm2_5": chance.randrange(0, 800) / 8},
        )
        for moment in moments
    ]


ROWS = _rows()
FOLD: dict[str, Callable[[Sequence[float]], float]] = {
    "avg": statistics.fmean,
    "min": min,
    "max": max,
    "sum": sum,
}
RANGE = {"start": BEGIN.isoformat(), "end": END.isoformat()}


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    await city.write("air_quality", ROWS)


def by_hand(device: str | None, zone: str) -> list[list[list[float]]]:
    """Return the values of each hour of each day of the week."""
    cells: list[list[list[float]]] = [[[] for _ in range(24)] for _ in range(7)]
    for name, moment, values in ROWS:
        if device in (None, name):
            local = moment.astimezone(zoneinfo.ZoneInfo(zone))
            cells[local.weekday()][local.hour].append(values["pm2_5"])
    return cells


def check(group: Any, agg: str, cells: list[list[list[float]]]) -> None:
    assert group["count"] == [[len(values) for values in day] for day in cells]
    expected = [[FOLD[agg](values) if values else None for values in day] for day in cells]
    for day, wanted in zip(group[agg], expected, strict=True):
        assert day == pytest.approx(wanted)


@pytest.mark.parametrize("zone", ["Asia/Almaty", "America/New_York", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("agg", list(FOLD))
async def test_every_value_is_in_the_hour_and_the_day_that_its_clock_showed(
    client: httpx2.AsyncClient, zone: str, agg: str
) -> None:
    answer = await fetch(client, "heatmap", metric="pm2_5", agg=agg, tz=zone, **RANGE)
    (group,) = answer["groups"]
    check(group, agg, by_hand(None, zone))
    assert (answer["tz"], answer["unit"], answer["days"][0]) == (zone, "ug/m3", "monday")


async def test_each_group_has_a_week_of_its_own_on_the_citys_clock(client: httpx2.AsyncClient) -> None:
    answer = await fetch(client, "heatmap", metric="pm2_5", group_by="device", **RANGE)
    assert [one["group"] for one in answer["groups"]] == [{"device": "air-1"}, {"device": "air-2"}]
    for group in answer["groups"]:
        check(group, "avg", by_hand(group["group"]["device"], "Asia/Almaty"))


async def test_a_count_is_an_answer_by_itself(client: httpx2.AsyncClient) -> None:
    answer = await fetch(client, "heatmap", metric="pm2_5", agg="count", **RANGE)
    (group,) = answer["groups"]
    assert set(group) == {"group", "count"}
    assert sum(map(sum, group["count"])) == len(ROWS)


async def test_an_hour_without_a_value_is_null_and_no_value_at_all_is_warned_of(
    client: httpx2.AsyncClient,
) -> None:
    hour = {"start": "2024-03-01T00:00:00Z", "end": "2024-03-01T01:00:00Z"}
    (group,) = (await fetch(client, "heatmap", metric="pm2_5", agg="max", tz="UTC", **hour))["groups"]
    assert [value is None for day in group["max"] for value in day].count(False) == 1
    nothing = await fetch(client, "heatmap", metric="pm2_5", start="-PT1H")
    assert nothing["groups"] == []
    assert nothing["warnings"] == ["no reading in the range has a value"]


@pytest.mark.parametrize("format_", TABLES)
async def test_a_table_has_a_row_for_each_hour_of_each_day_of_each_group(
    client: httpx2.AsyncClient, format_: str
) -> None:
    rows = await fetch_rows(client, "heatmap", metric="pm2_5", group_by="device", format=format_, **RANGE)
    assert list(rows[0]) == ["device", "metric", "unit", "day", "hour", "count", "avg"]
    assert {(row["metric"], row["unit"]) for row in rows} == {("pm2_5", "ug/m3")}
    places = [(row["device"], row["day"], int(row["hour"])) for row in rows]
    assert places == list(itertools.product(["air-1", "air-2"], DAYS, range(24)))
    for start, device in enumerate(["air-1", "air-2"]):
        hours = [hour for day in by_hand(device, "Asia/Almaty") for hour in day]
        for row, values in zip(rows[start * 168 :][:168], hours, strict=True):
            assert int(row["count"]) == len(values)
            assert [float(row["avg"])] == pytest.approx([statistics.fmean(values)])


async def test_a_table_has_null_where_no_value_is_and_the_unit_of_values(client: httpx2.AsyncClient) -> None:
    hour = {"start": "2024-03-01T00:00:00Z", "end": "2024-03-01T01:00:00Z", "tz": "UTC"}
    table = table_of(await get(client, "heatmap", metric="pm2_5", agg="max", format="arrow", **hour))
    assert table.column_names == ["metric", "unit", "day", "hour", "count", "max"]
    assert table.schema.field("max").metadata == {b"unit": b"ug/m3"}
    assert (table.num_rows, table["max"].null_count) == (168, 167)
    counted = table_of(await get(client, "heatmap", metric="pm2_5", agg="count", format="arrow", **hour))
    assert counted.column_names == ["metric", "unit", "day", "hour", "count"]


async def test_a_range_or_groups_beyond_the_limits_are_refused_with_what_to_ask(
    client: httpx2.AsyncClient, application: Served
) -> None:
    response = await client.get("/api/v1/heatmap", params={"metric": "pm2_5", "start": "-P900D"})
    assert "ask for a year at most" in problem(response, 422, "too-large")["detail"]
    async with application(max_points=500) as small:
        parameters = {"metric": "pm2_5", "group_by": "device", **RANGE}
        response = await small.get("/api/v1/heatmap", params=parameters)
        assert "group_by=district" in problem(response, 422, "too-large")["detail"]
