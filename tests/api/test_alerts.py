"""Alerts, their rules and windows of maintenance through the API."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from alerts.service import builtin_rules
from storage.alert_rules import Origin, put_rule
from storage.api_keys import Role, Scope, generate_key, store_key
from tests.alerts.making import MINUTE, NOON, PATTERN, of_device, passed
from tests.api.answers import problem
from tests.api.conftest import DEVICES
from tests.cities import City

HIGH = {"kind": "threshold", "definition": {"metric": "pm2_5", "above": 150, "clear": 120}}
NIGHT = {"days": ["fri", "sat"], "from": "22:00", "to": "06:00"}


@pytest.fixture
async def alerts(city: City) -> AsyncIterator[list[str]]:
    """An alert of each device, one critical, one pending; return their numbers by device, in order."""
    found = [of_device(one.id, one.kind, one.district, "pm2_5") for one in DEVICES]
    found[0] = PATTERN
    found[1] = dataclasses.replace(found[1], severity="critical")
    found[2] = dataclasses.replace(found[2], hold=60 * MINUTE)
    await passed(city.owner, found)
    rows = await city.owner.fetch("SELECT id FROM alatau.alert ORDER BY id")
    yield [str(row["id"]) for row in rows]
    await city.owner.execute("TRUNCATE alatau.alert, alatau.alert_rule CASCADE")


async def shown(client: httpx2.AsyncClient, **parameters: str) -> list[str]:
    answer = await client.get("/api/v1/alerts", params=parameters)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["alerts"]]


async def test_an_alert_says_all_that_is_known_of_it(client: httpx2.AsyncClient, alerts: list[str]) -> None:
    document = (await client.get(f"/api/v1/alerts/{alerts[0]}")).json()
    assert document == {
        "id": alerts[0],
        "rule": None,
        "kind_of_rule": "anomaly",
        "severity": "warning",
        "state": "firing",
        "title": PATTERN.title,
        "sentence": PATTERN.sentence,
        "message": PATTERN.message,
        "since": "2026-01-15T11:20:00Z",
        "changed_at": "2026-01-15T12:00:00Z",
        "acknowledged": None,
        "resolved_at": None,
        "device": "air-1",
        "kind": "air_quality",
        "district": "gate",
        "metric": "pm2_5",
        "unit": "ug/m3",
        "value": 163.2,
        "expected": {"low": 3.0, "high": 41.0},
        "evidence": {"times_in_30_days": 0},
        "history": [
            {
                "time": "2026-01-15T12:00:00Z",
                "state": "firing",
                "severity": "warning",
                "value": 163.2,
                "sentence": PATTERN.sentence,
                "message": PATTERN.message,
                "by": None,
            }
        ],
    }


async def test_alerts_are_chosen_and_come_page_by_page(client: httpx2.AsyncClient, alerts: list[str]) -> None:
    newest_first = alerts[::-1]
    assert await shown(client) == newest_first
    assert await shown(client, severity="critical") == [alerts[1]]
    assert await shown(client, state="pending") == [alerts[2]]
    assert await shown(client, state="firing,acknowledged", district="gate") == [alerts[4], alerts[0]]
    assert await shown(client, kind="noise,weather") == [alerts[4], alerts[2]]
    assert await shown(client, device="air-2", metric="pm2_5") == [alerts[1]]
    assert await shown(client, metric="laeq") == []
    page = (await client.get("/api/v1/alerts", params={"limit": 3})).json()
    rest = (await client.get("/api/v1/alerts", params={"limit": 3, "cursor": page["next"]})).json()
    assert [one["id"] for one in (*page["alerts"], *rest["alerts"])] == newest_first
    assert rest["next"] is None
    for name, value in (("state", "fired"), ("severity", "bad"), ("metric", "pm25"), ("device", "air-9")):
        answer = await client.get("/api/v1/alerts", params={name: value})
        assert problem(answer, 422, "invalid-parameter")["parameter"] == name


async def test_the_worst_come_first_whatever_is_newer_page_by_page(
    client: httpx2.AsyncClient, alerts: list[str]
) -> None:
    await client.post(f"/api/v1/alerts/{alerts[4]}/acknowledge", json={})
    # One critical; warnings that fire, the newest first; one acknowledged; one that does not count yet.
    worst_first = [alerts[1], alerts[3], alerts[0], alerts[4], alerts[2]]
    assert await shown(client, sort="worst") == worst_first
    assert await shown(client, sort="worst", state="firing", limit="1") == [alerts[1]]
    asked: dict[str, str | int] = {"sort": "worst", "limit": 2}
    pages = []
    while True:
        page = (await client.get("/api/v1/alerts", params=asked)).json()
        pages.append([one["id"] for one in page["alerts"]])
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
    assert pages == [worst_first[:2], worst_first[2:4], worst_first[4:]]


async def test_what_is_over_is_not_among_the_worst(
    client: httpx2.AsyncClient, city: City, alerts: list[str]
) -> None:
    await passed(city.owner, [], NOON + MINUTE)
    assert alerts[1] in await shown(client, state="resolved")
    assert alerts[1] not in await shown(client, sort="worst")
    answer = await client.get("/api/v1/alerts", params={"sort": "worst", "state": "firing,resolved"})
    assert problem(answer, 422, "invalid-parameter")["parameter"] == "sort"
    newest = (await client.get("/api/v1/alerts", params={"limit": 1})).json()["next"]
    answer = await client.get("/api/v1/alerts", params={"sort": "worst", "cursor": newest})
    assert problem(answer, 422, "invalid-parameter")["parameter"] == "cursor"


async def test_who_acknowledges_is_named_and_on_record(
    client: httpx2.AsyncClient, city: City, alerts: list[str]
) -> None:
    path = f"/api/v1/alerts/{alerts[0]}/acknowledge"
    first = await client.post(path, json={"note": "a crew is on its way"})
    assert first.status_code == 200, first.text
    acknowledged = first.json()["acknowledged"]
    assert (acknowledged["note"], acknowledged["at"]) == ("a crew is on its way", "2026-01-15T12:00:00Z")
    assert [step["state"] for step in first.json()["history"]] == ["firing", "acknowledged"]
    again = await client.post(path, json={"note": "another"})
    assert again.json() == first.json()
    events = await city.owner.fetch(
        "SELECT actor, detail FROM alatau.audit WHERE action = 'acknowledge alert' AND subject = $1",
        alerts[0],
    )
    assert [(row["actor"], row["detail"]) for row in events] == [
        (acknowledged["by"], {"note": "a crew is on its way"})
    ]


async def test_what_does_not_fire_is_not_acknowledged(
    client: httpx2.AsyncClient, city: City, alerts: list[str]
) -> None:
    pending = await client.post(f"/api/v1/alerts/{alerts[2]}/acknowledge", json={})
    assert "is pending" in problem(pending, 409, "not-ready")["detail"]
    await passed(city.owner, [], NOON + MINUTE)
    over = await client.post(f"/api/v1/alerts/{alerts[0]}/acknowledge", json={})
    assert "is resolved" in problem(over, 409, "not-ready")["detail"]
    problem(await client.post("/api/v1/alerts/999999/acknowledge", json={}), 404, "not-found")
    assert not await city.owner.fetchval(
        "SELECT count(*) FROM alatau.audit WHERE action = 'acknowledge alert' AND subject = $1", alerts[2]
    )


async def test_an_alert_outside_of_a_scope_is_neither_seen_nor_acknowledged(
    client: httpx2.AsyncClient, city: City, alerts: list[str]
) -> None:
    key = generate_key()
    await store_key(city.owner, key, "gate", role=Role.OPERATOR, scope=Scope(districts=("gate",)))
    headers = {"Authorization": f"Bearer {key}"}
    listed = (await client.get("/api/v1/alerts", headers=headers)).json()["alerts"]
    assert [one["id"] for one in listed] == [alerts[4], alerts[0]]
    other = f"/api/v1/alerts/{alerts[1]}"
    problem(await client.get(other, headers=headers), 404, "not-found")
    problem(await client.post(f"{other}/acknowledge", headers=headers, json={}), 404, "not-found")
    seen = await client.post(f"/api/v1/alerts/{alerts[0]}/acknowledge", headers=headers, json={})
    assert seen.json()["state"] == "acknowledged"
    # A device that has moved takes its alerts along.
    await city.owner.execute("UPDATE alatau.device SET district = 'green' WHERE id = 'air-1'")
    listed = (await client.get("/api/v1/alerts", headers=headers)).json()["alerts"]
    await city.owner.execute("UPDATE alatau.device SET district = 'gate' WHERE id = 'air-1'")
    assert [one["id"] for one in listed] == [alerts[4]]


async def test_a_rule_is_added_changed_and_deleted_on_record(client: httpx2.AsyncClient, city: City) -> None:
    added = await client.post("/api/v1/rules", json={"name": "high", **HIGH})
    assert added.status_code == 201, added.text
    assert added.json()["definition"] == HIGH["definition"]
    assert (added.json()["severity"], added.json()["enabled"], added.json()["origin"]) == (
        "warning",
        True,
        "api",
    )
    problem(await client.post("/api/v1/rules", json={"name": "high", **HIGH}), 409, "conflict")
    scheduled = {"metric": "pm2_5", "above": 90, "schedule": NIGHT}
    changed = await client.put(
        "/api/v1/rules/high", json={"kind": "threshold", "definition": scheduled, "severity": "critical"}
    )
    assert changed.json()["definition"] == scheduled
    listed = (await client.get("/api/v1/rules")).json()["rules"]
    assert [(one["name"], one["severity"]) for one in listed] == [("high", "critical")]
    assert (await client.delete("/api/v1/rules/high")).status_code == 204
    problem(await client.delete("/api/v1/rules/high"), 404, "not-found")
    problem(await client.put("/api/v1/rules/high", json=HIGH), 404, "not-found")
    acts = await city.owner.fetch("SELECT action FROM alatau.audit WHERE subject = 'high' ORDER BY audit_id")
    assert [act["action"] for act in acts] == ["add rule", "change rule", "delete rule"]


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ({"metric": "pm25", "above": 1}, 'did you mean "pm2_5"?'),
        ({"metric": "pm2_5"}, "give either above or below"),
        ({"metric": "pm2_5", "above": 1, "schedule": {"from": "8"}}, "schedule.from"),
        ({"metric": "pm2_5", "above": 1, "schedule": {"days": ["monday"]}}, "schedule"),
        ({"metric": "pm2_5", "above": 1, "schedule": {"timezone": "Almaty"}}, "write Asia/Almaty"),
        ({"metric": "pm2_5", "above": "high"}, "above"),
    ],
)
async def test_a_rule_that_is_wrong_is_refused_with_what_would_be_right(
    client: httpx2.AsyncClient, definition: dict[str, Any], told: str
) -> None:
    answer = await client.post(
        "/api/v1/rules", json={"name": "x", "kind": "threshold", "definition": definition}
    )
    assert told in problem(answer, 422, "invalid-body")["detail"]


async def test_a_rule_names_devices_that_there_are(client: httpx2.AsyncClient) -> None:
    definition = {"metric": "pm2_5", "above": 1, "devices": ["air-9"]}
    answer = await client.post(
        "/api/v1/rules", json={"name": "x", "kind": "threshold", "definition": definition}
    )
    assert 'no device has the id "air-9"' in problem(answer, 422, "invalid-parameter")["detail"]


async def test_what_comes_with_us_is_disabled_and_not_deleted(client: httpx2.AsyncClient, city: City) -> None:
    rule = next(one for one in builtin_rules() if one.name == "pm10-day")
    await put_rule(city.owner, rule, Origin.BUILTIN)
    refused = problem(await client.delete("/api/v1/rules/pm10-day"), 409, "conflict")
    assert '"enabled": false' in refused["detail"]
    body = {"kind": "exceedance", "definition": rule.definition, "enabled": False}
    assert (await client.put("/api/v1/rules/pm10-day", json=body)).json()["origin"] == "api"
    await city.owner.execute("TRUNCATE alatau.alert_rule CASCADE")


async def test_rules_are_of_who_sees_the_whole_city(client: httpx2.AsyncClient, city: City) -> None:
    key = generate_key()
    await store_key(city.owner, key, "gate", role=Role.OPERATOR, scope=Scope(districts=("gate",)))
    answer = await client.get("/api/v1/rules", headers={"Authorization": f"Bearer {key}"})
    assert "of the whole city" in problem(answer, 403, "forbidden")["detail"]


async def test_a_window_is_of_a_place_and_a_time(client: httpx2.AsyncClient, city: City) -> None:
    made = []
    for place in ({"device": "air-1"}, {"district": "gate", "kind": "noise"}, {}):
        answer = await client.post(
            "/api/v1/maintenance-windows", json={"ends": "PT2H", "reason": "calibration", **place}
        )
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
    assert (made[0]["starts"], made[0]["ends"]) == ("2026-01-15T12:00:00Z", "2026-01-15T14:00:00Z")
    listed = (await client.get("/api/v1/maintenance-windows")).json()
    assert listed["maintenance_windows"] == made
    for window in made:
        path = f"/api/v1/maintenance-windows/{window['id']}"
        assert (await client.delete(path)).status_code == 204
        problem(await client.delete(path), 404, "not-found")
    acts = await city.owner.fetch(
        """
        SELECT action FROM alatau.audit WHERE action LIKE '%maintenance window' AND subject = ANY ($1)
        ORDER BY audit_id
        """,
        [str(window["id"]) for window in made],
    )
    assert [act["action"].split()[0] for act in acts] == 3 * ["add"] + 3 * ["delete"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ends": "-PT1H"}, "ends"),
        ({"ends": "soon"}, "ends"),
        ({"district": "gat"}, "district"),
        ({"device": "air-9"}, "device"),
        ({"device": "air-1", "kind": "noise"}, "kind"),
    ],
)
async def test_a_window_that_is_wrong_is_refused(
    client: httpx2.AsyncClient, changes: dict[str, str], name: str
) -> None:
    body = {"ends": "PT2H", "reason": "calibration", **changes}
    answer = await client.post("/api/v1/maintenance-windows", json=body)
    assert problem(answer, 422, "invalid-parameter")["parameter"] == name


async def test_a_window_is_within_the_scope(client: httpx2.AsyncClient, city: City) -> None:
    key = generate_key()
    await store_key(city.owner, key, "gate", role=Role.OPERATOR, scope=Scope(districts=("gate",)))
    headers = {"Authorization": f"Bearer {key}"}
    body = {"ends": "PT2H", "reason": "calibration"}
    asked: list[tuple[dict[str, str], int]] = [
        ({}, 403),
        ({"district": "green"}, 403),
        ({"device": "air-2"}, 422),
        ({"device": "air-1"}, 201),
        ({"district": "gate"}, 201),
    ]
    for place, status in asked:
        answer = await client.post("/api/v1/maintenance-windows", json={**body, **place}, headers=headers)
        assert answer.status_code == status, (place, answer.text)
    whole = await client.post("/api/v1/maintenance-windows", json=body)
    seen = (await client.get("/api/v1/maintenance-windows", headers=headers)).json()["maintenance_windows"]
    assert {one["device"] or one["district"] for one in seen} == {"air-1", "gate"}
    path = f"/api/v1/maintenance-windows/{whole.json()['id']}"
    problem(await client.delete(path, headers=headers), 404, "not-found")
    await city.owner.execute("TRUNCATE alatau.maintenance_window")
