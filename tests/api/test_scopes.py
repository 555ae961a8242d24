"""What a key with a scope sees: of every answer, by every id and parameter, exactly its part of the city."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.app import ApiOptions
from storage.api_keys import Role, Scope, prefix_of
from storage.users import set_role
from tests.api.answers import problem
from tests.api.conftest import DEVICES
from tests.api.people import add_person, signed_in
from tests.api.scoped import METRIC, SCOPES, Filled, fill
from tests.api.test_devices import CHANGES
from tests.cities import City

# What says the same of the whole city.
AS_PARAMETERS = {"gate": {"district": "gate"}, "noise": {"kind": "noise"}}
SEEN = {"gate": {"air-1", "weather-1"}, "noise": {"sim-1"}}
HIDDEN = {name: {device.id for device in DEVICES} - seen for name, seen in SEEN.items()}
METRICS = ",".join(METRIC.values())
RANGE = {"start": "-PT3H", "end": "now"}
# Questions that take a district and a kind: a scope is the same as naming them.
NARROWED: list[tuple[str, dict[str, str]]] = [
    ("devices", {}),
    ("alerts", {}),
    ("fleet", {}),
    ("latest", {}),
    *(
        ("series", {"metric": METRICS, "group_by": group, "step": step, "agg": agg, **RANGE})
        for group in ("none", "kind", "district", "device")
        for step, agg in (("PT5M", "avg,stddev,p90"), ("PT1H", "count,last"))
    ),
    ("series", {"metric": "temperature", "exact": "true", "compare": "-PT1H", **RANGE}),
    ("series", {"metric": METRICS, "polygon": "76,43 78,43 78,44 76,44", **RANGE}),
    ("series", {"metric": METRICS, "agg": "twa,increase", **RANGE}),
    *(("top", {"metric": "temperature", "by": by, **RANGE}) for by in ("device", "district", "kind")),
    *(
        ("heatmap", {"metric": "temperature", "group_by": group, **RANGE})
        for group in ("none", "device", "district")
    ),
    *(("quality", {"group_by": by, **RANGE}) for by in ("device", "district", "kind")),
]
OTHERS: list[tuple[str, dict[str, str]]] = [
    ("districts", {}),
    ("kinds", {}),
    ("metrics", {}),
    *(("readings", {"kind": kind, "format": "csv", **RANGE}) for kind in ("air_quality", "noise")),
    ("dead-letters", {}),
    ("gaps", {}),
    ("corrections", {}),
    ("exports", {}),
    ("batches", {}),
    ("rules", {}),
    ("maintenance-windows", {}),
    ("stream", {}),  # which is told nothing here: tests/api/test_stream.py
    ("state", {}),
    ("state/devices", {}),
    ("sources", {}),
    ("profiles", {}),
]
OF_A_DEVICE = ("latest", "readings", "quality", "dead-letters", "gaps", "corrections")
OF_A_METRIC = ("series", "top", "heatmap")


@pytest.fixture(scope="module")
async def filled(
    city: City, options: ApiOptions, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Filled]:
    async with fill(city, options, tmp_path_factory.mktemp("exports")) as filled:
        yield filled


async def require_the_part(filled: Filled, name: str) -> None:
    """Hold all answers to a key with a scope against those to one without, which asks for the same part."""
    for path, question in NARROWED:
        parameters = narrowed(name, question)
        part = await filled.ask(name, path, **parameters)
        same = await filled.ask("all", path, **{**parameters, **AS_PARAMETERS[name]})
        assert part.status_code == same.status_code == 200, (path, parameters, part.text, same.text)
        assert _comparable(part) == _comparable(same), (path, parameters)
        whole = await filled.ask(name, path, **question)
        shown = {device for device in HIDDEN[name] if device in whole.text}
        assert not shown, (path, question, shown)
    for path, parameters in OTHERS:
        answer = await filled.ask(name, path, **parameters)
        if answer.status_code == 403:
            continue  # it names a kind that is not in the scope
        assert answer.status_code == 200, (path, parameters, answer.text)
        shown = {device for device in HIDDEN[name] if device in answer.text}
        assert not shown, (path, parameters, shown)


def narrowed(name: str, question: dict[str, str]) -> dict[str, str]:
    """Return a question of metrics that the part has: to name a kind that has not is refused."""
    return {**question, "metric": "laeq"} if name == "noise" and "metric" in question else question


async def require_all_parts(filled: Filled) -> None:
    for name in SCOPES:
        await require_the_part(filled, name)


def _comparable(answer: httpx2.Response) -> Any:
    document = answer.json()
    document.pop("cursor", None)  # that of the whole is of another question
    return document


@pytest.mark.parametrize("name", SCOPES)
async def test_every_answer_is_that_of_the_part(filled: Filled, name: str) -> None:
    await require_the_part(filled, name)


@pytest.mark.parametrize("name", SCOPES)
async def test_a_session_sees_what_a_key_of_the_same_scope_sees(filled: Filled, name: str) -> None:
    await add_person(filled.city, f"{name}-person", Role.OPERATOR, SCOPES[name])
    transport = httpx2.ASGITransport(app=filled.application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as browser:
        await signed_in(browser, f"{name}-person")
        for path, question in (*NARROWED, *(one for one in OTHERS if one[0] != "exports")):
            seen = await browser.get(f"/api/v1/{path}", params=question)
            by_key = await filled.ask(name, path, **question)
            assert seen.status_code == by_key.status_code, (path, question, seen.text)
            assert seen.status_code == 403 or seen.text == by_key.text, (path, question)
        export = await browser.post(
            "/api/v1/exports", json={"kind": "air_quality", "format": "csv.gz", **RANGE}
        )
        assert (export.status_code == 202) is (name == "gate")
        if name == "gate":
            # What was asked for is the person's own.
            path = f"exports/{export.json()['id']}"
            assert (await browser.get(f"/api/v1/{path}")).status_code == 200
            problem(await filled.ask(name, path), 404, "not-found")
            # Another scope may be a smaller one.
            await set_role(filled.city.owner, f"{name}-person", Role.OPERATOR, Scope(districts=("golden",)))
            await signed_in(browser, f"{name}-person")
            problem(await browser.get(f"/api/v1/{path}"), 404, "not-found")


async def test_the_questions_are_about_every_path_that_is_read(filled: Filled) -> None:
    described = (await filled.client.get("/openapi.json")).json()["paths"]
    asked = {f"/api/v1/{path}" for path, _ in (*NARROWED, *OTHERS)}
    by_number = {
        "/api/v1/alerts/{number}",
        "/api/v1/devices/{device}",
        "/api/v1/dead-letters/{number}",
        "/api/v1/exports/{number}",
        "/api/v1/exports/{number}/file",
    }
    of_admins = {"/api/v1/keys", "/api/v1/users", "/api/v1/audit"}
    of_admins |= {
        "/api/v1/gateways",
        "/api/v1/destinations",
        "/api/v1/deliveries",
        "/api/v1/deliveries/{number}",
    }
    of_oneself = {"/api/v1/session"}
    read = {path for path, methods in described.items() if "get" in methods and path.startswith("/api/v1/")}
    of_no_device = {"/api/v1/broker/ca.pem", "/api/v1/profiles/{name}", "/api/v1/profiles/{name}/versions"}
    assert read == asked | by_number | of_admins | of_oneself | of_no_device


@pytest.mark.parametrize("table", ["alatau.device", "alatau.claim_batch", "rollup.air_quality_5m_district"])
async def test_without_the_policy_of_a_table_the_part_is_left(filled: Filled, table: str) -> None:
    owner = filled.city.owner
    await owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    try:
        with pytest.raises(AssertionError):
            await require_all_parts(filled)
    finally:
        await owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    await require_all_parts(filled)


@pytest.mark.parametrize(("name", "path"), list(itertools.product(SCOPES, (*OF_A_DEVICE, *OF_A_METRIC))))
async def test_a_device_outside_is_as_one_that_there_is_not(filled: Filled, name: str, path: str) -> None:
    parameters = {"metric": METRICS.split(",")[0]} if path in OF_A_METRIC else {}
    for device in HIDDEN[name]:
        detail = problem(await filled.ask(name, path, device=device, **parameters), 422, "invalid-parameter")[
            "detail"
        ]
        assert f'no device has the id "{device}"' in detail
        assert not [other for other in HIDDEN[name] - {device} if other in detail]


@pytest.mark.parametrize("name", SCOPES)
async def test_things_outside_are_not_found_by_their_id(filled: Filled, name: str) -> None:
    asked = await _post(filled, "all", "exports", kind="weather", format="csv.gz", **RANGE)
    assert asked.status_code == 202, asked.text
    other = asked.json()["id"]
    paths = [f"exports/{other}", f"exports/{other}/file"]
    for device in HIDDEN[name]:
        paths += [f"devices/{device}", f"dead-letters/{filled.letters[device]}"]
    for path in paths:
        problem(await filled.ask(name, path), 404, "not-found")
    deleted = await filled.client.delete(f"/api/v1/exports/{other}", headers={"X-API-Key": filled.keys[name]})
    problem(deleted, 404, "not-found")
    for device in HIDDEN[name]:
        revoked = await filled.client.delete(
            f"/api/v1/batches/for-{device}", headers={"X-API-Key": filled.keys[name]}
        )
        problem(revoked, 404, "not-found")
    assert (await filled.ask("all", f"exports/{other}")).status_code == 200


async def _post(filled: Filled, who: str, path: str, **body: Any) -> httpx2.Response:
    return await filled.client.post(f"/api/v1/{path}", json=body, headers={"X-API-Key": filled.keys[who]})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("devices", {"id": "new-1", "kind": "noise", "district": "growing"}),
        ("devices", {"id": "new-2", "kind": "weather", "district": "gate"}),
        ("batches", {"name": "b", "kind": "noise", "district": "golden", "count": 1, "lifetime": "P1D"}),
        ("batches", {"name": "b", "kind": "weather", "district": "gate", "count": 1, "lifetime": "P1D"}),
        ("sources/claim", {"format": "chirpstack", "source": "eui-of-nobody", "device": "air-1"}),
        ("sources/release", {"format": "chirpstack", "source": "eui-of-air-1"}),
        ("exports", {"kind": "weather", "format": "csv.gz", **RANGE}),
        ("exports", {"kind": "air_quality", "district": ["golden"], "format": "csv.gz", **RANGE}),
    ],
)
async def test_nothing_is_made_outside(filled: Filled, path: str, body: dict[str, Any]) -> None:
    refused = 0
    for name in SCOPES:
        answer = await _post(filled, name, path, **body)
        if answer.status_code == 403:
            problem(answer, 403, "forbidden")
            refused += 1
    assert refused


@pytest.mark.parametrize("name", SCOPES)
async def test_devices_outside_are_not_changed(filled: Filled, name: str) -> None:
    headers = {"X-API-Key": filled.keys[name]}
    for device, (method, path) in itertools.product(HIDDEN[name], CHANGES):
        answer = await filled.client.request(method, f"/api/v1/devices/{device}{path}", headers=headers)
        problem(answer, 404, "not-found")
    for device in SEEN[name]:
        for change in ("disable", "enable"):
            assert (await _post(filled, name, f"devices/{device}/{change}")).status_code == 200


@pytest.mark.parametrize("name", SCOPES)
async def test_readings_outside_are_not_corrected(filled: Filled, name: str) -> None:
    for device in HIDDEN[name]:
        answer = await _post(
            filled, name, "corrections", device=device, action="delete", why="mischief", **RANGE
        )
        problem(answer, 422, "invalid-parameter")


async def test_sources_are_those_of_the_part_s_devices_and_nobody_s_are_the_whole_city_s(
    filled: Filled,
) -> None:
    sources = {one["source"] for one in (await filled.ask("all", "sources")).json()["sources"]}
    assert sources == {"eui-of-nobody", *(f"eui-of-{device.id}" for device in DEVICES)}
    for name, seen in SEEN.items():
        found = (await filled.ask(name, "sources")).json()["sources"]
        assert {one["source"] for one in found} == {f"eui-of-{device}" for device in seen}
        assert (await filled.ask(name, "sources", claimed="false")).json()["sources"] == []
        for device in HIDDEN[name]:
            answer = await _post(filled, name, "decode", topic="senml/x", payload="[]", device=device)
            problem(answer, 422, "invalid-parameter")
        versions = await filled.ask(name, "profiles/milesight-am300/versions")
        assert len(versions.json()["versions"]) == 1


async def test_an_export_holds_the_part(filled: Filled) -> None:
    asked = await _post(filled, "gate", "exports", kind="air_quality", format="csv.gz", **RANGE)
    assert asked.status_code == 202, asked.text
    path = f"exports/{asked.json()['id']}"
    state: dict[str, Any] = asked.json()
    async with asyncio.timeout(30):
        while state["state"] in ("waiting", "running"):
            await asyncio.sleep(0.05)
            state = (await filled.ask("gate", path)).json()
    assert state["state"] == "ready", state
    file = await filled.ask("gate", f"{path}/file")

    text = gzip.decompress(file.content).decode()
    assert "air-1" in text
    assert "air-2" not in text


@pytest.mark.parametrize(
    ("name", "parameter", "value"), [("gate", "district", "golden"), ("noise", "kind", "weather,noise")]
)
async def test_naming_what_is_outside_is_refused_and_put_on_record(
    filled: Filled, name: str, parameter: str, value: str
) -> None:
    answer = await filled.ask(name, "latest", **{parameter: value})
    document = problem(answer, 403, "forbidden")
    assert SCOPES[name].districts is None or "gate" in document["detail"]
    event = await _recorded(filled, "GET /api/v1/latest", str(prefix_of(filled.keys[name])))
    assert event["outcome"] == "refused"
    assert event["subject"].startswith(parameter)


async def _recorded(filled: Filled, action: str, actor: str) -> dict[str, Any]:
    """Wait for an event of the audit, and return the newest."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while not events:
            await asyncio.sleep(0.1)
            events = (await filled.ask("all", "audit", action=action, actor=actor)).json()["events"]
    return events[0]


