"""The city that the dashboard's tests look at: everything of it in this process, but the servers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from api.app import ApiOptions, create_app
from broker.accounts import Service
from broker.config import SecureListener
from cli.certificates import CertificateStore, ServerCertificate
from cli.local import LocalStack, Secure
from ingest.options import IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.catalogue import Catalogue, builtin_file
from sensors.fleet import plan_fleet
from sensors.rates import Rate
from sensors.topics import Channel
from simulators.options import SimulateOptions
from simulators.run import run
from stack.ports import free_port
from storage.api_keys import Role
from storage.database import ROLES
from storage.devices import count_simulated_behind
from tests.api.conftest import listen
from tests.api.people import add_person, sign_in_options
from tests.cities import City, open_city
from tests.conftest import Database, broker_beside

DATABASE = "dashboard"
DEVICES = 52  # each kind once in each district
PEOPLE = {"anna": Role.OPERATOR, "vera": Role.VIEWER, "adam": Role.ADMIN}
_HISTORY, _STEP = dt.timedelta(hours=26), dt.timedelta(minutes=10)
_SECONDS = 10.0
_ENDLESS = Rate(1e6, 10**6)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A broker of our own, with TLS, beside the database that all share; ``authority`` is whom devices trust,
    ``base_map`` where the API looks for one."""

    stack: LocalStack
    mqtts_port: int
    authority: pathlib.Path
    base_map: pathlib.Path

    @classmethod
    def beside(cls, shared: LocalStack, directory: pathlib.Path) -> Place:
        """Prepare one below a directory of servers, where nobody else publishes."""
        root, now, port = directory / "dashboard", dt.datetime.now(dt.UTC), free_port()
        store = CertificateStore(root / "pki")
        store.ensure_server([], now)
        secure = Secure(
            SecureListener(port, certificates_port=free_port()),
            ServerCertificate(store.server_file, store.server_file),
            store.ensure_authority(now),
        )
        stack = broker_beside(shared, directory, "dashboard", secure)
        return cls(stack, port, store.authority_file, root / "base.pmtiles")


@dataclasses.dataclass(frozen=True, slots=True)
class Town:
    """A running city; ``url`` is where its pages are."""

    url: str
    place: Place
    city: City
    gateway: mqtt.Client

    def publish(self, device: str, payload: Mapping[str, Any] | bytes) -> None:
        """Publish a message for a device, as a gateway does; returns at the broker's acknowledgement."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        topic = self.place.stack.topics.of(device, Channel.TELEMETRY)
        self.gateway.publish(topic, body, qos=1).wait_for_publish(_SECONDS)

    def say(self, device: str, status: str) -> None:
        """Publish a device's status for it."""
        topic = self.place.stack.topics.of(device, Channel.STATUS)
        self.gateway.publish(topic, status, qos=1, retain=True).wait_for_publish(_SECONDS)


@contextlib.asynccontextmanager
async def running(place: Place, shared: LocalStack, catalogue: Catalogue) -> AsyncIterator[Town]:
    """Run broker, ingest and API, with a day of a simulated city behind them."""
    stack = place.stack
    await shared.create_database(DATABASE)
    await stack.apply(builtin_file("alatau"), "alatau.toml", DATABASE)
    database = Database(*(stack.database_url(role, DATABASE) for role in ROLES))
    fleet = plan_fleet(catalogue, DEVICES)
    async with contextlib.AsyncExitStack() as exits:
        exits.push_async_callback(stack.mosquitto.stop)
        await stack.start_broker()
        city = await exits.enter_async_context(open_city(database, catalogue, fleet))
        for name, role in PEOPLE.items():
            await add_person(city, name, role)
        await exits.enter_async_context(_ingest(stack, database))
        await asyncio.to_thread(_simulate, stack, catalogue)
        async with asyncio.timeout(60):
            while await count_simulated_behind(city.owner):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.05)
        url = await exits.enter_async_context(_api(place, database))
        gateway = exits.enter_context(_gateway(stack))
        yield Town(url, place, city, gateway)


@contextlib.asynccontextmanager
async def _ingest(stack: LocalStack, database: Database) -> AsyncIterator[None]:
    account = Service.INGEST
    password = stack.secrets.services[account]
    session = SessionOptions("127.0.0.1", stack.ports.mqtt, account, password, client_id="dashboard")
    ingest = Ingest(IngestOptions(database.ingest_url, session, latest_interval_seconds=0.1))
    stop = asyncio.Event()
    task = asyncio.create_task(ingest.run(stop), name="test.ingest")
    try:
        await _until(lambda: ingest.readiness()[0] or task.done())
        yield
    finally:
        stop.set()
        await task


def _simulate(stack: LocalStack, catalogue: Catalogue) -> None:
    """Send the last day, then one reading of now for each device."""
    account = Service.SIMULATOR
    options = SimulateOptions(
        stack.mqtt_url,
        account,
        stack.secrets.services[account],
        rate=500.0,
        history=_HISTORY,
        history_step=_STEP,
        count=DEVICES,
    )
    run(options, catalogue, plan_fleet(catalogue, DEVICES), lambda _: None, threading.Event())


@contextlib.asynccontextmanager
async def _api(place: Place, database: Database) -> AsyncIterator[str]:
    options = ApiOptions(
        database.api_url,
        pool_size=6,
        mqtt_url=f"mqtts://localhost:{place.mqtts_port}",
        mqtt_ca=str(place.authority),
        map_tiles=place.base_map,
        sign_in=sign_in_options(rate_per_address=_ENDLESS, rate_per_name=_ENDLESS),
        rate_per_key=_ENDLESS,
        rate_per_address=_ENDLESS,
    )
    async with listen(create_app(options, accounts=place.stack.admin)) as url:
        yield url


@contextlib.contextmanager
def _gateway(stack: LocalStack) -> Any:
    account = Service.SIMULATOR
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "dashboard-gateway", protocol=mqtt.MQTTv5)
    client.username_pw_set(account, stack.secrets.services[account])
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", stack.ports.mqtt)
    client.loop_start()
    try:
        assert connected.wait(_SECONDS)
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


async def _until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SECONDS):
        while not is_true():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
