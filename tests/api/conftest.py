"""The application on the module's own database, served as a client sees it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from api.app import ApiOptions, create_app
from api.oidc_options import OidcOptions, read_rules
from api.options import DeviceAccounts, LiveOptions
from api.serving import ConnectionLimits, serving
from cli.local import LocalStack
from ingest.explaining import Explainer
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.rates import Rate
from sensors.topics import Topics
from stack.ports import free_port
from storage.api_keys import Role, generate_key, store_key
from storage.database import connect
from tests.api.answers import NOW
from tests.api.elsewhere import API, RULES, START, UNIX, Entrance, WithIssuer
from tests.api.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, Keys, running_issuer
from tests.api.people import Clock, Place, Places, add_person, sign_in_options
from tests.cities import City, open_city
from tests.conftest import Database

READER = Explainer(Topics())
Served = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

DEVICES = (
    DeviceSpec("air-1", "air_quality", "gate", (77.0, 43.48), "PT1M", "2025-01-01T00:00:00Z"),
    DeviceSpec("air-2", "air_quality", "golden", metadata={"pole": 7.0}),
    DeviceSpec("sim-1", "noise", "growing", simulated=True),
    DeviceSpec("traffic-1", "traffic_flow", "green"),
    DeviceSpec("weather-1", "weather", "gate"),
)


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        yield city


@pytest.fixture
async def superuser(local_stack: LocalStack) -> AsyncIterator[asyncpg.Connection]:
    """Sees what every role waits for."""
    connection = await connect(local_stack.postgres.superuser_url, application="test")
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def key(city: City) -> str:
    key = generate_key()
    await store_key(city.owner, key, "test")
    return key


@contextlib.asynccontextmanager
async def serve(app: FastAPI, key: str | None) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an application's lifespan and lend a client of it."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def listen(app: FastAPI, limits: ConnectionLimits | None = None, **more: Any) -> AsyncIterator[str]:
    """Serve an application on a real socket, and lend its URL; ``more`` is uvicorn's own."""
    port = free_port()
    server = uvicorn.Server(serving(app, limits, port=port, timeout_graceful_shutdown=2, **more))
    task = asyncio.create_task(server.serve(), name="test.api")
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="module")
def options(city: City) -> ApiOptions:
    # A stream ends at once: who asks each path waits for the end of its answer.
    live = LiveOptions(longest_seconds=0)
    return ApiOptions(city.database.api_url, pool_size=4, retry_seconds=0.02, live=live)


@pytest.fixture(scope="module")
async def client(options: ApiOptions, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a key, at noon of 2026-01-15 UTC."""
    async with serve(create_app(options, reader=READER, clock=lambda: NOW), key) as client:
        yield client


@pytest.fixture
def application(options: ApiOptions, key: str) -> Served:
    """Serve an application of the test's own making, with a key unless ``key`` is None."""
    valid = key

    def start(
        *, key: str | None = valid, accounts: DeviceAccounts | None = None, **changes: Any
    ) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        changed = dataclasses.replace(options, **changes)
        app = create_app(changed, accounts=accounts, reader=READER, clock=lambda: NOW)
        return serve(app, key)

    return start


@pytest.fixture
def place(options: ApiOptions) -> Places:
    """Serve an application of the test's own making."""

    @contextlib.asynccontextmanager
    async def start(**throttle: Any) -> AsyncIterator[Place]:
        clock = Clock(NOW)
        changed = dataclasses.replace(options, sign_in=sign_in_options(**throttle))
        app = create_app(changed, clock=clock)
        async with serve(app, None):
            yield Place(app, clock)

    return start


@pytest.fixture(scope="module")
async def here(options: ApiOptions) -> AsyncIterator[Place]:
    """An application that never loses patience."""
    endless = Rate(1e6, 10**6)
    patient = sign_in_options(free=10**6, rate_per_address=endless, rate_per_name=endless)
    clock = Clock(NOW)
    app = create_app(dataclasses.replace(options, sign_in=patient), clock=clock)
    async with serve(app, None):
        yield Place(app, clock)


@pytest.fixture(scope="module")
async def anna(city: City) -> str:
    await add_person(city, "anna", Role.OPERATOR)
    return "anna"


@pytest.fixture(scope="session")
def issuer_keys() -> Keys:
    return Keys()


@pytest.fixture(scope="module")
async def issuer_of_module(issuer_keys: Keys) -> AsyncIterator[Issuer]:
    async with running_issuer(issuer_keys, f"{API}{START}/callback", lambda: UNIX) as issuer:
        yield issuer


@pytest.fixture
def issuer(issuer_of_module: Issuer) -> Issuer:
    issuer_of_module.reset()
    return issuer_of_module


@pytest.fixture(scope="module")
def with_issuer(options: ApiOptions) -> WithIssuer:
    def change(issuer: Issuer, /, **changes: Any) -> ApiOptions:
        rules = read_rules(RULES)
        oidc = OidcOptions(
            issuer.url, CLIENT_ID, CLIENT_SECRET, API, rules, keep_seconds=0.0, again_seconds=0.0
        )
        return dataclasses.replace(
            options,
            sign_in=sign_in_options(),
            oidc=dataclasses.replace(oidc, **changes),
            rate_of_wrong_keys=Rate(1e6, 10**6),
        )

    return change


@pytest.fixture(scope="module")
async def entrance_of_module(issuer_of_module: Issuer, with_issuer: WithIssuer) -> AsyncIterator[Entrance]:
    clock = Clock(NOW)
    app = create_app(with_issuer(issuer_of_module), clock=clock)
    async with serve(app, None):
        yield Entrance(app, issuer_of_module, clock)


@pytest.fixture
async def entrance(entrance_of_module: Entrance, issuer: Issuer) -> Entrance:
    """An application that people sign in to at an honest issuer, of which it remembers nothing."""
    await entrance_of_module.app.state.services.auditor.write()  # what is of other tests
    entrance_of_module.clock.now = NOW
    return dataclasses.replace(entrance_of_module, before=entrance_of_module.counts())
