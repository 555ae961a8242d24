from __future__ import annotations

import asyncio
import re

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from api.app import ApiOptions, create_app
from api.auditing import Auditor
from cli.local import LocalStack
from sensors.catalogue import parse_city_file
from stack.ports import free_port
from storage.api_keys import generate_key
from storage.catalogue import apply_city_file
from storage.database import API_ROLE, connect, prepare_database
from tests.api.answers import NOW, fetch, problem
from tests.api.conftest import Served, serve
from tests.cities import City


async def test_a_ready_api_says_what_it_runs_on(client: httpx2.AsyncClient) -> None:
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert response.json()["licence"] == "apache"
    assert response.json()["catalogue_version"] >= 1


async def test_with_the_database_away_the_api_lives_and_says_what_is_missing() -> None:
    url = f"postgresql://alatau_api:x@127.0.0.1:{free_port()}/alatau"
    app = create_app(ApiOptions(url, retry_seconds=0.02))
    with capture_logs():
        async with serve(app, "alatau_0123456789ab_" + "x" * 43) as client:
            assert (await client.get("/healthz")).status_code == 200
            document = problem(await client.get("/readyz"), 503, "unavailable")
            assert document["missing"]
            response = await client.get("/api/v1/devices")
            problem(response, 503, "unavailable")
            assert int(response.headers["retry-after"]) > 0


async def test_an_empty_database_is_not_ready_and_says_what_to_run(local_stack: LocalStack) -> None:
    await prepare_database(local_stack.postgres.superuser_url, "unmigrated", local_stack.secrets.roles)
    app = create_app(ApiOptions(local_stack.database_url(API_ROLE, "unmigrated"), retry_seconds=0.02))
    with capture_logs():
        async with serve(app, generate_key()) as client:
            document = problem(await client.get("/readyz"), 503, "unavailable")
            refused = problem(await client.get("/api/v1/devices"), 503, "unavailable")
    assert "alatau migrate" in refused["detail"]
    assert any("revision None" in line and "alatau migrate" in line for line in document["missing"])
    assert any("catalogue" in line for line in document["missing"])


async def test_a_pool_that_lost_its_connections_makes_new_ones(
    application: Served, city: City, local_stack: LocalStack
) -> None:
    superuser = await connect(local_stack.postgres.superuser_url, application="test")
    try:
        async with application() as client:
            await fetch(client, "devices")
            with capture_logs():
                ended = await superuser.fetchval(
                    """
                    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE application_name LIKE 'alatau-api%' AND datname = $1
                    """,
                    city.database.api_url.rpartition("/")[2],
                )
                assert ended >= 2
                statuses = [0]
                async with asyncio.timeout(10):
                    while statuses[-1] != 200:
                        statuses.append((await client.get("/api/v1/devices")).status_code)
        assert set(statuses[1:]) <= {200, 503}
    finally:
        await superuser.close()


GLACIER = """
[[district]]
name = "glacier"
title = "Glacier"
outline = [[77, 43], [77.1, 43], [77, 43.1]]
"""


async def test_a_catalogue_that_is_applied_while_the_api_runs_is_seen(
    application: Served, city: City
) -> None:
    async with application(catalogue_poll_seconds=60.0) as client:
        await apply_city_file(city.owner, parse_city_file(GLACIER, "more.toml"), "more.toml")
        async with asyncio.timeout(5):
            names: list[str] = []
            while "glacier" not in names:
                names = [one["name"] for one in (await fetch(client, "districts"))["districts"]]


