"""The API holds the broker's accounts against the device table."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.options import ApiOptions
from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.drift import Account, Deviation
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.devices import Credential, disable_device, register_devices
from tests.broker.clients import NOT_AUTHORIZED, Client
from tests.broker.conftest import SECRET, Broker, started_with
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
        assert "coming" in {account.device for account in await broker.admin.list_devices()}
    finally:
        await context.__aexit__(None, None, None)
