"""Making keys, listing and revoking them through the API; and what of it is on record."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
from typing import Any

import httpx2
import pytest

from benchmarks.key_timing import guesses
from storage.api_keys import find_key, generate_key, prefix_of, store_key
from tests.api.answers import fetch, problem
from tests.api.conftest import Served
from tests.cities import City


async def make(client: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made: dict[str, Any] = answer.json()
    return made


async def test_a_key_is_shown_once_and_does_what_its_role_says(
    client: httpx2.AsyncClient, city: City
) -> None:
    made = await make(
        client,
        name="report",
        role="analyst",
        owner="anna",
        districts=["gate"],
        expires="2099-01-01T00:00:00Z",
    )
    assert made["key"].startswith(f"alatau_{made['prefix']}_")
    listed = next(key for key in (await fetch(client, "keys"))["keys"] if key["prefix"] == made["prefix"])
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["role"], listed["owner"], listed["districts"], listed["kinds"]) == (
        "analyst",
        "anna",
        ["gate"],
        None,
    )
    stored = await city.owner.fetchrow("SELECT * FROM alatau.api_key WHERE prefix = $1", made["prefix"])
    assert made["key"].split("_", 2)[2] not in str(dict(stored or {}))
    answer = await client.get("/api/v1/devices", headers={"Authorization": f"Bearer {made['key']}"})
    assert {device["district"] for device in answer.json()["devices"]} == {"gate"}


async def test_making_and_revoking_are_on_record(client: httpx2.AsyncClient) -> None:
    made = await make(client, name="for a while", role="viewer")
    await client.delete(f"/api/v1/keys/{made['prefix']}")
    events = (await fetch(client, "audit", actor="(test)"))["events"]
    ours = [event for event in events if event["subject"] == made["prefix"]]
    assert [event["action"] for event in ours] == ["revoke key", "make key"]
    assert ours[1]["detail"] == {"name": "for a while", "role": "viewer"}
    assert {event["address"] for event in ours} == {"127.0.0.1"}


async def test_when_a_key_was_last_used_is_known(application: Served, city: City) -> None:
    async with application() as client:
        made = await make(client, name="used", role="viewer")
        assert made["last_used_at"] is None
        await client.get("/api/v1/kinds", headers={"Authorization": f"Bearer {made['key']}"})
    used = await city.owner.fetchval(
        "SELECT last_used_at FROM alatau.api_key WHERE prefix = $1", made["prefix"]
    )
    assert dt.datetime.now(dt.UTC) - used < dt.timedelta(minutes=5)


async def test_an_expired_key_is_refused(client: httpx2.AsyncClient, city: City) -> None:
    made = await make(client, name="expired", role="viewer", expires="2099-01-01T00:00:00Z")
    await city.owner.execute(
        "UPDATE alatau.api_key SET expires_at = now() - interval '1 second' WHERE prefix = $1", made["prefix"]
    )
    refused = await client.get("/api/v1/kinds", headers={"Authorization": f"Bearer {made['key']}"})
    problem(refused, 401, "unauthorized")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"name": "a", "role": "king"}, "role"),
        ({"name": "", "role": "viewer"}, "name"),
        ({"name": "a", "role": "viewer", "districts": ["gaet"]}, 'did you mean \\"gate\\"'),
        ({"name": "a", "role": "viewer", "districts": []}, "districts"),
        ({"name": "a", "role": "viewer", "expires": "-P1D"}, "has passed"),
        ({"name": "a", "role": "admin", "kinds": ["noise"]}, "the whole city"),
    ],
)
async def test_what_is_no_key_is_refused_and_said(
    client: httpx2.AsyncClient, body: dict[str, Any], part: str
) -> None:
    answer = await client.post("/api/v1/keys", json=body)
    assert answer.status_code == 422
    assert part in answer.text


@pytest.mark.parametrize("prefix", ["0123456789ab", "no-prefix", "%00"])
async def test_a_key_that_there_is_not_is_not_revoked(client: httpx2.AsyncClient, prefix: str) -> None:
    problem(await client.delete(f"/api/v1/keys/{prefix}"), 404, "not-found")


async def test_no_role_of_a_service_changes_the_audit(city: City) -> None:
    for statement in (
        "DELETE FROM alatau.audit",
        "UPDATE alatau.audit SET actor = 'nobody'",
        "TRUNCATE alatau.audit",
    ):
        for connection in (city.api, city.ingest):
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(statement)


async def test_a_refused_key_takes_the_same_steps_wherever_it_is_wrong(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate_key()
    await store_key(city.owner, key, "right")
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noted(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", noted)

    async def steps(shown: str) -> tuple[list[tuple[str, object]], bytes]:
        asked: list[tuple[str, object]] = []
        with city.owner.query_logger(lambda record: asked.append((record.query, record.args))):
            assert await find_key(city.owner, shown) is None
            await asyncio.sleep(0)  # the logger is called in the loop's next turn
        ((stored, digest),) = compared
        compared.clear()
        # Of all that is shown, one hash: whoever guesses can't choose how much of it is right.
        assert digest == hashlib.sha256(shown.encode()).digest()
        assert len(stored) == len(digest)
        return asked, stored

    at_first, at_last, unknown = (
        guesses(key)[name] for name in ("wrong at first", "wrong at last", "unknown prefix")
    )
    assert await steps(at_first) == await steps(at_last)
    (asked, _), (asked_of_unknown, _) = await steps(at_first), await steps(unknown)
    # The database is told the prefix alone, which may be shown.
    assert [args for _, args in asked] == [(prefix_of(key),)]
    assert [query for query, _ in asked] == [query for query, _ in asked_of_unknown]
