"""What each role may do, and how often anybody may ask."""

from __future__ import annotations

import asyncio
import itertools
import math

import httpx2
import pytest

from api.app import ApiOptions, create_app
from sensors.rates import Buckets, Rate
from storage.api_keys import Role, generate_key, prefix_of, store_key
from tests.api.answers import problem
from tests.api.conftest import Served
from tests.api.people import add_person, sign_in_options, signed_in
from tests.cities import City

# The role that each operation takes; an operation that is not here fails the test.
NEEDED = {
    Role.VIEWER: {
        *("GET /districts", "GET /kinds", "GET /metrics", "GET /devices", "GET /devices/{device}"),
        "GET /broker/ca.pem",
        *("GET /latest", "GET /stream", "GET /series", "GET /top", "GET /heatmap", "GET /quality"),
        *("GET /alerts", "GET /alerts/{number}", "GET /rules", "GET /maintenance-windows"),
        *("GET /fleet", "GET /state", "GET /state/devices"),
        *("GET /session", "DELETE /session", "POST /session/password"),
    },
    Role.ANALYST: {
        *("GET /readings", "GET /corrections", "GET /gaps", "GET /exports", "POST /exports"),
        *("GET /sources", "GET /profiles", "GET /profiles/{name}", "GET /profiles/{name}/versions"),
        "POST /decode",
        *("GET /exports/{number}", "DELETE /exports/{number}", "GET /exports/{number}/file"),
    },
    Role.OPERATOR: {
        *("POST /devices", "DELETE /devices/{device}"),
        *("GET /batches", "POST /batches", "DELETE /batches/{batch}"),
        *(f"POST /devices/{{device}}/{change}" for change in ("disable", "enable", "secret")),
        "POST /alerts/{number}/acknowledge",
        *("POST /maintenance-windows", "DELETE /maintenance-windows/{number}"),
        *("POST /sources/claim", "POST /sources/release"),
        *("POST /corrections", "GET /dead-letters", "GET /dead-letters/{number}"),
    },
    Role.ADMIN: {
        *("POST /rules", "PUT /rules/{name}", "DELETE /rules/{name}"),
        *("PUT /profiles/{name}", "DELETE /profiles/{name}"),
        *("GET /keys", "POST /keys", "DELETE /keys/{prefix}", "GET /audit"),
        *("GET /users", "POST /users", "DELETE /users/{name}"),
        *("GET /gateways", "POST /gateways", "DELETE /gateways/{gateway}"),
        *("GET /destinations", "POST /destinations", "GET /deliveries", "GET /deliveries/{number}"),
        *("PUT /destinations/{destination}", "DELETE /destinations/{destination}"),
        *("POST /destinations/{destination}/secret", "POST /destinations/{destination}/test"),
        *(f"POST /users/{{name}}/{change}" for change in ("disable", "enable", "password", "role")),
    },
}
# Whoever signs in has no role yet.
OF_NOBODY = {"POST /session"}
DESCRIBED = {
    f"{method.upper()} {path.removeprefix('/api/v1')}"
    for path, methods in create_app(ApiOptions("postgresql://nowhere")).openapi()["paths"].items()
    if path.startswith("/api/v1")
    for method in methods
}


def test_every_operation_takes_a_role() -> None:
    assert set().union(OF_NOBODY, *NEEDED.values()) == DESCRIBED


@pytest.mark.parametrize("by", ["key", "session"])
@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_what_is_its_own_and_nothing_else(
    application: Served, city: City, role: Role, by: str
) -> None:
    key = generate_key()
    await store_key(city.owner, key, role.value, role=role)
    async with application(key=key if by == "key" else None, sign_in=sign_in_options()) as client:
        if by == "session":
            await add_person(city, role.value, role)
            await signed_in(client, role.value)
        for needed, operations in NEEDED.items():
            for operation in sorted(operations - {"DELETE /session"}):
                method, _, path = operation.partition(" ")
                places = {
                    "device": "air-1",
                    "number": "1",
                    "prefix": "0123456789ab",
                    "name": "nobody",
                    "batch": "x",
                    "destination": "nowhere",
                }
                for name, value in places.items():
                    path = path.replace(f"{{{name}}}", value)
                answer = await client.request(method, f"/api/v1{path}", json={} if method == "POST" else None)
                if role.includes(needed):
                    assert answer.status_code != 403, (operation, answer.text)
                else:
                    assert needed.value in problem(answer, 403, "forbidden")["detail"]


async def test_what_a_role_may_not_is_on_record(application: Served, city: City) -> None:
    key = generate_key()
    await store_key(city.owner, key, "curious", role=Role.VIEWER)
    async with application(key=key) as client:
        for _ in range(3):
            problem(await client.get("/api/v1/audit"), 403, "forbidden")
    # What the application had counted was written when it ended.
    row = await city.owner.fetchrow("SELECT * FROM alatau.audit WHERE position('curious' IN actor) > 0")
    assert row is not None
    assert (row["action"], row["outcome"], row["times"]) == ("GET /api/v1/audit", "refused", 3)
    assert row["address"] == "127.0.0.1"


