"""A city that the documentation's examples run on, and its API: one for all of them."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
from collections.abc import AsyncIterator, Mapping

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.options import ApiOptions, ClaimOptions, ExportOptions
from broker.accounts import Service
from broker.secrets import hash_secret
from cli.city import SAMPLE_DEVICE
from cli.ingest import status_of
from cli.ingest_http import taking_http
from cli.local import LocalStack
from cli.speeches import SPEECHES
from cli.status import status_server
from cli.transport import Transport
from ingest.decoders.table import FORMATS
from ingest.explaining import Explainer
from ingest.options import IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.catalogue import build_catalogue, builtin_file
from sensors.kinds import DeviceSpec
from stack.ports import free_port
from storage.database import API_ROLE, INGEST_ROLE, connect
from storage.devices import Credential, register_devices
from tests.api.conftest import listen
from tests.docs.markdown import PROJECT


class Documented:
    """The city that the documentation speaks of: the sample device, a worker, an API."""

    def __init__(self, stack: LocalStack, owner: asyncpg.Connection, environment: dict[str, str]) -> None:
        self.stack = stack
        self.owner = owner
        self.environment = environment

    async def add_samples(self, secrets: Mapping[str, str]) -> None:
        """Register devices like the sample one, by their secrets, at the broker too."""
        catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
        hashed = {device: hash_secret(secret) for device, secret in secrets.items()}
        specs = [DeviceSpec(device, "air_quality", "gate") for device in secrets]
        credentials = {
            device: Credential(one.salt, one.hash, one.iterations) for device, one in hashed.items()
        }
        await register_devices(self.owner, specs, catalogue, credentials)
        async with self.stack.admin as admin:
            for device, secret in secrets.items():
                await admin.add_device(device, secret)

    async def count(self) -> int:
        """Return how many readings of the sample device are stored."""
        rows = await self.owner.fetchval(
            "SELECT count(*) FROM reading.air_quality JOIN alatau.device USING (device_id) WHERE id = $1",
            SAMPLE_DEVICE,
        )
        return int(rows)

    async def until_more_than(self, before: int) -> None:
        """Wait until more readings are stored than before."""
        async with asyncio.timeout(15):
            while await self.count() <= before:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)

    async def run(self, *command: str | pathlib.Path, path: str = "") -> str:
        """Run a program with the settings of ``up``, and return what it printed."""
        environment = {**os.environ, **self.environment, "PATH": f"{path}:{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed
        return printed


@pytest.fixture(scope="module")
async def city(local_stack: LocalStack) -> AsyncIterator[Documented]:
    owner = await connect(local_stack.owner_url, application="test")
    secret = local_stack.secrets.sample_device_secret
    session = SessionOptions(
        "127.0.0.1",
        local_stack.ports.mqtt,
        Service.INGEST,
        local_stack.secrets.services[Service.INGEST],
        "ingest-docs",
    )
    port, http_port = free_port(), free_port()
    options = IngestOptions(
        local_stack.database_url(INGEST_ROLE),
        session,
        share="docs",
        formats=FORMATS,
        latest_interval_seconds=0.05,
    )
    ingest, stop = Ingest(options), asyncio.Event()
    run = taking_http(ingest, Transport("127.0.0.1", http_port, [], None))
    task = asyncio.create_task(run(stop), name="test.ingest")
    server = status_server(status_of(ingest), "127.0.0.1", port)
    status = asyncio.create_task(server.serve(), name="test.status")
    async with asyncio.timeout(15):
        while not ingest.readiness()[0]:  # noqa: ASYNC110 - readiness is a question, not an event
            await asyncio.sleep(0.02)
    environment = {
        "ALATAU_API_URL": "http://api",
        "ALATAU_API_KEY": local_stack.secrets.api_key,
        "ALATAU_MQTT_URL": local_stack.mqtt_url,
        "ALATAU_DEVICE_ID": SAMPLE_DEVICE,
        "ALATAU_DEVICE_SECRET": secret,
        "ALATAU_INGEST_PORT": str(port),
        "ALATAU_INGEST_HTTP_PORT": str(http_port),
    }
    documented = Documented(local_stack, owner, environment)
    await documented.add_samples({SAMPLE_DEVICE: secret})
    yield documented
    stop.set()
    server.should_exit = True
    await asyncio.gather(task, status)
    await owner.close()


@pytest.fixture(scope="module")
async def application(city: Documented, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FastAPI]:
    exports = ExportOptions(tmp_path_factory.mktemp("exports"))
    options = ApiOptions(
        city.stack.database_url(API_ROLE),
        exports=exports,
        speeches=SPEECHES,
        claims=ClaimOptions(city.stack.mqtt_url, Service.CLAIMS, city.stack.secrets.services[Service.CLAIMS]),
    )
    app = create_app(options, accounts=city.stack.admin, reader=Explainer(options.topics))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="module")
async def api(application: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.fixture(scope="module")
async def api_url(application: FastAPI) -> AsyncIterator[str]:
    """The API on a socket, for programs."""
    async with listen(application, lifespan="off") as url:
        yield url