async def test_no_text_of_a_refused_request_keeps_it_from_the_record(filled: Filled) -> None:
    for text in ("\0", "a\0b", "\ufffd", "x" * 5000):
        problem(await filled.ask("gate", "devices", district=text), 403, "forbidden")
        answer = await _post(
            filled, "gate", "exports", kind="air_quality", district=[text], format="csv.gz", **RANGE
        )
        assert answer.status_code in (403, 422), answer.text
    event = await _recorded(filled, "GET /api/v1/devices", str(prefix_of(filled.keys["gate"])))
    assert event["subject"].startswith("district=")
    assert (await filled.ask("all", "kinds")).status_code == 200


async def test_the_id_of_a_device_outside_is_taken_and_not_shown(filled: Filled) -> None:
    taken = await _post(filled, "gate", "devices", id="air-2", kind="air_quality", district="gate")
    assert problem(taken, 409, "conflict")["detail"].endswith("choose another")
    shown = await _post(filled, "gate", "devices", id="air-1", kind="air_quality", district="gate")
    assert problem(shown, 409, "conflict")["detail"].endswith("devices/air-1 shows it")
    await filled.application.state.services.auditor.write()
    rows = await filled.city.owner.fetch(
        "SELECT subject FROM alatau.audit WHERE action = 'register device' AND outcome = 'refused'"
    )
    assert {"air-1", "air-2"} <= {row["subject"] for row in rows}


