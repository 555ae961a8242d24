"""Gaps in devices' numbers: open or given up, filtered, page by page."""

from __future__ import annotations

import base64
import json

import httpx2
import numpy as np
import pytest

from storage.sequences import Numbers, enter_numbers
from tests.api.answers import every_page, fetch, problem
from tests.cities import City

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
async def _sequences(city: City) -> None:
    """air-1 gave up 2 and 3 and lacks 6 and 8; traffic-1 lacks 1; weather-1 lacks nothing."""
    given = [
        *(("air-1", number, 1) for number in (1, 5)),
        *(("air-1", number, 4) for number in (4, 7, 9)),
        ("traffic-1", 2, 1),
        ("weather-1", 1, 1),
    ]
    for device, number, oldest in given:
        columns = (np.array([value], np.int64) for value in (number, number, oldest))
        async with city.ingest.transaction():
            await enter_numbers(city.ingest, Numbers(np.array([city.number[device]], np.int32), *columns))


EVERY = [
    ("air-1", "abandoned", 2, 3, 2),
    ("air-1", "open", 6, 6, 1),
    ("air-1", "open", 8, 8, 1),
    ("traffic-1", "open", 1, 1, 1),
]


def shown(pages: list[dict[str, list[dict[str, object]]]]) -> list[tuple[object, ...]]:
    names = ("device", "state", "first", "last", "missing")
    return [tuple(gap[name] for name in names) for page in pages for gap in page["gaps"]]


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_gaps_are_listed_by_device_and_number_page_by_page(
    client: httpx2.AsyncClient, limit: int
) -> None:
    assert shown(await every_page(client, "gaps", limit=limit)) == EVERY


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"state": "open"}, EVERY[1:]),
        ({"state": "abandoned"}, EVERY[:1]),
        ({"device": "air-1"}, EVERY[:3]),
        ({"device": "traffic-1", "state": "abandoned"}, []),
        ({"device": "weather-1"}, []),
    ],
)
async def test_gaps_are_filtered(
    client: httpx2.AsyncClient, parameters: dict[str, str], expected: list[tuple[object, ...]]
) -> None:
    assert shown([await fetch(client, "gaps", **parameters)]) == expected


async def test_a_gap_says_since_when(client: httpx2.AsyncClient, city: City) -> None:
    gaps = (await fetch(client, "gaps"))["gaps"]
    given_up = await city.owner.fetchval("SELECT abandoned_at FROM alatau.sequence_gap")
    lacking = await city.owner.fetchval(
        "SELECT missing_since FROM alatau.sequence WHERE device_id = $1", city.number["traffic-1"]
    )
    assert gaps[0]["since"] == given_up.isoformat().replace("+00:00", "Z")
    assert gaps[-1]["since"] == lacking.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("query", "nearest"),
    [("device=traffic-2", "traffic-1"), ("state=opne", "open")],
)
async def test_what_is_not_known_is_refused_with_the_nearest(
    client: httpx2.AsyncClient, query: str, nearest: str
) -> None:
    document = problem(await client.get(f"/api/v1/gaps?{query}"), 422, "invalid-parameter")
    assert document["nearest"] == nearest


async def test_a_cursor_of_another_list_is_refused(client: httpx2.AsyncClient) -> None:
    cursor = (await fetch(client, "devices", limit=1))["next"]
    problem(await client.get(f"/api/v1/gaps?cursor={cursor}"), 422, "invalid-parameter")


@pytest.mark.parametrize("position", [("air-1", 2**63), ("air-1", -(2**63) - 1), ("\0", 1)])
async def test_a_cursor_forged_beyond_what_the_database_holds_is_refused(
    client: httpx2.AsyncClient, position: tuple[str, int]
) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(["gaps", *position]).encode()).decode().rstrip("=")
    problem(await client.get(f"/api/v1/gaps?cursor={cursor}"), 422, "invalid-parameter")
