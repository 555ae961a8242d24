"""What the API does about the broker: it holds the accounts against the device table, and says whom it sent away."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from api.app import create_app
from api.options import ApiOptions
from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.drift import Account, Deviation
from broker.refusals import LOG_TOPIC, Why
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.audit import Outcome, list_events
from storage.broker_restarts import hear_requests
from storage.database import connect
from storage.devices import Credential, disable_device, register_devices
from tests.broker.clients import NOT_AUTHORIZED, Client
from tests.broker.conftest import SECRET, Broker, started_with, write_files
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

CREDENTIAL = Credential(b"salt", b"hash", 101)


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


async def test_the_accounts_are_those_of_the_table_after_each_connect(broker: Broker, city: City) -> None:
    await city.owner.execute("DELETE FROM alatau.device")
    names = ["right", "disabled", "missing"]
    specs = [DeviceSpec(name, "noise", "gate") for name in (*names, "without-secret")]
    await register_devices(city.owner, specs, city.catalogue, dict.fromkeys(names, CREDENTIAL))
    await disable_device(city.owner, "disabled")
    await started_with(broker, "right", "disabled", "unknown")
    registry = CollectorRegistry()
    options = dataclasses.replace(ApiOptions(city.database.api_url), retry_seconds=0.05)
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    app = create_app(options, accounts=admin, registry=registry)

    def repaired() -> float:
        return registry.get_sample_value("alatau_api_accounts_repaired_total") or 0.0

    async def until_repaired(count: int) -> None:
        async with asyncio.timeout(30):
            while repaired() < count:  # noqa: ASYNC110 - the metric tells nobody
                await asyncio.sleep(0.02)

    async with app.router.lifespan_context(app):
        await until_repaired(2)
        wanted = [
            Account("disabled", "disabled", is_disabled=True),
            Account("right", "right", is_disabled=False),
        ]
        assert await broker.admin.list_devices() == wanted
        found = {
            deviation: registry.get_sample_value("alatau_api_account_drift", {"deviation": deviation.value})
            for deviation in Deviation
        }
        assert found == {
            **dict.fromkeys(Deviation, 0),
            **dict.fromkeys((Deviation.MISSING, Deviation.UNKNOWN, Deviation.ENABLED), 1),
        }
        # Somebody restores an old file.
        await started_with(broker, "right", "disabled")
        await until_repaired(3)
        assert await broker.admin.list_devices() == wanted
    out = Client("disabled", "disabled", SECRET)
    assert out.connect(broker.port) == NOT_AUTHORIZED
    out.close()


async def test_a_registration_in_progress_is_not_taken_for_a_deviation(broker: Broker, city: City) -> None:
    await started_with(broker)
    registry = CollectorRegistry()
    options = dataclasses.replace(ApiOptions(city.database.api_url), retry_seconds=0.05)
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    app = create_app(options, accounts=admin, registry=registry)
    spec = DeviceSpec("coming", "noise", "gate")
    async with city.owner.transaction():
        await register_devices(city.owner, [spec], city.catalogue, {"coming": CREDENTIAL})
        await broker.admin.add_device("coming", SECRET)
        context = app.router.lifespan_context(app)
        await context.__aenter__()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(30):
            while not await city.owner.fetchval(waiting):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)
    try:
        async with asyncio.timeout(30):
            while await city.owner.fetchval(waiting):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert "coming" in {account.username for account in await broker.admin.list_devices()}
    finally:
        await context.__aexit__(None, None, None)


async def test_many_missing_accounts_are_asked_for_of_who_keeps_the_broker(
    broker: Broker, city: City
) -> None:
    await city.owner.execute("DELETE FROM alatau.device")
    await started_with(broker)
    names = [f"bulk-{number}" for number in range(1400)]
    specs = [DeviceSpec(name, "noise", "gate") for name in names]
    await register_devices(city.owner, specs, city.catalogue, dict.fromkeys(names, CREDENTIAL))
    keeper = await connect(city.database.owner_url, application="test")
    try:
        heard = asyncio.Event()
        await hear_requests(keeper, heard.set)
        admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
        app = create_app(ApiOptions(city.database.api_url), accounts=admin, registry=CollectorRegistry())
        async with app.router.lifespan_context(app), asyncio.timeout(30):
            await heard.wait()
    finally:
        await keeper.close()
        await city.owner.execute("DELETE FROM alatau.device")


async def test_a_broker_that_does_not_let_us_hear_whom_it_sends_away_is_noticed(
    broker: Broker, city: City
) -> None:
    write_files(broker.options)
    file = broker.options.data_dir / "dynamic-security.json"
    accounts = orjson.loads(await asyncio.to_thread(file.read_bytes))
    (role,) = (role for role in accounts["roles"] if role["rolename"] == Service.ADMIN)
    for rule in role["acls"]:
        rule["allow"] &= rule["topic"] != LOG_TOPIC
    await asyncio.to_thread(file.write_bytes, orjson.dumps(accounts))
    await broker.server.restart()
    registry = CollectorRegistry()
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    app = create_app(ApiOptions(city.database.api_url), accounts=admin, registry=registry)
    with capture_logs() as logs:
        async with app.router.lifespan_context(app):
            await admin.connected(0)
            assert await admin.count_accounts() == len(Service)  # all else works
    errors = [line for line in logs if line["log_level"] == "error"]
    assert [line["reason"] for line in errors] == ["Not authorized"]
    assert "new files" in errors[0]["event"]
    assert registry.get_sample_value("alatau_api_broker_log_refusals_total") == 1


def refused(port: int, client_id: str, username: str | None, password: str | None) -> None:
    """Try to get in."""
    client = Client(client_id, username, password)
    assert client.connect(port) == NOT_AUTHORIZED
    client.close()


def send(port: int, packet: bytes) -> None:
    """Send something that is no MQTT, and wait until the broker has ended the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(packet)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass


