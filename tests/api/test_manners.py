"""How the API treats any request: validators, HEAD, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from api.app import ApiOptions, create_app
from storage.api_keys import generate_key, store_key
from tests.api.answers import NOW, fetch, problem
from tests.api.conftest import Served, listen, serve
from tests.api.test_devices import Accounts, body
from tests.cities import City

RANGE = "start=2026-01-01T00:00:00Z&end=2026-01-02T00:00:00Z"
WHOLE = ["districts", "kinds", "metrics", "devices", "devices/air-1", "gaps", f"series?metric=pm2_5&{RANGE}"]


@pytest.mark.parametrize("path", WHOLE)
async def test_a_client_that_has_the_answer_is_told_so(client: httpx2.AsyncClient, path: str) -> None:
    first = await client.get(f"/api/v1/{path}")
    assert first.status_code == 200, first.text
    assert first.headers["cache-control"] == "private, no-cache"
    assert "accept" in first.headers["vary"].lower().replace(" ", "").split(",")
    again = await client.get(f"/api/v1/{path}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == "private, no-cache"
    assert "content-type" not in again.headers


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("*", 304),
        ('"another"', 200),
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"another", W/{tag}', 304),
        ("nonsense", 200),
        ("", 200),
    ],
)
async def test_any_of_the_validators_a_client_knows_will_do(
    client: httpx2.AsyncClient, known: str, status: int
) -> None:
    tag = (await client.get("/api/v1/kinds")).headers["etag"].removeprefix("W/")
    response = await client.get("/api/v1/kinds", headers={"If-None-Match": known.format(tag=tag)})
    assert response.status_code == status


async def test_an_answer_is_the_same_however_it_is_compressed(client: httpx2.AsyncClient) -> None:
    forms = [
        await client.get("/api/v1/kinds", headers={"Accept-Encoding": form}) for form in ("gzip", "identity")
    ]
    assert len({response.headers["etag"] for response in forms}) == 1
    assert len({response.text for response in forms}) == 1


async def test_another_answer_has_another_validator(client: httpx2.AsyncClient) -> None:
    plain, places = [await client.get(f"/api/v1/districts?format={name}") for name in ("json", "geojson")]
    assert plain.headers["etag"] != places.headers["etag"]


async def test_what_changed_is_sent_again(application: Served) -> None:
    async with application(accounts=Accounts()) as client:
        before = await client.get("/api/v1/devices")
        created = await client.post("/api/v1/devices", json=body("fresh-1"))
        after = await client.get("/api/v1/devices", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert created.headers["cache-control"] == "no-store"
    assert "etag" not in created.headers


@pytest.mark.parametrize("path", ["devices/nobody", "kinds?x=1", "nowhere"])
async def test_an_error_is_not_kept(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.get(f"/api/v1/{path}", headers={"If-None-Match": "*"})
    assert response.status_code in (404, 422)
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers


@pytest.mark.parametrize("path", [*(f"/api/v1/{path}" for path in WHOLE), "/healthz", "/metrics", "/docs"])
async def test_head_is_get_without_its_body(client: httpx2.AsyncClient, path: str) -> None:
    whole, head = await client.get(path), await client.head(path)
    assert head.status_code == 200
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.headers.get("etag") == whole.headers.get("etag")


async def test_head_of_what_is_not_there_has_the_status_and_no_body(client: httpx2.AsyncClient) -> None:
    response = await client.head("/api/v1/devices/nobody")
    assert (response.status_code, response.content) == (404, b"")


async def test_a_wrong_method_is_told_every_right_one(client: httpx2.AsyncClient) -> None:
    response = await client.delete("/api/v1/devices")
    document = problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"
    assert document["valid"] == ["GET", "HEAD", "POST"]


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_body_beyond_the_limit_is_refused(application: Served, in_pieces: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with application(max_body_bytes=1000, accounts=Accounts()) as client:
        content = pieces() if in_pieces else b"x" * 2000
        response = await client.post("/api/v1/devices", content=content)
        assert "1000 bytes" in problem(response, 413, "body-too-large")["detail"]
        # Exactly the limit is not beyond it.
        padded = (await client.post("/api/v1/devices", content=b" " * 999 + b"{")).json()
        assert padded["type"] == "urn:alatau:problem:invalid-body"


async def test_requests_beyond_those_under_way_wait_for_their_turn(application: Served) -> None:
    async with application(max_concurrent_per_key=2, max_waiting_per_key=10, pool_size=4) as client:
        answers = await asyncio.gather(*(client.get("/api/v1/devices") for _ in range(12)))
        assert [answer.status_code for answer in answers] == [200] * 12


async def test_a_key_has_so_many_requests_under_way_and_no_more(application: Served, city: City) -> None:
    other = generate_key()
    await store_key(city.owner, other, "another")
    others = {"Authorization": f"Bearer {other}"}
    async with application(max_concurrent_per_key=1, max_waiting_per_key=0, pool_size=4) as client:
        await fetch(client, "kinds")  # both keys are remembered from here on
        assert (await client.get("/api/v1/kinds", headers=others)).status_code == 200
        async with city.owner.transaction():
            await city.owner.execute("LOCK TABLE alatau.device IN ACCESS EXCLUSIVE MODE")
            # One of them waits for the table; which of them it is does not matter.
            requests = [
                asyncio.create_task(client.get("/api/v1/devices"), name=f"request {n}") for n in range(2)
            ]
            refused, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
            assert (await client.get("/api/v1/kinds", headers=others)).status_code == 200
        await asyncio.gather(*requests)
        response = refused.pop().result()
        assert "1 requests with this key" in problem(response, 429, "too-many-requests")["detail"]
        assert response.headers["retry-after"] == "1"
        assert sorted(request.result().status_code for request in requests) == [200, 429]
        assert (await client.get("/api/v1/devices")).status_code == 200


@pytest.fixture
def streaming(options: ApiOptions) -> tuple[FastAPI, asyncio.Event]:
    """An application with a stream that has no end, and when it was left."""
    app, left = create_app(options, clock=lambda: NOW), asyncio.Event()

    async def numbers() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"1\n"
                await asyncio.sleep(0)
        finally:
            left.set()

    @app.get("/api/v1/numbers")
    async def stream() -> StreamingResponse:
        return StreamingResponse(numbers(), media_type="application/octet-stream")

    return app, left


async def test_head_of_a_stream_does_not_wait_for_its_end(
    streaming: tuple[FastAPI, asyncio.Event], key: str
) -> None:
    app, left = streaming
    async with serve(app, key) as client:
        response = await client.head("/api/v1/numbers")
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_stream_ends_when_its_client_goes_away(
    streaming: tuple[FastAPI, asyncio.Event],
) -> None:
    app, left = streaming
    async with listen(app) as url, httpx2.AsyncClient(base_url=url) as client:
        async with client.stream("GET", "/api/v1/numbers") as response:
            assert await anext(response.aiter_lines()) == "1"
            assert not left.is_set()
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_browser_is_told_to_run_nothing_of_an_answer(client: httpx2.AsyncClient) -> None:
    for path, part in (("/api/v1/kinds", "default-src 'none'"), ("/docs", "default-src 'self'")):
        headers = (await client.get(path)).headers
        assert part in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
