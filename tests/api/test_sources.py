"""Sources, profiles and explained messages of other formats: seen, claimed, mapped, read again."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest

from api.app import create_app
from api.options import ApiOptions
from sensors.checks import Reason
from sensors.times import to_microseconds
from storage.dead_letters import DeadLetter, insert_letters
from storage.wire_sources import Seen, note_seen
from tests.api.answers import NOW, every_page, fetch, problem
from tests.api.conftest import serve
from tests.cities import City

BIRTH = (
    "0880d0eab6b733121b0a096169722f706d325f3510071880d0eab6b73320096500009441121b0a086169722f74656d70"
    "10081880d0eab6b733200350fdffffff0f1801"
)
DATA = "08e0a4eeb6b733120e100718e0a4eeb6b733650000aa411211100818b0baecb6b733280150fcffffff0f1802"
MINE = {
    "title": "Ours",
    "format": "senml",
    "kind": "weather",
    "map": [{"field": "t", "metric": "temperature", "unit": "[degF]"}],
}


def topic_of(eui: str) -> str:
    return f"application/a/device/{eui}/event/up"


async def see(city: City, *names: str) -> None:
    """Note two messages of sources that nobody has claimed, as ingest does."""
    now = to_microseconds(NOW)
    for name in names:
        letters = [DeadLetter(now + n, topic_of(name), b"{}", Reason.UNCLAIMED, "nobody's") for n in range(2)]
        async with city.ingest.transaction():
            await insert_letters(city.ingest, letters)
            said = {"temperature": (-3.5, "Cel"), "humidity": (41.0, None)}
            await note_seen(city.ingest, [Seen("chirpstack", name, now, 2, said, [topic_of(name)])])


async def post(client: httpx2.AsyncClient, path: str, **body: Any) -> httpx2.Response:
    return await client.post(f"/api/v1/{path}", json=body)


async def test_sources_are_listed_page_by_page_with_what_they_said_last(
    client: httpx2.AsyncClient, city: City
) -> None:
    await see(city, "seen-1", "seen-2", "seen-3")
    pages = await every_page(client, "sources", format="chirpstack", claimed="false", limit=2)
    found = [one for page in pages for one in page["sources"] if one["source"].startswith("seen")]
    assert [one["source"] for one in found] == ["seen-1", "seen-2", "seen-3"]
    assert found[0] == {
        "format": "chirpstack",
        "source": "seen-1",
        "device": None,
        "profile": None,
        "first_seen": "2026-01-15T12:00:00Z",
        "last_seen": "2026-01-15T12:00:00Z",
        "messages": 2,
        "said": {"temperature": {"value": -3.5, "unit": "Cel"}, "humidity": {"value": 41.0, "unit": None}},
        "topics": [topic_of("seen-1")],
        "storing": False,
    }
    claimed = (await fetch(client, "sources", claimed="true"))["sources"]
    assert not {"seen-1", "seen-2", "seen-3"} & {one["source"] for one in claimed}
    wrong = problem(await client.get("/api/v1/sources?format=chirpstak"), 422, "invalid-parameter")
    assert wrong["nearest"] == "chirpstack"


async def test_a_source_is_claimed_once_and_what_was_kept_waits_for_ingest(
    client: httpx2.AsyncClient, city: City
) -> None:
    await see(city, "mine-1")
    named = {"format": "chirpstack", "source": "mine-1"}
    answer = await post(client, "sources/claim", **named, device="weather-1", profile="milesight-em300-th")
    claimed = answer.json()
    assert answer.status_code == 200, claimed
    assert (claimed["device"], claimed["profile"]) == ("weather-1", "milesight-em300-th")
    assert (claimed["kept"], claimed["storing"]) == (2, True)
    assert [one["source"] for one in (await fetch(client, "sources", claimed="true"))["sources"]] == [
        "mine-1"
    ]
    taken = await post(client, "sources/claim", **named, device="air-1")
    assert "POST /api/v1/sources/release does" in problem(taken, 409, "conflict")["detail"]

    released = (await post(client, "sources/release", **named)).json()
    assert (released["device"], released["storing"]) == (None, False)
    again = await post(client, "sources/release", **named)
    assert "is no device's" in problem(again, 404, "not-found")["detail"]
    acts = await city.owner.fetch(
        "SELECT action FROM alatau.audit WHERE subject = 'mine-1' ORDER BY audit_id"
    )
    assert [act["action"] for act in acts] == ["claim source", "release source"]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"format": "chirpstak"}, "invalid-body", 'did you mean "chirpstack"?'),
        ({"device": "wether-1"}, "invalid-parameter", 'did you mean "weather-1"?'),
        ({"profile": "milesight-em300-t"}, "invalid-body", 'did you mean "milesight-em300-th"?'),
        ({"profile": "milesight-em300-th-tts"}, "invalid-body", "is of things_stack"),
        ({"profile": "milesight-ws302"}, "invalid-body", "is of noise"),
    ],
)
async def test_what_can_not_be_claimed_is_said(
    client: httpx2.AsyncClient, changes: dict[str, str], kind: str, said: str
) -> None:
    body = {"format": "chirpstack", "source": "x", "device": "weather-1", **changes}
    assert said in problem(await post(client, "sources/claim", **body), 422, kind)["detail"]


async def test_a_profile_is_put_changed_used_and_deleted_and_keeps_its_versions(
    client: httpx2.AsyncClient, city: City
) -> None:
    path = "/api/v1/profiles/ours"
    put = (await client.put(path, json=MINE)).json()
    assert (put["version"], put["origin"], put["sources"]) == (1, "api", 0)
    assert put["map"] == [
        {"field": "t", "metric": "temperature", "unit": "[degF]", "scale": 1.0, "offset": 0.0}
    ]
    assert (await client.put(path, json=MINE)).json()["version"] == 1
    changed = {**MINE, "map": [{"field": "t", "metric": "temperature", "scale": 0.1}]}
    assert (await client.put(path, json=changed)).json()["version"] == 2
    claim = {"format": "senml", "source": "s-1", "device": "weather-1", "profile": "ours"}
    assert (await post(client, "sources/claim", **claim)).status_code == 200
    assert (await fetch(client, "profiles/ours"))["sources"] == 1
    other = {**MINE, "kind": "noise", "map": [{"field": "t", "metric": "laeq"}]}
    assert "under another name" in problem(await client.put(path, json=other), 409, "conflict")["detail"]
    in_use = problem(await client.delete(path), 409, "conflict")
    assert "1 sources name the profile ours" in in_use["detail"]
    await post(client, "sources/release", format="senml", source="s-1")
    assert (await client.delete(path)).status_code == 204
    problem(await client.get(path), 404, "not-found")
    versions = (await fetch(client, "profiles/ours/versions"))["versions"]
    assert [(one["version"], one["map"][0]["scale"]) for one in versions] == [(2, 0.1), (1, 1.0)]
    acts = await city.owner.fetch("SELECT action FROM alatau.audit WHERE subject = 'ours' ORDER BY audit_id")
    assert [act["action"] for act in acts] == ["put profile", "put profile", "delete profile"]


async def test_the_profiles_that_come_with_us_are_there_and_stay(client: httpx2.AsyncClient) -> None:
    names = [one["name"] for one in (await fetch(client, "profiles"))["profiles"]]
    assert {"milesight-am300", "milesight-am300-tts", "lwm2m-weather"} <= set(names)
    assert names == sorted(names)
    kept = problem(await client.delete("/api/v1/profiles/milesight-am300"), 409, "conflict")
    assert "comes with Alatau" in kept["detail"]
    missing = problem(await client.get("/api/v1/profiles/milesight-am30"), 404, "not-found")
    assert 'did you mean "milesight-am300"?' in missing["detail"]
    problem(await client.get("/api/v1/profiles/nothing/versions"), 404, "not-found")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "senlm"}, 'did you mean "senml"?'),
        ({"kind": "wether"}, 'did you mean "weather"?'),
        ({"map": [{"field": "t", "metric": "temperatur"}]}, 'did you mean "temperature"?'),
        ({"map": [{"field": "t", "metric": "temperature", "unit": "hPa"}]}, "measure different things"),
    ],
)
async def test_a_profile_that_is_wrong_is_refused(
    client: httpx2.AsyncClient, changes: dict[str, Any], said: str
) -> None:
    answer = await client.put("/api/v1/profiles/wrong", json={**MINE, **changes})
    assert said in problem(answer, 422, "invalid-body")["detail"]


async def test_a_message_is_explained_by_the_profile_that_its_device_is_read_by(
    client: httpx2.AsyncClient,
) -> None:
    message = {"topic": "senml/x", "payload": '[{"n":"t","v":26.6},{"n":"rh","u":"%RH","v":41}]'}
    said = (await post(client, "decode", **message)).json()
    assert (said["formats"], said["kind"], said["profile"]) == (["SenML"], None, None)
    assert said["readings"][0]["values"] == {"t": 26.6, "rh": 41.0}
    assert said["readings"][0]["stored"] is None

    await client.put("/api/v1/profiles/senml-weather", json=MINE)
    by_kind = (await post(client, "decode", **message, kind="weather")).json()
    assert by_kind["profile"] == "senml-weather", "the kind's own"
    assert by_kind["readings"][0]["stored"] == {"temperature": pytest.approx(-3.0)}

    await client.put("/api/v1/profiles/mine", json={**MINE, "map": [{"field": "rh", "metric": "humidity"}]})
    claim = {"format": "senml", "source": "x", "device": "weather-1", "profile": "mine"}
    await post(client, "sources/claim", **claim)
    by_device = (await post(client, "decode", **message, device="weather-1")).json()
    assert (by_device["kind"], by_device["profile"]) == ("weather", "mine")
    assert by_device["readings"][0]["stored"] == {"humidity": 41.0}
    await post(client, "sources/release", format="senml", source="x")
    for name in ("senml-weather", "mine"):
        assert (await client.delete(f"/api/v1/profiles/{name}")).status_code == 204


async def test_what_would_not_be_stored_is_said_with_its_place_and_what_would_be_right(
    client: httpx2.AsyncClient,
) -> None:
    pack = '[{"n":"temperature","u":"Cel","v":"warm"},{"n":"humidity","v":141}]'
    said = (await post(client, "decode", topic="senml/x", payload=pack, kind="weather")).json()
    first, second = said["refused"]
    assert (first["reason"], first["path"], first["found"]) == ("wrong_type", "/0/v", '"warm"')
    assert first["valid"] in first["detail"]
    assert second["reason"] == "out_of_range"
    assert second["detail"] == "humidity 141 is not between 0 and 100 %"
    assert said["readings"][0]["stored"] == {}


async def test_bytes_and_the_birth_before_them_are_sent_as_base64(client: httpx2.AsyncClient) -> None:
    birth, data = (base64.b64encode(bytes.fromhex(one)).decode() for one in (BIRTH, DATA))
    before = [{"topic": "spBv1.0/alatau/DBIRTH/gw1/air7", "payload_base64": birth}]
    topic = "spBv1.0/alatau/DDATA/gw1/air7"
    said = (await post(client, "decode", topic=topic, payload_base64=data, before=before)).json()
    assert [one["values"] for one in said["readings"]] == [
        {"air/pm2_5": 18.5, "air/temp": -3.0},
        {"air/pm2_5": 21.25},
        {"air/temp": -4.0},
    ]
    assert [one["online"] for one in said["statuses"]] == [True]
    alone = (await post(client, "decode", topic=topic, payload_base64=data)).json()
    assert alone["refused"]
    assert alone["replies"][0]["topic"] == "spBv1.0/alatau/NCMD/gw1"


async def test_our_own_format_is_explained_by_the_device_s_kind(client: httpx2.AsyncClient) -> None:
    topic = "alatau/v1/air-1/telemetry"
    said = (await post(client, "decode", topic=topic, payload='{"pm2_5": 12.5, "pm25": 1}')).json()
    assert said["kind"] == "air_quality", "the topic is of a registered device"
    assert said["readings"][0]["stored"] == {"pm2_5": 12.5}
    (refused,) = said["refused"]
    assert 'did you mean "pm2_5"?' in refused["detail"]
    assert (refused["path"], refused["found"]) == ("/pm25", '"pm25"')


async def test_of_a_large_message_the_first_readings_are_told_and_how_many_more_there_are(
    client: httpx2.AsyncClient,
) -> None:
    payload = json.dumps([{"ts": 1_700_000_000 + second, "pm2_5": 1} for second in range(1200)])
    said = (await post(client, "decode", topic="alatau/v1/air-1/telemetry", payload=payload)).json()
    assert (len(said["readings"]), len(said["refused"])) == (1000, 1000), "they are too old"
    assert said["more"] == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"topic": "nothing/x", "payload": "1"}, "is of no format that is understood"),
        ({"topic": "senml/+", "payload": "[]"}, "can't be published to"),
        ({"topic": "senml/x"}, "send either payload or payload_base64"),
        ({"topic": "senml/x", "payload": "[]", "payload_base64": ""}, "send either"),
        ({"topic": "senml/x", "payload_base64": "?"}, "as RFC 4648 has it"),
        ({"topic": "senml/x", "payload": "x" * 65_537}, "send at most 65,536"),
        ({"topic": "senml/x", "payload": "[]", "kind": "wether"}, 'did you mean "weather"?'),
        ({"topic": "senml/x", "payload": "[]", "profile": "lwm2m-wether"}, 'did you mean "lwm2m-weather"?'),
        (
            {"topic": "senml/x", "payload": "[]", "profile": "milesight-ws302"},
            "is of chirpstack, senml/x of senml",
        ),
        ({"topic": "senml/x", "payload": "[]", "kind": "noise", "device": "air-1"}, "is registered as"),
        ({"topic": "alatau/v1/x/telemetry", "payload": "{}"}, "give the kind"),
    ],
)
async def test_a_message_of_which_nothing_can_be_said_is_refused(
    client: httpx2.AsyncClient, body: dict[str, str], said: str
) -> None:
    assert said in problem(await post(client, "decode", **body), 422, "invalid-body")["detail"]


async def test_an_application_that_was_given_no_reader_says_so(options: ApiOptions, key: str) -> None:
    async with serve(create_app(options, clock=lambda: NOW), key) as client:
        answer = await post(client, "decode", topic="a", payload="b")
        assert "reads no messages" in problem(answer, 503, "unavailable")["detail"]