PLACES = st.sampled_from(
    [
        {},
        {"bbox": "76,43,78,44"},
        {"near": "77.0,43.48,5000"},
        {"polygon": "76,43 78,43 77,44"},
        {"tag": "pole:7"},
    ]
)
QUESTION = st.fixed_dictionaries(
    {
        "metric": st.lists(st.sampled_from(list(METRIC.values())), min_size=1, max_size=4, unique=True).map(
            ",".join
        ),
        "group_by": st.sampled_from(["none", "kind", "district", "device"]),
        "agg": st.lists(
            st.sampled_from(
                ["avg", "min", "max", "sum", "count", "first", "last", "stddev", "p50", "twa", "increase"]
            ),
            min_size=1,
            max_size=3,
            unique=True,
        ).map(",".join),
        "step": st.sampled_from(["PT1M", "PT5M", "PT1H", "P1D", "auto"]),
        "fill": st.sampled_from(["none", "null", "previous", "linear"]),
        "start": st.sampled_from(["-PT3H", "-PT50M", "-P2D"]),
    },
    optional={
        "exact": st.sampled_from(["true", "false"]),
        "compare": st.just("-PT1H"),
        "simulated": st.sampled_from(["true", "false"]),
        "tz": st.sampled_from(["UTC", "Asia/Almaty"]),
    },
)


async def test_no_combination_of_parameters_leaves_the_part(filled: Filled) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    @settings(max_examples=60, database=None)
    @given(st.sampled_from(sorted(SCOPES)), QUESTION, PLACES)
    def collect(name: str, question: dict[str, str], place: dict[str, str]) -> None:
        asked.append((name, narrowed(name, {**question, **place})))

    collect()
    for name, parameters in asked:
        part = await filled.ask(name, "series", **parameters)
        same = await filled.ask("all", "series", **{**parameters, **AS_PARAMETERS[name]})
        assert part.status_code == same.status_code, (parameters, part.text)
        if part.status_code == 200:
            assert json.dumps(part.json()) == json.dumps(same.json()), parameters