async def test_a_connection_lost_in_the_middle_of_a_query_is_a_503(
    application: Served, city: City, local_stack: LocalStack
) -> None:
    superuser = await connect(local_stack.postgres.superuser_url, application="test")
    try:
        async with application() as client, city.owner.transaction():
            await fetch(client, "kinds")
            await city.owner.execute("LOCK TABLE alatau.device IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(client.get("/api/v1/devices"), name="waiting")
            with capture_logs():
                async with asyncio.timeout(10):
                    while not await superuser.fetchval(
                        """
                        SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity
                        WHERE application_name = 'alatau-api' AND wait_event_type = 'Lock'
                        """
                    ):
                        pass
                response = await waiting
        assert "database is not reachable" in problem(response, 503, "unavailable")["detail"]
    finally:
        await superuser.close()


async def test_a_catalogue_is_found_even_if_its_announcement_was_lost(
    application: Served, city: City
) -> None:
    async with application(catalogue_poll_seconds=0.02) as client:
        await city.owner.execute(
            """
            INSERT INTO alatau.catalogue_version (document)
            SELECT jsonb_set(document, '{city,title}', '"Renamed"') FROM alatau.catalogue_version
            ORDER BY version DESC LIMIT 1
            """
        )
        async with asyncio.timeout(5):
            title = ""
            while title != "Renamed":
                title = (await fetch(client, "districts"))["city"]["title"]


async def test_requests_are_counted_by_the_template_of_their_route(options: ApiOptions, key: str) -> None:
    registry = CollectorRegistry()
    async with serve(create_app(options, registry=registry, clock=lambda: NOW), key) as client:
        for path in ("devices/air-1", "devices/air-2", "devices/nobody"):
            await client.get(f"/api/v1/{path}")
        await client.get("/no/such/path")
        text = (await client.get("/metrics")).text
    route = "/api/v1/devices/{device}"
    labels = {"method": "GET", "route": route}
    assert registry.get_sample_value("alatau_api_requests_total", {**labels, "status": "200"}) == 2
    assert registry.get_sample_value("alatau_api_requests_total", {**labels, "status": "404"}) == 1
    assert registry.get_sample_value("alatau_api_request_seconds_count", {"route": route}) == 3
    assert 'route="unmatched"' in text
    assert "alatau_api_database_connections_used 0.0" in text


async def test_two_applications_in_one_process_count_apart(options: ApiOptions) -> None:
    create_app(options)
    create_app(options)


async def test_a_full_pool_refuses_instead_of_waiting_for_ever(application: Served, city: City) -> None:
    async with application(pool_size=1, pool_wait_seconds=0.05) as client:
        await fetch(client, "kinds")  # the key is remembered from here on
        async with city.owner.transaction():
            await city.owner.execute("LOCK TABLE alatau.device IN ACCESS EXCLUSIVE MODE")
            # One holds the only connection, waiting for the table; which of them it is does not matter.
            requests = [
                asyncio.create_task(client.get("/api/v1/devices"), name=f"request {n}") for n in range(2)
            ]
            refused, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*requests)
    assert "busy" in problem(refused.pop().result(), 503, "unavailable")["detail"]
    assert sorted(request.result().status_code for request in requests) == [200, 503]


async def test_the_documentation_comes_from_here_and_nowhere_else(client: httpx2.AsyncClient) -> None:
    html = (await client.get("/docs")).text
    assert not re.findall(r"(?:https?:)?//[^\s\"']+", html)
    assets = re.findall(r"(?:src|href)=\"(/[^\"]+)\"", html)
    assert len(assets) == 3
    for asset in assets:
        assert (await client.get(asset)).status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/series", "/api/v1/devices", "/api/v1/latest"])
async def test_the_description_lists_the_problems_of_each_path(client: httpx2.AsyncClient, path: str) -> None:
    responses = (await client.get("/openapi.json")).json()["paths"][path]["get"]["responses"]
    assert "application/problem+json" in responses["422"]["content"]
    assert "application/json" not in responses["422"]["content"]


async def test_a_part_that_fails_ends_the_process_and_not_only_its_answers(
    options: ApiOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Auditor) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Auditor, "run", fail)
    has_failed = asyncio.Event()
    app = create_app(options, on_failure=has_failed.set)
    with pytest.raises(ExceptionGroup):
        async with app.router.lifespan_context(app):
            await asyncio.sleep(10)
    assert has_failed.is_set()
