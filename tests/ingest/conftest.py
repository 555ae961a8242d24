"""A worker on the real servers, and a device's side of the wire."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.accounts import Service
from broker.secrets import generate_secret, hash_secret
from cli.local import LocalStack
from ingest.options import IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.database import connect
from storage.devices import Credential, register_devices
from tests.conftest import Database

_numbers = itertools.count(1)
# What workers that run as processes are called at the broker.
_WORKERS = ("alatau-ingest-0", "alatau-ingest-1")


class Device:
    """A client as firmware has one: paho-mqtt, MQTT 5, QoS 1."""

    def __init__(self, port: int, username: str, password: str, client_id: str = "") -> None:
        self.id = username
        self.refused: list[str] = []
        self.messages: list[tuple[str, bytes]] = []
        self.properties: list[Any] = []  # of each message
        self._arrived = threading.Condition()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id or username, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(username, password)
        self.client.on_publish = self._on_publish
        self.client.on_message = self._on_message
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        connected = threading.Event()
        self.client.on_connect = lambda *_: connected.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert connected.wait(10)

    def _on_publish(self, _client: Any, _data: Any, _mid: int, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.refused.append(str(reason))

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._arrived:
            self.properties.append(message.properties)
            self.messages.append((message.topic, bytes(message.payload)))
            self._arrived.notify_all()

    def subscribe(self, topic: str) -> None:
        self.client.subscribe(topic, qos=1)
        assert self._subscribed.wait(10)

    def publish(self, payload: bytes | dict[str, Any] | list[Any], device: str = "", topic: str = "") -> None:
        """Publish and wait for the broker's acknowledgement."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        info = self.client.publish(topic or f"alatau/v1/{device or self.id}/telemetry", body, qos=1)
        info.wait_for_publish(10)

    def next_message(self, count: int = 1) -> list[tuple[str, bytes]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.messages) >= count, 10)
            return self.messages[:count]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@dataclasses.dataclass(slots=True)
class Rig:
    """Everything a test of ingest touches."""

    stack: LocalStack
    database: Database
    connection: asyncpg.Connection
    catalogue: Catalogue
    devices: list[Device] = dataclasses.field(default_factory=list)
    sessions: list[str] = dataclasses.field(default_factory=list)

    def options(self, **changes: Any) -> IngestOptions:
        session = SessionOptions(
            "127.0.0.1",
            self.stack.ports.mqtt,
            Service.INGEST,
            self.stack.secrets.services[Service.INGEST],
            client_id=f"ingest-{next(_numbers)}",
        )
        self.sessions.append(session.client_id)
        return IngestOptions(
            **{
                "database_url": self.database.ingest_url,
                "session": session,
                "latest_interval_seconds": 0.1,
                **changes,
            }
        )

    @contextlib.asynccontextmanager
    async def worker(self, options: IngestOptions | None = None) -> AsyncIterator[Ingest]:
        """Run a worker, subscribed when the block begins, drained when it has ended."""
        options = options or self.options()
        ingest, stop = Ingest(options), asyncio.Event()
        task = asyncio.create_task(ingest.run(stop), name="test.ingest")
        try:
            await self.until(lambda: ingest.readiness()[0] or task.done())
            yield ingest
        finally:
            # What the broker has acknowledged to a device is on its way to the worker: the system may hold it until
            # what went before is confirmed, 40 ms at most, and the worker looks again soon.
            await asyncio.sleep(0.06 + 4 * options.session.gather_seconds)
            stop.set()
            await task

    async def until(self, is_true: Callable[[], bool], seconds: float = 15) -> None:
        """Wait for something in this process; fail when it does not come."""
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline, "it did not come in time"
            await asyncio.sleep(0.01)

    async def until_settled(self, ingest: Ingest, messages: int) -> None:
        """Wait until a worker has acknowledged so many messages, and told whom it had to tell."""
        metrics = ingest.metrics
        await self.until(lambda: metrics.acknowledged._value.get() >= messages)
        await self.until(lambda: metrics.in_flight._value.get() == 0)

    async def until_sql(self, query: str, *arguments: Any, seconds: float = 15) -> Any:
        """Wait for a query to return something true, and return it."""
        deadline = time.monotonic() + seconds
        while not (value := await self.connection.fetchval(query, *arguments)):
            assert time.monotonic() < deadline, f"not in time: {query}"
            await asyncio.sleep(0.01)
        return value

    async def register(self, kind: str = "air_quality") -> tuple[str, str]:
        """Register a device in the database and at the broker; return its id and its secret."""
        name, secret = f"test-{next(_numbers)}", generate_secret()
        hashed = hash_secret(secret)
        spec = DeviceSpec(name, kind, "gate")
        credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
        await register_devices(self.connection, [spec], self.catalogue, {name: credential})
        async with self.stack.admin as admin:
            await admin.add_device(name, secret)
        return name, secret

    async def add_device(self, kind: str = "air_quality") -> Device:
        """Register a device, and connect it."""
        name, secret = await self.register(kind)
        device = await asyncio.to_thread(Device, self.stack.ports.mqtt, name, secret)
        self.devices.append(device)
        return device

    async def gateway(self) -> Device:
        """Connect the account that may speak for any device."""
        account = Service.SIMULATOR
        device = await asyncio.to_thread(
            Device, self.stack.ports.mqtt, account, self.stack.secrets.services[account]
        )
        self.devices.append(device)
        return device

    async def number_of(self, device: Device) -> int:
        number = await self.connection.fetchval(
            "SELECT device_id FROM alatau.device WHERE id = $1", device.id
        )
        assert isinstance(number, int)
        return number

    async def rows(self, device: Device, kind: str = "air_quality") -> list[asyncpg.Record]:
        return await self.connection.fetch(
            f'SELECT * FROM reading."{kind}" WHERE device_id = $1 ORDER BY time',  # noqa: S608
            await self.number_of(device),
        )

    async def letters(self, device: Device) -> list[asyncpg.Record]:
        return await self.connection.fetch(
            "SELECT * FROM alatau.dead_letter WHERE topic LIKE $1 ORDER BY dead_letter_id", f"%/{device.id}/%"
        )

    def forget_sessions(self) -> None:
        """Have the broker forget the workers of this test, which would get all that later ones publish."""
        account = Service.INGEST
        for client_id in (*self.sessions, *_WORKERS):
            client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
            client.username_pw_set(account, self.stack.secrets.services[account])
            connected = threading.Event()
            client.on_connect = lambda *_, connected=connected: connected.set()
            deadline = time.monotonic() + 30
            while not connected.is_set():
                # A worker whose parent was killed may still be at it.
                assert time.monotonic() < deadline
                client.connect("127.0.0.1", self.stack.ports.mqtt, clean_start=True)
                client.loop_start()
                connected.wait(5)
                client.disconnect()
                client.loop_stop()


@pytest.fixture
async def rig(local_stack: LocalStack, database: Database, catalogue: Catalogue) -> AsyncIterator[Rig]:
    connection = await connect(database.owner_url, application="test")
    rig = Rig(local_stack, database, connection, catalogue)
    yield rig
    for device in rig.devices:
        await asyncio.to_thread(device.close)
    await rig.connection.close()
    await asyncio.to_thread(rig.forget_sessions)
