from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from api.app import ApiOptions, create_app
from tests.api.answers import NOW, problem
from tests.api.conftest import serve


@pytest.mark.parametrize(
    ("path", "given", "nearest"),
    [
        ("districts?fromat=geojson", "fromat", "format"),
        ("kinds?x=1", "x", None),
        ("devices?kinds=noise", "kinds", "kind"),
        ("latest?metrics=pm2_5", "metrics", "metric"),
        ("readings?device=air-1&since=now", "since", "device"),
        ("series?metric=pm2_5&groupby=kind", "groupby", "group_by"),
        ("dead-letters?resaon=too_large", "resaon", "reason"),
        ("devices/air-1?limit=3", "limit", None),
    ],
)
async def test_an_unknown_parameter_is_refused_and_the_nearest_named(
    client: httpx2.AsyncClient, path: str, given: str, nearest: str | None
) -> None:
    document = problem(await client.get(f"/api/v1/{path}"), 422, "unknown-parameter")
    assert document["parameter"] == given
    assert document.get("nearest") == nearest
    assert nearest is None or nearest in document["valid"]


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("devices?kind=air_qualty", "air_quality"),
        ("devices?district=gates", "gate"),
        ("latest?metric=temprature", "temperature"),
        ("latest?device=air1", "air-1"),
        ("latest?kind=noize", "noise"),
        ("readings?device=air_1", "air-1"),
        ("readings?device=air-1&order=ascending", "asc"),
        ("series?metric=pm25", "pm2_5"),
        ("series?metric=pm2_5&agg=average", "avg"),
        ("series?metric=pm2_5&group_by=districts", "district"),
        ("series?metric=pm2_5&district=grean", "green"),
        ("series?metric=pm2_5&device=air-3", "air-2"),
        ("series?metric=pm2_5&tz=Asia/Alma", "Asia/Almaty"),
        ("series?metric=pm2_5&tz=asia/almaty", "Asia/Almaty"),
        ("dead-letters?reason=unknown_devise", "unknown_device"),
        ("dead-letters?device=wether-1", "weather-1"),
        ("districts?format=geo", "geojson"),
    ],
)
async def test_an_unknown_value_is_refused_and_the_nearest_named(
    client: httpx2.AsyncClient, path: str, nearest: str
) -> None:
    assert problem(await client.get(f"/api/v1/{path}"), 422, "invalid-parameter")["nearest"] == nearest


@pytest.mark.parametrize(
    "path",
    [
        "devices?limit=0",
        "devices?limit=1001",
        "devices?limit=many",
        "devices?cursor=%00",
        "devices?cursor=bm90IGpzb24",
        "devices?simulated=perhaps",
        "readings",
        "readings?device=air-1&start=yesterday",
        "readings?device=air-1&start=2026-01-01T00:00:00",
        "readings?device=air-1&start=now",
        "readings?device=air-1&start=-P999999W",
        "readings?device=air-1&end=-PT48H",
        "readings?device=%00",
        "latest?device=a%00",
        "series",
        "series?metric=",
        "series?metric=pm2_5&step=1h",
        "series?metric=pm2_5&tz=../etc/passwd",
        "series?metric=pm2_5&tz=America",
        "series?metric=pm2_5&start=0001-01-01T00:00:00Z&step=P1Y",
        "dead-letters/0",
        "dead-letters/99999999999999999999",
    ],
)
async def test_a_value_that_cannot_be_is_refused_with_what_would_be_right(
    client: httpx2.AsyncClient, path: str
) -> None:
    assert problem(await client.get(f"/api/v1/{path}"), 422, "invalid-parameter")["detail"]


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("/api/v1/serie", "/api/v1/series"), ("/api/v1/district", "/api/v1/districts"), ("/wp-admin.php", None)],
)
async def test_an_unknown_path_names_the_nearest(
    client: httpx2.AsyncClient, path: str, nearest: str | None
) -> None:
    assert problem(await client.get(path), 404, "not-found").get("nearest") == nearest


async def test_a_wrong_method_is_told_the_right_one(client: httpx2.AsyncClient) -> None:
    response = await client.delete("/api/v1/districts")
    document = problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD"
    assert "GET" in document["detail"]


async def test_a_request_keeps_the_id_it_came_with(client: httpx2.AsyncClient) -> None:
    response = await client.get("/nowhere", headers={"X-Request-ID": "trace-7"})
    assert problem(response, 404, "not-found")["request_id"] == "trace-7"


async def test_an_id_that_could_forge_a_log_line_is_replaced(client: httpx2.AsyncClient) -> None:
    response = await client.get("/healthz", headers={"X-Request-ID": "a b"})
    assert response.headers["x-request-id"] not in ("", "a b")


@pytest.fixture
async def failing(options: ApiOptions, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    app: FastAPI = create_app(options, clock=lambda: NOW)

    @app.get("/api/v1/fails")
    async def fails() -> Any:
        raise KeyError("a secret of the insides")

    async with serve(app, key) as client:
        yield client


async def test_an_unexpected_error_is_logged_and_told_without_its_insides(
    failing: httpx2.AsyncClient,
) -> None:
    with capture_logs() as logs:
        response = await failing.get("/api/v1/fails")
    document = problem(response, 500, "internal")
    assert "secret" not in response.text
    (entry,) = [line for line in logs if line["event"] == "request failed"]
    assert entry["request_id"] == document["request_id"]
    assert entry["exc_info"]
