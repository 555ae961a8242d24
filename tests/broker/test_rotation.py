"""A new secret while the old one is still good: two accounts of one device, at the real broker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from api.app import create_app
from api.options import ApiOptions
from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.drift import Account
from sensors.catalogue import Catalogue
from storage.api_keys import generate_key, store_key
from storage.devices import load_credentials
from storage.rotations import end_rotations
from tests.api.answers import problem
from tests.api.conftest import serve
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.broker.conftest import SECRET, Broker, started_with
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


@pytest.fixture(scope="module")
async def client(broker: Broker, city: City) -> AsyncIterator[httpx2.AsyncClient]:
    """Of an API that looks at the broker's accounts by itself every ten minutes only."""
    key = generate_key()
    await store_key(city.owner, key, "test")
    options = dataclasses.replace(ApiOptions(city.database.api_url), retry_seconds=0.05)
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    async with serve(create_app(options, accounts=admin), key) as client:
        yield client


async def register(client: httpx2.AsyncClient, device: str) -> dict[str, Any]:
    body = {"id": device, "kind": "noise", "district": "gate"}
    made = await client.post("/api/v1/devices", json=body)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


async def rotate(client: httpx2.AsyncClient, device: str, grace: str = "P1D") -> dict[str, Any]:
    made = await client.post(f"/api/v1/devices/{device}/secret", json={"grace": grace})
    assert made.status_code == 200, made.text
    answer: dict[str, Any] = made.json()
    return answer


def entering(broker: Broker, account: dict[str, Any]) -> contextlib.AbstractContextManager[Client]:
    return connected(broker.port, account["user"], account["secret"], client_id=account["id"])


def refused(broker: Broker, account: dict[str, Any]) -> bool:
    client = Client(account["id"], account["user"], account["secret"])
    try:
        return client.connect(broker.port) == NOT_AUTHORIZED
    finally:
        client.close()


async def is_over(city: City, device: str) -> None:
    """Let the grace of a device be over."""
    await city.owner.execute(
        "UPDATE alatau.device_credential SET until = now() - interval '1s' "
        "WHERE until IS NOT NULL AND device_id = (SELECT device_id FROM alatau.device WHERE id = $1)",
        device,
    )