async def test_wrong_keys_are_on_record_without_their_secret(application: Served, city: City) -> None:
    wrong = generate_key()
    async with application(key=None) as client:
        for key in (wrong, "nonsense", None):
            headers = {"X-API-Key": key} if key else {}
            problem(await client.get("/api/v1/kinds", headers=headers), 401, "unauthorized")
    rows = await city.owner.fetch("SELECT actor, action FROM alatau.audit WHERE action = 'sign in'")
    actors = {row["actor"] for row in rows}
    assert {prefix_of(wrong), "a wrong key", "no key"} <= actors
    whole = "\n".join(str(dict(row)) for row in await city.owner.fetch("SELECT * FROM alatau.audit"))
    assert wrong.split("_", 2)[2] not in whole


async def test_an_address_with_too_many_wrong_keys_waits_and_valid_keys_go_on(
    application: Served, key: str
) -> None:
    async with application(key=None, rate_of_wrong_keys=Rate(0.001, 3), key_cache_seconds=0.0) as client:
        assert (await _kinds(client, key)).status_code == 200
        for _ in range(10):
            problem(await client.get("/api/v1/kinds"), 401, "unauthorized")  # nobody guesses without a key
        for _ in range(3):
            problem(await _kinds(client, generate_key()), 401, "unauthorized")
        refused = await _kinds(client, generate_key())
        assert "too many wrong keys" in problem(refused, 429, "too-many-requests")["detail"]
        assert int(refused.headers["retry-after"]) > 1
        assert (await _kinds(client, key)).status_code == 200


async def _kinds(client: httpx2.AsyncClient, key: str) -> httpx2.Response:
    return await client.get("/api/v1/kinds", headers={"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("what", ["key", "address"])
async def test_who_asks_too_often_is_told_when_to_come_again(
    application: Served, key: str, what: str
) -> None:
    changes = {f"rate_per_{what}": Rate(0.001, 3)}
    async with application(key=key, **changes) as client:
        answers = [await client.get("/api/v1/kinds") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    document = problem(answers[-1], 429, "too-many-requests")
    assert f"this {what} asks more than" in document["detail"]
    assert int(answers[-1].headers["retry-after"]) >= 900
    assert answers[-1].headers["ratelimit"] == f'"{what}";r=0;t={answers[-1].headers["retry-after"]}'
    if what == "key":
        assert [answer.headers["ratelimit"] for answer in answers[:2]] == ['"key";r=2;t=0', '"key";r=1;t=0']
        assert answers[0].headers["ratelimit-policy"] == '"key";q=3;w=3000'


async def test_a_revoked_key_is_refused_within_a_second_although_it_is_remembered(
    application: Served, city: City, key: str
) -> None:
    async with application(key=key, key_cache_seconds=3600.0) as admin:
        made = await admin.post("/api/v1/keys", json={"name": "short", "role": "viewer"})
        assert made.status_code == 201, made.text
        other = made.json()["key"]
        assert (await _kinds(admin, other)).status_code == 200
        revoked = await admin.delete(f"/api/v1/keys/{made.json()['prefix']}")
        assert revoked.json()["revoked_at"] is not None
        answers = [await _kinds(admin, other)]
        async with asyncio.timeout(1):
            while answers[-1].status_code == 200:
                await asyncio.sleep(0.01)
                answers.append(await _kinds(admin, other))
        problem(answers[-1], 401, "unauthorized")


def test_a_bucket_refills_with_time_and_never_beyond_its_size() -> None:
    now = [0.0]
    buckets = Buckets(Rate(2.0, 4), size=10, monotonic=lambda: now[0])
    assert [buckets.take("a").is_allowed for _ in range(5)] == [True] * 4 + [False]
    assert buckets.take("a").wait == 1
    assert buckets.take("b").left == 3
    now[0] = 0.5
    assert [buckets.take("a").is_allowed for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [buckets.take("a").is_allowed for _ in range(5)] == [True] * 4 + [False]


def test_buckets_are_bounded_and_the_one_used_longest_ago_is_forgotten() -> None:
    buckets = Buckets(Rate(0.001, 1), size=2, monotonic=lambda: 0.0)
    for name in ("a", "b", "a", "c"):
        buckets.take(name)
    assert [buckets.is_empty(name) for name in "abc"] == [True, False, True]


def test_each_role_includes_those_before_it() -> None:
    order = list(Role)
    for (place, one), (other_place, other) in itertools.product(enumerate(order), repeat=2):
        assert one.includes(other) == (place >= other_place)
    assert math.isclose(Rate(200, 2000).window, 10)
