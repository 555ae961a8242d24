"""Gateways over HTTP, with the accounts that they get at a running broker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from api.app import ApiOptions, create_app
from broker.accounts import Service
from broker.admin import BrokerAdmin
from cli.speeches import SPEECHES
from sensors.catalogue import Catalogue
from storage.api_keys import generate_key, store_key
from tests.api.answers import problem
from tests.api.conftest import serve
from tests.broker.clients import ALLOWED, connected
from tests.broker.conftest import SECRET, Broker
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

PATH = "/api/v1/gateways"
UPLINK = "v3/air/devices/air-7/up"


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


@pytest.fixture(scope="module")
async def gateways(broker: Broker, city: City) -> AsyncIterator[httpx2.AsyncClient]:
    """Of an API that changes the accounts of the broker."""
    key = generate_key()
    await store_key(city.owner, key, "admin")
    options = ApiOptions(city.database.api_url, speeches=SPEECHES, retry_seconds=0.02)
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    async with serve(create_app(options, accounts=admin), key) as client:
        yield client


async def test_a_gateway_is_let_in_until_it_is_removed(
    gateways: httpx2.AsyncClient, broker: Broker, city: City
) -> None:
    made = await gateways.post(PATH, json={"name": "tts", "format": "things_stack"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    added = made.json()
    secret, configuration = added.pop("secret"), added.pop("configuration")
    assert secret in configuration
    assert (await gateways.get(PATH)).json() == {"gateways": [added]}
    with connected(broker.port, added["user"], secret, client_id=added["client_id"]) as gateway:
        assert gateway.publish(UPLINK, b"{}") == ALLOWED
        again = await gateways.post(PATH, json={"name": "tts", "format": "chirpstack"})
        assert "another" in problem(again, 409, "conflict")["detail"]
        assert (await gateways.delete(f"{PATH}/tts")).status_code == 204
        assert gateway.left.wait(10)
    assert "lists them" in problem(await gateways.delete(f"{PATH}/tts"), 404, "not-found")["detail"]
    acts = await city.owner.fetch("SELECT action FROM alatau.audit WHERE subject = 'tts' ORDER BY audit_id")
    assert [act["action"] for act in acts] == ["add gateway", "remove gateway"]
    assert secret not in str(await city.owner.fetch("SELECT * FROM alatau.audit"))


@pytest.mark.parametrize("format_name", ["chirpstak", "senml"])
async def test_a_format_that_no_gateway_speaks_is_refused(
    gateways: httpx2.AsyncClient, format_name: str
) -> None:
    refused = await gateways.post(PATH, json={"name": "one", "format": format_name})
    assert "chirpstack" in str(problem(refused, 422, "invalid-parameter"))
    assert (await gateways.get(PATH)).json() == {"gateways": []}