async def test_both_secrets_are_good_and_the_newer_connection_ends_the_older(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    old = await register(client, "lamp-1")
    new = await rotate(client, "lamp-1")
    assert (old["user"], new["user"], old["secret"] == new["secret"]) == ("lamp-1", "lamp-1~2", False)
    with entering(broker, old) as before:
        assert before.publish("alatau/v1/lamp-1/telemetry", b"{}") == ALLOWED
        with entering(broker, new) as after:
            assert before.left.wait(10)
            assert after.publish("alatau/v1/lamp-1/telemetry", b"{}") == ALLOWED
            assert after.publish("alatau/v1/lamp-1~2/telemetry", b"{}") == NOT_AUTHORIZED
    with entering(broker, old):
        pass


async def test_the_second_account_is_let_in_with_the_device_s_client_id_alone(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    await register(client, "lamp-2")
    new = await rotate(client, "lamp-2")
    for thief in ("lamp-1", "lamp-2~2", ""):
        assert refused(broker, {**new, "id": thief})


async def test_the_old_secret_ends_when_the_grace_is_over(broker: Broker, client: httpx2.AsyncClient) -> None:
    old = await register(client, "lamp-3")
    with entering(broker, old) as device:
        new = await rotate(client, "lamp-3", "PT0.3S")
        assert await asyncio.to_thread(device.left.wait, 10)
    assert refused(broker, old)
    with entering(broker, new):
        pass
    shown = (await client.get("/api/v1/devices/lamp-3")).json()
    assert shown["old_secret_until"] is None


async def test_a_rotation_under_way_is_shown_without_a_secret_and_is_not_begun_twice(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    await register(client, "lamp-4")
    new = await rotate(client, "lamp-4")
    shown = (await client.get("/api/v1/devices/lamp-4")).json()
    assert shown["old_secret_until"] == new["old_secret_until"] is not None
    assert not {"secret", "user"} & set(shown)
    again = await client.post("/api/v1/devices/lamp-4/secret", json={"grace": "P1D"})
    assert "without a grace" in problem(again, 409, "rotation-under-way")["detail"]
    with entering(broker, new):
        pass


async def test_the_account_of_a_certificate_is_not_rotated_away(
    city: City, client: httpx2.AsyncClient
) -> None:
    await register(client, "shown")
    await city.owner.execute(
        "INSERT INTO alatau.device_certificate (serial, device, device_id, fingerprint, expires_at) "
        "SELECT 'a', id, device_id, 'b', now() + interval '1 day' FROM alatau.device WHERE id = 'shown'"
    )
    answer = await client.post("/api/v1/devices/shown/secret", json={"grace": "P1D"})
    assert "certificate" in problem(answer, 409, "rotation-under-way")["detail"]
    assert (await rotate(client, "shown", "PT0S"))["user"] == "shown"


async def test_the_accounts_of_a_device_alternate(
    broker: Broker, city: City, client: httpx2.AsyncClient
) -> None:
    accounts = [await register(client, "lamp-5")]
    for _ in range(3):
        accounts.append(await rotate(client, "lamp-5"))
        await is_over(city, "lamp-5")
    assert [one["user"] for one in accounts] == ["lamp-5", "lamp-5~2", "lamp-5", "lamp-5~2"]
    with entering(broker, accounts[-1]):
        pass
    assert refused(broker, accounts[1])


async def test_a_secret_now_ends_both_before_it(broker: Broker, client: httpx2.AsyncClient) -> None:
    accounts = [await register(client, "lamp-6"), await rotate(client, "lamp-6")]
    with entering(broker, accounts[1]) as device:
        now = await rotate(client, "lamp-6", "PT0S")
        assert device.left.wait(10)
    assert all(refused(broker, one) for one in accounts)
    assert (now["user"], now["old_secret_until"]) == ("lamp-6", None)
    with entering(broker, now):
        pass


async def test_disabling_and_deleting_are_of_both_accounts(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    accounts = [await register(client, "lamp-7"), await rotate(client, "lamp-7")]
    assert (await client.post("/api/v1/devices/lamp-7/disable")).status_code == 200
    assert all(refused(broker, one) for one in accounts)
    assert (await client.post("/api/v1/devices/lamp-7/enable")).status_code == 200
    for one in accounts:
        with entering(broker, one):
            pass
    assert (await client.delete("/api/v1/devices/lamp-7")).status_code == 204
    assert all(refused(broker, one) for one in accounts)
    left = await broker.admin.list_devices()
    assert not [account for account in left if account.client_id == "lamp-7"]


async def test_a_device_that_is_kept_out_gets_no_way_in_by_a_rotation(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    await register(client, "lamp-8")
    await client.post("/api/v1/devices/lamp-8/disable")
    assert refused(broker, await rotate(client, "lamp-8"))


@pytest.mark.parametrize(
    ("grace", "told"), [("P31D", "P30D"), ("-PT1S", "P30D"), ("a day", "ISO 8601"), ("P1M", "ISO 8601")]
)
async def test_a_grace_that_is_none_is_refused_with_what_is_right(
    client: httpx2.AsyncClient, grace: str, told: str
) -> None:
    answer = await client.post("/api/v1/devices/lamp-1/secret", json={"grace": grace})
    assert told in problem(answer, 422, "invalid-body")["detail"]


async def test_the_broker_s_file_has_the_accounts_whose_time_is_not_over(
    broker: Broker, city: City, client: httpx2.AsyncClient
) -> None:
    await register(client, "lamp-9")
    await rotate(client, "lamp-9")
    mine = {"lamp-9", "lamp-9~2"}
    assert set(await load_credentials(city.owner)) >= mine
    await started_with(broker, *mine)
    found = [account for account in await broker.admin.list_devices() if account.username in mine]
    assert found == [Account(name, "lamp-9", is_disabled=False) for name in sorted(mine)]
    # Nobody has ended it yet, and still it is none.
    async with city.owner.transaction():
        await is_over(city, "lamp-9")
        assert mine & set(await load_credentials(city.owner)) == {"lamp-9~2"}
        assert await end_rotations(city.owner, 10) == ["lamp-9"]
