from __future__ import annotations

import asyncio

import httpx2
import pytest

from api.keys import Caller, KeyCache
from storage.api_keys import WHOLE, Role, generate_key, store_key
from tests.api.answers import problem
from tests.api.conftest import Served
from tests.cities import City

ANNA = Caller("0123456789ab", "anna", Role.VIEWER, WHOLE)
KEYED = [
    *("districts", "kinds", "metrics", "devices", "devices/air-1", "latest", "readings", "series"),
    *("dead-letters", "dead-letters/1", "gaps"),
]


@pytest.mark.parametrize("path", KEYED)
async def test_no_answer_without_a_key(application: Served, path: str) -> None:
    async with application(key=None) as client:
        response = await client.get(f"/api/v1/{path}")
    document = problem(response, 401, "unauthorized")
    assert "Authorization: Bearer KEY" in document["detail"]
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["healthz", "readyz", "metrics", "docs", "openapi.json"])
async def test_operators_and_readers_need_no_key(application: Served, path: str) -> None:
    async with application(key=None) as client:
        assert (await client.get(f"/{path}")).status_code == 200


@pytest.mark.parametrize(
    "key",
    [pytest.param(generate_key(), id="well-formed"), "nonsense", "alatau_0123456789ab_short", "ключ"],
)
async def test_a_key_that_was_never_given_out_is_refused(application: Served, key: str) -> None:
    async with application(key=None) as client:
        response = await client.get("/api/v1/kinds", headers={b"X-API-Key": key.encode()})
    problem(response, 401, "unauthorized")


async def test_a_key_works_in_either_header(application: Served, key: str) -> None:
    async with application(key=None) as client:
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
            assert (await client.get("/api/v1/kinds", headers=headers)).status_code == 200


async def test_a_new_key_works_at_once_although_it_was_refused_before(
    application: Served, city: City
) -> None:
    key = generate_key()
    async with application(key=key) as client:
        problem(await client.get("/api/v1/kinds"), 401, "unauthorized")
        await store_key(city.owner, key, "late")
        assert (await client.get("/api/v1/kinds")).status_code == 200


async def test_a_revoked_key_is_refused_when_it_is_no_longer_remembered(
    application: Served, city: City
) -> None:
    key = generate_key()
    await store_key(city.owner, key, "short-lived")
    async with application(key=key, key_cache_seconds=0.0) as client:
        assert (await client.get("/api/v1/kinds")).status_code == 200
        await city.owner.execute("DELETE FROM alatau.api_key WHERE name = 'short-lived'")
        problem(await client.get("/api/v1/kinds"), 401, "unauthorized")


def test_keys_are_remembered_for_their_time_and_no_longer() -> None:
    now = [100.0]
    cache = KeyCache(size=2, seconds=30, monotonic=lambda: now[0])
    cache.remember("a", ANNA, cache.generation)
    assert cache.caller_of("a") == ANNA
    assert cache.caller_of("b") is None
    now[0] += 30
    assert cache.caller_of("a") is None


def test_the_memory_of_keys_is_bounded_and_forgets_the_oldest() -> None:
    cache = KeyCache(size=2, seconds=30, monotonic=lambda: 0.0)
    for key in ("a", "b", "a", "c"):
        cache.remember(key, ANNA, cache.generation)
    assert [cache.caller_of(key) for key in "abc"] == [ANNA, None, ANNA]
    cache.forget()
    assert cache.caller_of("a") is None


async def test_keyed_answers_are_for_one_client_and_asked_about_each_time(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/v1/kinds")
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_many_requests_at_once_share_the_pool(application: Served) -> None:
    async with application(max_concurrent_per_key=40) as client:
        responses = await asyncio.gather(*(client.get("/api/v1/devices") for _ in range(40)))
    assert {response.status_code for response in responses} == {200}


def test_a_key_that_was_revoked_while_the_database_was_asked_is_not_remembered() -> None:
    cache = KeyCache(size=2, seconds=30, monotonic=lambda: 0.0)
    asked = cache.generation
    cache.forget()
    cache.remember("a", ANNA, asked)
    assert cache.caller_of("a") is None
    cache.remember("a", ANNA, cache.generation)
    cache.forget()
    assert cache.has_seen("a")


def test_a_key_is_remembered_no_longer_than_it_lasts() -> None:
    now = [0.0]
    cache = KeyCache(size=2, seconds=30, monotonic=lambda: now[0])
    cache.remember("a", ANNA, cache.generation, seconds=5)
    now[0] = 5.0
    assert cache.caller_of("a") is None
