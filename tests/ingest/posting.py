"""A worker's port for devices on the real servers, and who posts to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import uvicorn

from api.serving import ConnectionLimits, serving
from benchmarks.proxy import Proxy, proxy
from broker.secrets import generate_secret, hash_secret
from cli.local import LocalStack
from ingest.decoders.table import FORMATS
from ingest.http.app import HttpPolicy, Reception, create_app
from ingest.service import Ingest
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from stack.ports import free_port
from storage.database import connect
from storage.devices import Credential, register_devices
from tests.conftest import Database
from tests.ingest.conftest import Rig

_numbers = itertools.count(1)
JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(slots=True)
class Station:
    """A device without MQTT."""

    client: httpx2.AsyncClient
    id: str
    secret: str
    user: str = ""

    async def send(self, payload: Any, path: str = "", **headers: str) -> httpx2.Response:
        body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        return await self.client.post(
            path or f"/ingest/v1/{self.id}/telemetry",
            content=body,
            headers=JSON | headers,
            auth=(self.user or self.id, self.secret),
        )


@contextlib.asynccontextmanager
async def port_of(
    ingest: Ingest, policy: HttpPolicy | None = None, limits: ConnectionLimits | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve a worker's port for devices, and lend a client of it."""
    reception, port = Reception(ingest, policy), free_port()
    server = uvicorn.Server(serving(create_app(ingest, reception), limits, port=port))
    task = asyncio.create_task(server.serve(), name="test.http")
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        reception.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """A worker that is shared, with what it can be cut off from the database by."""

    rig: Rig
    ingest: Ingest
    link: Proxy
    client: httpx2.AsyncClient

    async def register(self) -> tuple[str, str]:
        """Register an air quality station, of which the broker needs not know; return its id and its secret."""
        name, secret = f"http-{next(_numbers)}", generate_secret()
        hashed = hash_secret(secret)
        credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
        spec = DeviceSpec(name, "air_quality", "gate")
        await register_devices(self.rig.connection, [spec], self.rig.catalogue, {name: credential})
        return name, secret

    @contextlib.asynccontextmanager
    async def station(
        self, policy: HttpPolicy | None = None, limits: ConnectionLimits | None = None
    ) -> AsyncIterator[Station]:
        """Lend a registered device; with limits of a test's own it is of a port of its own."""
        name, secret = await self.register()
        if policy is None and limits is None:
            yield Station(self.client, name, secret)
            return
        async with port_of(self.ingest, policy, limits) as client:
            yield Station(client, name, secret)

    def ended(self, why: str) -> float:
        """Return how many connections a limit has ended."""
        return float(self.ingest.metrics._http_refused.labels(why)._value.get())

    def told(self, slug: str) -> float:
        """Return how many requests were answered with a problem."""
        return float(self.ingest.metrics.http_problems.labels(slug)._value.get())


@contextlib.asynccontextmanager
async def serving_devices(
    stack: LocalStack, database: Database, catalogue: Catalogue
) -> AsyncIterator[Service]:
    """Run a worker that reads every format, and its port for devices."""
    connection = await connect(database.owner_url, application="test")
    rig = Rig(stack, database, connection, catalogue)
    async with proxy(stack.ports.database) as link:
        url = database.ingest_url.replace(f":{stack.ports.database}/", f":{link.port}/")
        options = rig.options(database_url=url, formats=FORMATS)
        async with rig.worker(options) as ingest, port_of(ingest) as client:
            yield Service(rig, ingest, link, client)
    await connection.close()
    await asyncio.to_thread(rig.forget_sessions)


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and slug of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["type"].removeprefix("urn:alatau:problem:")
