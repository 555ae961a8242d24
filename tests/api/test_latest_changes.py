"""What changed of the latest values since a cursor: nothing is missed, whoever commits when."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime as dt
import itertools
import json
from typing import Any

import httpx2
import pytest

from storage.database import connect
from tests.api.answers import NOW, every_page, fetch, problem
from tests.cities import City

pytestmark = pytest.mark.servers

MINUTE = dt.timedelta(minutes=1)
_minutes = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    for device, kind in (("air-1", "air_quality"), ("air-2", "air_quality"), ("weather-1", "weather")):
        await measure(city, device, kind, 0.0)


async def measure(city: City, device: str, kind: str, value: float) -> None:
    """Store a temperature that is later than every one before."""
    await city.write(kind, [(device, NOW + next(_minutes) * MINUTE, {"temperature": value})])


async def cursor_of(client: httpx2.AsyncClient, city: City) -> str:
    """Return a cursor that is made while no transaction is under way: its changes are exact then."""
    quiet = "SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s) FROM pg_current_snapshot() AS s"
    async with asyncio.timeout(15):
        while not await city.owner.fetchval(quiet):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)
    cursor: str = (await fetch(client, "latest"))["cursor"]
    return cursor


async def changed(client: httpx2.AsyncClient, since: str) -> set[str]:
    return {device["device"] for device in (await fetch(client, "latest", since=since))["devices"]}


def temperature(answer: Any, device: str) -> float:
    (found,) = [one for one in answer["devices"] if one["device"] == device]
    return float(found["values"]["temperature"]["value"])


async def test_only_devices_with_a_newer_value_are_shown(client: httpx2.AsyncClient, city: City) -> None:
    cursor = await cursor_of(client, city)
    assert await changed(client, cursor) == set()
    await measure(city, "weather-1", "weather", 1.0)
    # What is older than the latest changes nothing.
    await city.write("air_quality", [("air-2", NOW - MINUTE, {"temperature": 1.0})])
    assert await changed(client, cursor) == {"weather-1"}
    assert await changed(client, await cursor_of(client, city)) == set()


async def test_a_change_that_was_under_way_when_a_cursor_was_made_is_not_missed(
    client: httpx2.AsyncClient, city: City
) -> None:
    connection = await connect(city.database.ingest_url, application="test")
    try:
        async with city.ingest.transaction():
            await measure(city, "weather-1", "weather", 17.0)
            # Another one begins later and ends earlier; the cursor is made after it.
            await measure(dataclasses.replace(city, ingest=connection), "air-2", "air_quality", 18.0)
            answer = await fetch(client, "latest")
            assert temperature(answer, "air-2") == 18.0
            assert temperature(answer, "weather-1") != 17.0
    finally:
        await connection.close()
    assert "weather-1" in await changed(client, answer["cursor"])


async def test_what_changes_between_two_pages_is_not_missed(client: httpx2.AsyncClient, city: City) -> None:
    await cursor_of(client, city)
    first = await fetch(client, "latest", limit=1)
    assert first["cursor"] is None
    await measure(city, "air-1", "air_quality", 2.0)
    rest = await fetch(client, "latest", cursor=first["next"])
    assert [device["device"] for device in rest["devices"]] == ["air-2", "weather-1"]
    assert "air-1" in await changed(client, rest["cursor"])


async def test_changes_come_page_by_page_and_as_geojson(client: httpx2.AsyncClient, city: City) -> None:
    cursor = await cursor_of(client, city)
    for device in ("air-1", "air-2"):
        await measure(city, device, "air_quality", 3.0)
    pages = await every_page(client, "latest", since=cursor, limit=1)
    assert [d["device"] for page in pages for d in page["devices"]] == ["air-1", "air-2"]
    assert [page["cursor"] is None for page in pages] == [True, True, False]
    answer = await fetch(client, "latest", since=cursor, format="geojson")
    assert [one["id"] for one in answer["features"]] == ["air-1", "air-2"]
    assert answer["cursor"]


async def test_a_cursor_is_good_for_changes_of_the_same_question_only(client: httpx2.AsyncClient) -> None:
    cursor = (await fetch(client, "latest", kind="weather"))["cursor"]
    assert await fetch(client, "latest", kind="weather", since=cursor)
    for parameters in (
        {"since": cursor},
        {"since": cursor, "kind": "weather", "metric": "temperature"},
        {"since": "nonsense"},
    ):
        refused = problem(await client.get("/api/v1/latest", params=parameters), 422, "invalid-parameter")
        assert refused["parameter"] == "since"
        assert "leave it out" in refused["detail"]


async def test_a_cursor_from_before_a_restore_is_refused(client: httpx2.AsyncClient) -> None:
    cursor = (await fetch(client, "latest"))["cursor"]
    scope, number = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    later = base64.urlsafe_b64encode(json.dumps([scope, number + 10**9]).encode()).decode().rstrip("=")
    refused = problem(await client.get("/api/v1/latest", params={"since": later}), 422, "invalid-parameter")
    assert "restored" in refused["detail"]
