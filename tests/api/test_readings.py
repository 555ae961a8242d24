from __future__ import annotations

import datetime as dt

import httpx2
import pytest

from tests.api.answers import NOW, every_page, fetch, problem
from tests.cities import City

MINUTE = dt.timedelta(minutes=1)
# The oldest is exactly a day old: part of the last 24 hours, which begin with it.
COUNT = 24 * 60


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    rows = [
        ("air-1", NOW - (n + 1) * MINUTE, {"pm2_5": float(n)} if n % 2 else {"pm10": 0.5})
        for n in range(COUNT)
    ]
    await city.write("air_quality", rows)


async def test_readings_are_columns_with_null_where_a_value_is_absent(client: httpx2.AsyncClient) -> None:
    answer = await fetch(client, "readings", device="air-1", start="-PT2M", end="now")
    assert answer["kind"] == "air_quality"
    assert answer["time"] == ["2026-01-15T11:58:00Z", "2026-01-15T11:59:00Z"]
    assert answer["received_at"] == ["2026-01-15T11:58:02Z", "2026-01-15T11:59:02Z"]
    assert answer["values"]["pm2_5"] == [1.0, None]
    assert answer["values"]["pm10"] == [None, 0.5]
    assert list(answer["values"]) == answer["columns"] == list(answer["units"])
    assert answer["units"]["pm2_5"] == "ug/m3"
    assert answer["next"] is None


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_together_are_the_range_each_reading_once(client: httpx2.AsyncClient, order: str) -> None:
    pages = await every_page(client, "readings", device="air-1", order=order, limit=500)
    times = [time for page in pages for time in page["time"]]
    assert len(times) == COUNT
    assert times == sorted(set(times), reverse=order == "desc")


async def test_a_range_holds_its_start_and_not_its_end(client: httpx2.AsyncClient) -> None:
    range_ = {"start": "2026-01-15T16:50:00+05:00", "end": "2026-01-15T16:52:00+05:00"}
    answer = await fetch(client, "readings", device="air-1", **range_)
    assert answer["time"] == ["2026-01-15T11:50:00Z", "2026-01-15T11:51:00Z"]


async def test_an_offset_whose_plus_was_not_encoded_is_understood(client: httpx2.AsyncClient) -> None:
    path = "/api/v1/readings?device=air-1&start=2026-01-15T16:58:00+05:00"
    assert (await client.get(path)).json()["time"] == ["2026-01-15T11:58:00Z", "2026-01-15T11:59:00Z"]


async def test_a_cursor_is_only_good_for_its_own_list(client: httpx2.AsyncClient) -> None:
    cursor = (await fetch(client, "readings", device="air-1", limit=1))["next"]
    for parameters in ({"device": "air-2"}, {"device": "air-1", "order": "desc"}):
        response = await client.get("/api/v1/readings", params={**parameters, "cursor": cursor})
        problem(response, 422, "invalid-parameter")


async def test_the_next_page_keeps_the_range_of_the_first(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/v1/readings", params={"device": "air-1", "start": "-PT5M", "limit": 2})
    link = response.links["next"]["url"]
    assert "start=2026-01-15T11%3A55%3A00Z" in link
    assert link.startswith("/api/v1/readings?")
    pages = [response.json(), (await client.get(link)).json()]
    assert [time[14:16] for page in pages for time in page["time"]] == ["55", "56", "57", "58"]


async def test_what_is_stored_between_two_pages_moves_none_of_the_others(
    client: httpx2.AsyncClient, city: City
) -> None:
    start, end = NOW - dt.timedelta(days=3), NOW - dt.timedelta(days=2)
    moments = [start + n * MINUTE for n in (1, 2, 3, 4)]
    await city.write("air_quality", [("air-2", moment, {"pm10": 1.0}) for moment in moments])
    for order, late in (("asc", MINUTE / 2), ("desc", MINUTE * 9)):
        range_ = {"device": "air-2", "start": start.isoformat(), "end": end.isoformat(), "order": order}
        before = (await fetch(client, "readings", **range_))["time"]
        first = await fetch(client, "readings", **range_, limit=2)
        await city.write("air_quality", [("air-2", start + late, {"pm10": 2.0})])
        rest = await fetch(client, "readings", **range_, limit=20, cursor=first["next"])
        assert [*first["time"], *rest["time"]] == before


async def test_a_device_without_readings_has_empty_columns(client: httpx2.AsyncClient) -> None:
    answer = await fetch(client, "readings", device="weather-1")
    assert answer["time"] == []
    assert answer["values"]["temperature"] == []
