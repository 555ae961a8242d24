from __future__ import annotations

import base64

import httpx2
import pytest

from sensors.checks import Reason
from sensors.times import to_microseconds
from storage.dead_letters import DeadLetter, Fold, fold_letters, insert_letters, note_replay
from tests.api.answers import NOW, every_page, fetch, problem
from tests.cities import City

TOPIC = "alatau/v1/air-1/telemetry"


@pytest.fixture(scope="module", autouse=True)
async def _letters(city: City) -> None:
    received = to_microseconds(NOW)
    ghost = DeadLetter(received, "alatau/v1/ghost/telemetry", b"{}", Reason.UNKNOWN_DEVICE, "ghost")
    await insert_letters(
        city.ingest,
        [
            DeadLetter(received, TOPIC, b"\xff\x00", Reason.UNDECODABLE, "no JSON", city.number["air-1"]),
            DeadLetter(received, TOPIC, b'{"pm": 1}', Reason.UNKNOWN_METRIC, "pm", city.number["air-1"]),
            ghost,
        ],
    )
    await fold_letters(city.ingest, [Fold(ghost.topic, received, 4, ghost)])
    first = await city.owner.fetchval("SELECT min(dead_letter_id) FROM alatau.dead_letter")
    await note_replay(city.owner, first, "stored", accepted=True)


async def test_letters_are_listed_newest_first_page_by_page(client: httpx2.AsyncClient) -> None:
    pages = await every_page(client, "dead-letters", limit=1)
    reasons = [letter["reason"] for page in pages for letter in page["dead_letters"]]
    assert reasons == ["unknown_device", "unknown_metric", "undecodable"]


@pytest.mark.parametrize(
    ("parameters", "reasons"),
    [
        ({"reason": "unknown_metric"}, ["unknown_metric"]),
        ({"device": "air-1"}, ["unknown_metric", "undecodable"]),
        ({"device": "air-1", "waiting": "true"}, ["unknown_metric"]),
        ({"device": "air-2"}, []),
    ],
)
async def test_letters_are_filtered(
    client: httpx2.AsyncClient, parameters: dict[str, str], reasons: list[str]
) -> None:
    letters = (await fetch(client, "dead-letters", **parameters))["dead_letters"]
    assert [letter["reason"] for letter in letters] == reasons


async def test_the_raw_bytes_are_kept_and_shown_as_text_where_they_are_text(
    client: httpx2.AsyncClient,
) -> None:
    _, text, raw = (await fetch(client, "dead-letters"))["dead_letters"]
    assert base64.b64decode(raw["payload"]) == b"\xff\x00"
    assert raw["payload_text"] is None
    assert text["payload_text"] == '{"pm": 1}'
    assert (raw["replay_verdict"], text["replay_verdict"]) == ("stored", None)


async def test_messages_that_were_only_counted_are_shown_with_the_letter_kept(
    client: httpx2.AsyncClient,
) -> None:
    letters = (await fetch(client, "dead-letters"))["dead_letters"]
    assert [letter["repeats"] for letter in letters] == [4, 0, 0]


async def test_one_letter_is_found_by_its_number(client: httpx2.AsyncClient) -> None:
    letter = (await fetch(client, "dead-letters", limit=1))["dead_letters"][0]
    assert await fetch(client, f"dead-letters/{letter['id']}") == letter
    problem(await client.get("/api/v1/dead-letters/1000000"), 404, "not-found")


async def test_a_list_shows_the_beginning_of_a_large_payload_and_the_letter_all_of_it(
    city: City, client: httpx2.AsyncClient
) -> None:
    payload = "ж".encode() * 5000 + b"x"
    letter = DeadLetter(to_microseconds(NOW), "alatau/v1/large/telemetry", payload, Reason.TOO_LARGE, "large")
    await insert_letters(city.ingest, [letter])
    try:
        listed = (await fetch(client, "dead-letters", reason="too_large"))["dead_letters"][0]
        assert (listed["payload_bytes"], listed["payload_text"]) == (10_001, "ж" * 2048)
        whole = await fetch(client, f"dead-letters/{listed['id']}")
        assert base64.b64decode(whole["payload"]) == payload
    finally:
        await city.owner.execute("DELETE FROM alatau.dead_letter WHERE reason = 'too_large'")