@contextlib.contextmanager
def taken_up(port: int, most: int) -> Iterator[None]:
    """Open connections until the broker takes no more."""
    with contextlib.ExitStack() as stack:
        for _ in range(most):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert one.recv(1) == b""
        yield


async def test_whom_the_broker_sends_away_is_counted_and_on_record(broker: Broker, city: City) -> None:
    options = dataclasses.replace(broker.options, max_connections=10)
    await city.owner.execute("DELETE FROM alatau.device")
    specs = [DeviceSpec("device", "noise", "gate")]
    await register_devices(city.owner, specs, city.catalogue, {"device": CREDENTIAL})
    write_files(options, ["device"])
    before = await broker.admin.connected(0)
    await broker.server.restart()
    await broker.admin.connected(before)
    registry = CollectorRegistry()
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    app = create_app(ApiOptions(city.database.api_url), accounts=admin, registry=registry)

    def counted() -> dict[Why, float | None]:
        return {
            why: registry.get_sample_value("alatau_api_broker_dismissals_total", {"reason": why.value})
            for why in Why
        }

    async with app.router.lifespan_context(app):
        await admin.connected(0)
        refused(broker.port, "anonymous", None, None)
        for _ in range(3):
            refused(broker.port, "device", "device", "wrong")
        refused(broker.port, "thief", "device", SECRET)
        send(broker.port, b"GET / HTTP/1.1\r\n\r\n")
        send(broker.port, b"\x10\xff\xff\xff\x7f")
        with broker.connected("device") as device:
            assert device.publish("alatau/v1/device/telemetry", b"x" * 262_144) == "gone"
        with taken_up(broker.port, options.max_connections):
            pass
        async with asyncio.timeout(10):
            while sum(value or 0 for value in counted().values()) < 10:  # noqa: ASYNC110 - the metric tells nobody
                await asyncio.sleep(0.02)
        assert counted() == {
            Why.NOT_AUTHORIZED: 5,
            Why.PROTOCOL: 1,
            Why.MALFORMED: 1,
            Why.TOO_LARGE: 1,
            Why.TOO_MANY: 2,  # beside two of administrators
        }
    events = await list_events(city.owner, action="connect to broker", outcome=Outcome.REFUSED)
    times: dict[tuple[str, str | None], int] = {}
    for event in (recorded.event for recorded in events):
        times[event.actor, event.subject] = times.get((event.actor, event.subject), 0) + event.times
    nobody = "a client without a name"
    assert times == {
        ("client anonymous", "not_authorized"): 1,
        ("client device", "not_authorized"): 3,
        ("client thief", "not_authorized"): 1,
        ("client device", "too_large"): 1,
        (nobody, "protocol"): 1,
        (nobody, "malformed"): 1,
        (nobody, "too_many"): 2,
    }
