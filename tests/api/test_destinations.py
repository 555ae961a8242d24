"""Destinations of alerts by the API: made, changed, tested, deleted; their secrets; what was delivered."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx2
import orjson
import pytest

from alerts.messages import load_messages
from sensors.messages import Language
from sensors.networks import parse_networks
from storage.api_keys import Role, Scope, generate_key, store_key
from storage.deliveries import Due
from storage.delivery_list import list_deliveries
from storage.destinations import DELIVERIES_CHANNEL
from tests.alerts.making import PATTERN, passed
from tests.alerts.outbox import change, raise_alert
from tests.api.answers import NOW, problem
from tests.api.conftest import Served
from tests.cities import City

pytestmark = pytest.mark.servers

PATH = "/api/v1/destinations"
WEBHOOK = {"type": "webhook", "url": "https://example.org/alerts"}


async def made(client: httpx2.AsyncClient, name: str, **changes: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json={"name": name, **WEBHOOK, **changes})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    content: dict[str, Any] = answer.json()
    return content


async def test_a_destination_is_made_changed_and_deleted_on_record(
    client: httpx2.AsyncClient, city: City
) -> None:
    first = await made(client, "ops")
    assert first["secret"].startswith("whsec_")
    assert (first["severity"], first["per_minute"], first["enabled"], first["language"]) == (
        "warning",
        120,
        True,
        "en",
    )
    changed = await client.put(
        f"{PATH}/ops",
        json={
            "url": "https://example.org/b",
            "severity": "info",
            "districts": ["gate"],
            "enabled": False,
            "language": "ru",
        },
    )
    listed = {one["name"]: one for one in (await client.get(PATH)).json()["destinations"]}
    assert listed["ops"] == changed.json()
    assert (listed["ops"]["url"], listed["ops"]["districts"], listed["ops"]["language"]) == (
        "https://example.org/b",
        ["gate"],
        "ru",
    )
    assert listed["mqtt"]["type"] == "mqtt"  # is there from the beginning
    assert (await client.delete(f"{PATH}/ops")).status_code == 204
    problem(await client.put(f"{PATH}/ops", json={"url": WEBHOOK["url"]}), 404, "not-found")
    problem(await client.delete(f"{PATH}/ops"), 404, "not-found")
    events = await city.owner.fetch(
        "SELECT action, outcome FROM alatau.audit WHERE subject = 'ops' ORDER BY audit_id"
    )
    assert [event["action"] for event in events] == [
        "add destination",
        "change destination",
        "delete destination",
    ]


async def test_a_secret_is_in_the_answer_that_makes_it_and_in_no_other(
    client: httpx2.AsyncClient, city: City
) -> None:
    secrets = [(await made(client, "sealed"))["secret"]]
    replaced = await client.post(f"{PATH}/sealed/secret")
    assert replaced.headers["cache-control"] == "no-store"
    secrets.append(replaced.json()["secret"])
    row = await city.owner.fetchrow("SELECT * FROM alatau.destination WHERE name = 'sealed'")
    assert row is not None
    assert [row["old_secret"], row["secret"]] == secrets
    answers = [
        await client.get(PATH),
        await client.put(f"{PATH}/sealed", json={"url": WEBHOOK["url"]}),
        await client.post(f"{PATH}/sealed/test"),
        await client.get("/api/v1/audit"),
    ]
    for answer in answers:
        assert answer.is_success
        assert "whsec_" not in answer.text
    problem(await client.post(f"{PATH}/mqtt/secret"), 409, "conflict")
    problem(await client.post(f"{PATH}/none/secret"), 404, "not-found")


async def test_who_took_over_the_api_can_not_read_a_secret(city: City) -> None:
    for column in ("secret", "old_secret", "*"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await city.api.fetch(f"SELECT {column} FROM alatau.destination")  # noqa: S608
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await city.api.execute("UPDATE alatau.delivery SET state = 'delivered'")


@pytest.mark.parametrize(
    ("body", "slug", "why"),
    [
        ({"url": "https://169.254.169.254/latest"}, "invalid-body", "private network"),
        ({"url": "http://example.org/"}, "invalid-body", "ALATAU_WEBHOOK_NETWORKS"),
        ({"url": None}, "invalid-body", "a webhook has a url"),
        ({"type": "email", "url": None, "recipients": ["nobody"]}, "invalid-body", "no e-mail address"),
        ({"type": "pigeon"}, "invalid-body", "type"),
        ({"severity": "grave"}, "invalid-body", "severity"),
        ({"name": "Ops Room"}, "invalid-body", "name"),
        ({"districts": ["gat"]}, "invalid-parameter", 'did you mean "gate"'),
        ({"kinds": ["nois"]}, "invalid-parameter", 'did you mean "noise"'),
        ({"secret": "whsec_AAAA"}, "invalid-body", "is not a field"),
    ],
    ids=str,
)
async def test_what_can_not_be_delivered_to_is_refused(
    client: httpx2.AsyncClient, body: dict[str, Any], slug: str, why: str
) -> None:
    answer = await client.post(PATH, json={"name": "wrong", **WEBHOOK, **body})
    assert why in problem(answer, 422, slug)["detail"]


async def test_a_name_is_given_once(client: httpx2.AsyncClient) -> None:
    await made(client, "once")
    problem(await client.post(PATH, json={"name": "once", **WEBHOOK}), 409, "conflict")


async def test_a_private_network_that_was_named_is_taken(application: Served) -> None:
    async with application(webhook_networks=parse_networks("10.0.0.0/8")) as client:
        assert (await made(client, "inside", url="http://10.1.2.3/alerts"))["url"] == "http://10.1.2.3/alerts"
        answer = await client.post(
            PATH, json={"name": "wrong", "type": "webhook", "url": "http://192.168.1.1/"}
        )
        problem(answer, 422, "invalid-body")


async def test_a_test_is_ordered_and_listed_until_somebody_sends_it(
    client: httpx2.AsyncClient, city: City
) -> None:
    await made(client, "tried")
    heard: list[object] = []
    await city.owner.add_listener(DELIVERIES_CHANNEL, lambda *_: heard.append(_))
    ordered = await client.post(f"{PATH}/tried/test")
    await city.owner.fetchval("SELECT 1")
    assert heard
    assert ordered.status_code == 202
    number = ordered.json()["number"]
    assert (ordered.json()["state"], ordered.json()["alert"], ordered.json()["destination"]) == (
        "waiting",
        None,
        "tried",
    )
    assert (await client.get(f"/api/v1/deliveries/{number}")).json() == ordered.json()
    problem(await client.get("/api/v1/deliveries/999999999"), 404, "not-found")
    problem(await client.post(f"{PATH}/none/test"), 404, "not-found")


async def test_what_somebody_with_a_scope_acknowledges_is_told(
    client: httpx2.AsyncClient, application: Served, city: City
) -> None:
    await made(client, "seen")
    number = await raise_alert(city.owner, "seen", district="gate", kind="air_quality")
    key = generate_key()
    scope = Scope(districts=("gate",))
    await store_key(city.owner, key, "gate control", role=Role.OPERATOR, scope=scope)
    async with application(key=key) as control:
        acknowledged = await control.post(f"/api/v1/alerts/{number}/acknowledge", json={"note": ""})
        assert acknowledged.status_code == 200, acknowledged.text
    found = await list_deliveries(city.owner, destination="seen")
    assert [one.event for one in found] == ["acknowledged", "firing"]


@pytest.mark.parametrize("state", ["firing", "acknowledged", "resolved"])
async def test_what_is_delivered_is_what_the_api_shows(
    client: httpx2.AsyncClient, city: City, state: str
) -> None:
    number = await raise_alert(city.owner, f"shown {state}", "pending")
    await city.owner.execute(
        """
        UPDATE alatau.alert SET device_id = $2, metric = 'pm2_5', value = 163.2, low = 3, evidence = '{"a": 1}'
        WHERE id = $1
        """,
        number,
        city.number["air-1"],
    )
    await change(city.owner, number, "firing")
    if state != "firing":
        acknowledged = await client.post(f"/api/v1/alerts/{number}/acknowledge", json={"note": "seen"})
        assert acknowledged.status_code == 200, acknowledged.text
    if state == "resolved":
        await change(city.owner, number, state)
    (delivery,) = (await list_deliveries(city.owner, destination="mqtt"))[:1]
    event = await city.owner.fetchval(
        "SELECT alert_event_id FROM alatau.delivery WHERE delivery_id = $1", delivery.number
    )
    due = Due(delivery.number, delivery.message_id, event, 0, 0.0, delivery.created_at)
    (message,) = await load_messages(city.owner, [due])
    shown = (await client.get(f"/api/v1/alerts/{number}")).json()
    del shown["history"]
    told = orjson.loads(message.encode())
    assert told["type"] == f"alert.{state}"
    assert told["data"]["unit"] == "ug/m3"
    assert told["data"] == shown


async def test_what_is_delivered_is_in_the_language_of_its_destination(city: City) -> None:
    await passed(city.owner, [PATTERN])
    event = await city.owner.fetchval(
        "SELECT max(id) FROM alatau.alert_event WHERE sentence = $1", PATTERN.sentence
    )
    due = Due(1, "", event, 0, 0.0, NOW)
    told = {}
    for language in Language:
        (message,) = await load_messages(city.owner, [due], language)
        assert message.alert is not None
        assert message.alert["message"] == PATTERN.message
        told[language] = message.alert["sentence"].split(". ")[0]
    assert told == {
        Language.ENGLISH: PATTERN.sentence.split(". ")[0],
        Language.RUSSIAN: "Устройство air-1: PM2.5 163,2 µg/m³ с 16:20",
        Language.KAZAKH: "air-1 құрылғысы: PM2.5 163,2 µg/m³",
    }


async def test_what_was_given_up_is_listed_page_by_page(client: httpx2.AsyncClient, city: City) -> None:
    await made(client, "dead")
    for n in range(3):
        await raise_alert(city.owner, f"a{n}")
    await city.owner.execute(
        """
        UPDATE alatau.delivery o SET state = 'dead', finished_at = now(), last_error = 'status 500', attempts = 16
        FROM alatau.destination d WHERE d.destination_id = o.destination_id AND d.name = 'dead'
        """
    )
    query: dict[str, str | int] = {"state": "dead", "destination": "dead", "limit": 2}
    first = (await client.get("/api/v1/deliveries", params=query)).json()
    second = (await client.get("/api/v1/deliveries", params={**query, "cursor": first["next"]})).json()
    found = [*first["deliveries"], *second["deliveries"]]
    assert (len(found), second["next"]) == (3, None)
    assert [one["event"] for one in found] == ["firing"] * 3
    assert {(one["last_error"], one["attempts"], one["next_attempt_at"]) for one in found} == {
        ("status 500", 16, None)
    }
    listed = {one["name"]: one for one in (await client.get(PATH)).json()["destinations"]}
    assert (listed["dead"]["dead"], listed["dead"]["last_error"]) == (3, "status 500")
