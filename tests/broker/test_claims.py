"""Devices that register themselves with the token of a batch, at the real broker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api.app import create_app
from api.options import ApiOptions, ClaimOptions
from broker.accounts import Service
from broker.admin import BrokerAdmin
from broker.drift import Account
from broker.secrets import generate_secret
from sensors.catalogue import Catalogue
from sensors.claims import batch_users
from sensors.kinds import DeviceSpec
from storage.api_keys import generate_key, store_key
from storage.claims import Verdict, add_batch, claim_device, load_batch_credentials, revoke_batch
from storage.devices import Credential
from tests.api.answers import problem
from tests.api.conftest import serve
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.broker.conftest import SECRET, Broker
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

STORED = Credential(b"salt", b"hash", 101)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """A batch of the test's own, and the broker that its devices claim themselves at."""

    port: int
    name: str
    token: str

    @property
    def users(self) -> list[str]:
        return batch_users(self.name)

    def entering(self, slot: int = 0, **more: Any) -> contextlib.AbstractContextManager[Client]:
        return connected(self.port, self.users[slot], self.token, **more)

    def is_closed(self) -> bool:
        """Return whether nobody is let in with its token."""
        return all(refused(self.port, user, self.token) for user in (self.users[0], self.users[-1]))

    async def claim(self, slot: int = 0, **claim: Any) -> dict[str, Any]:
        """Claim as a device does, and return the answer."""

        def run() -> Any:
            with self.entering(slot) as client:
                return said(client, self.users[slot], claim)

        answer: dict[str, Any] = await asyncio.to_thread(run)
        return answer


def said(client: Client, user: str, claim: dict[str, Any]) -> Any:
    client.subscribe(f"alatau/v1/{user}/claimed")
    assert client.publish(f"alatau/v1/{user}/claim", json.dumps(claim).encode()) == ALLOWED
    topic, payload = client.messages.get(timeout=10)
    assert topic == f"alatau/v1/{user}/claimed"
    return json.loads(payload)


def refused(port: int, user: str, secret: str, client_id: str = "") -> bool:
    client = Client(client_id or user, user, secret)
    try:
        return client.connect(port) == NOT_AUTHORIZED
    finally:
        client.close()


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(scope="module")
async def client(
    broker: Broker, city: City, registry: CollectorRegistry
) -> AsyncIterator[httpx2.AsyncClient]:
    """Of an API that hears claims."""
    key, url = generate_key(), f"mqtt://127.0.0.1:{broker.port}"
    await store_key(city.owner, key, "installers")
    options = dataclasses.replace(
        ApiOptions(city.database.api_url),
        claims=ClaimOptions(url, Service.CLAIMS, SECRET),
        retry_seconds=0.05,
    )
    app: FastAPI = create_app(options, accounts=BrokerAdmin(url, Service.ADMIN, SECRET), registry=registry)
    async with serve(app, key) as client, asyncio.timeout(60):
        await app.state.claims.listening.wait()
        yield client


async def make(client: httpx2.AsyncClient, broker: Broker, **changes: Any) -> Batch:
    name = f"batch-{next(_numbers)}"
    body = {"name": name, "kind": "noise", "district": "gate", "count": 100, "lifetime": "P1D", **changes}
    made = await client.post("/api/v1/batches", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["users"] == batch_users(name)
    return Batch(broker.port, name, made.json()["token"])


async def shown(client: httpx2.AsyncClient, batch: Batch) -> dict[str, Any]:
    batches: list[dict[str, Any]] = (await client.get("/api/v1/batches")).json()["batches"]
    (found,) = [one for one in batches if one["name"] == batch.name]
    return found


@pytest.fixture(scope="module")
async def batch(client: httpx2.AsyncClient, broker: Broker) -> Batch:
    return await make(client, broker)


# -- as it should be ---------------------------------------------------------------------------------


async def test_a_device_registers_itself_and_is_let_in_with_the_secret_that_it_made(
    broker: Broker, client: httpx2.AsyncClient, batch: Batch, city: City
) -> None:
    secret = generate_secret()
    answer = await batch.claim(5, id="lamp-1", secret=secret, position=[77.0, 43.4], metadata={"pole": 3})
    assert answer == {"id": "lamp-1", "claimed": True}
    with connected(broker.port, "lamp-1", secret) as device:
        assert device.publish("alatau/v1/lamp-1/telemetry", b"{}") == ALLOWED
    device = (await client.get("/api/v1/devices/lamp-1")).json()
    assert (device["kind"], device["district"], device["simulated"]) == ("noise", "gate", False)
    assert (device["position"], device["metadata"]) == ([77.0, 43.4], {"pole": 3.0})
    event = await city.owner.fetchrow("SELECT * FROM alatau.audit WHERE subject = 'lamp-1'")
    assert event is not None
    told = (event["actor"], event["action"], event["outcome"], event["address"])
    assert told == (f"batch {batch.name}", "claim device", "done", batch.users[5])
    row = await city.owner.fetch("SELECT * FROM alatau.claim")
    assert secret not in str(row)


async def test_the_same_claim_again_is_answered_again_and_counts_once(
    client: httpx2.AsyncClient, batch: Batch
) -> None:
    before, claim = (await shown(client, batch))["used"], {"id": "lamp-2", "secret": generate_secret()}
    answers = [await batch.claim(slot, **claim) for slot in range(3)]
    assert answers == [{"id": "lamp-2", "claimed": True}] * 3
    assert (await shown(client, batch))["used"] == before + 1


async def test_the_last_place_closes_the_batch_after_its_answer(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    batch = await make(client, broker, count=1)

    def run() -> Any:
        with batch.entering() as device:
            answer = said(device, batch.users[0], {"id": "lamp-3", "secret": generate_secret()})
            assert device.left.wait(10)
            return answer

    assert (await asyncio.to_thread(run))["claimed"] is True
    assert batch.is_closed()
    found = await shown(client, batch)
    assert (found["used"], found["count"], found["state"]) == (1, 1, "exhausted")


async def test_a_batch_closes_by_itself_when_its_time_is_over(
    broker: Broker, client: httpx2.AsyncClient
) -> None:
    batch = await make(client, broker, lifetime="PT1S")
    with batch.entering() as device:
        assert await asyncio.to_thread(device.left.wait, 10)
    assert batch.is_closed()
    assert (await shown(client, batch))["state"] == "expired"


async def test_a_revoked_batch_is_closed_at_once_and_on_record(
    broker: Broker, client: httpx2.AsyncClient, city: City
) -> None:
    batch = await make(client, broker)
    with batch.entering() as device:
        for _ in range(2):  # once more changes nothing
            answer = await client.delete(f"/api/v1/batches/{batch.name}")
            assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
        assert device.left.wait(10)
    assert batch.is_closed()
    rows = await city.owner.fetch(
        "SELECT action FROM alatau.audit WHERE subject = $1 ORDER BY audit_id", batch.name
    )
    assert [row["action"] for row in rows] == ["add batch", "revoke batch", "revoke batch"]


async def test_the_broker_s_file_has_the_accounts_of_open_batches(
    broker: Broker, client: httpx2.AsyncClient, batch: Batch, city: City
) -> None:
    over = await make(client, broker)
    await client.delete(f"/api/v1/batches/{over.name}")
    stored = await load_batch_credentials(city.owner)
    assert set(batch.users) <= set(stored)
    assert not set(over.users) & set(stored)
    mine = [account for account in await broker.admin.list_devices() if account.username in batch.users]
    assert mine == [Account(user, user, is_disabled=False) for user in batch.users]


# -- refused -----------------------------------------------------------------------------------------


async def test_another_s_claim_of_a_registered_id_is_refused_and_on_record(
    broker: Broker, client: httpx2.AsyncClient, batch: Batch, city: City
) -> None:
    mine = generate_secret()
    await client.post("/api/v1/devices", json={"id": "made", "kind": "noise", "district": "gate"})
    await batch.claim(id="lamp-4", secret=mine)
    for device in ("lamp-4", "made"):
        answer = await batch.claim(id=device, secret=generate_secret())
        assert (answer["claimed"], answer["reason"]) == (False, "taken")
    with connected(broker.port, "lamp-4", mine):
        pass
    # It was given another secret since: what an image or a log still has of the first claim opens nothing.
    await client.post("/api/v1/devices/lamp-4/secret")
    assert (await batch.claim(id="lamp-4", secret=mine))["reason"] == "taken"
    async with asyncio.timeout(10):
        while not await city.owner.fetchval(  # noqa: ASYNC110 - refusals are written together
            "SELECT count(*) FROM alatau.audit WHERE subject = 'made' AND outcome = 'refused' AND actor = $1",
            f"batch {batch.name}",
        ):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        ({"id": "lamp-5", "secret": "a" * 40}, "24 random bytes"),
        ({"id": "alatau-ingest", "secret": SECRET}, "is not free"),
        ({"id": "lamp-5"}, "secret"),
        ({"id": "lamp-5", "secret": "0123456789abcdef" * 2, "position": [0, 100]}, "degrees"),
    ],
)
async def test_what_is_no_claim_is_answered_with_what_would_be_right(
    client: httpx2.AsyncClient, batch: Batch, claim: dict[str, Any], told: str
) -> None:
    answer = await batch.claim(**claim)
    assert (answer["claimed"], answer["reason"]) == (False, "invalid")
    assert told in answer["detail"]
    problem(await client.get("/api/v1/devices/lamp-5"), 404, "not-found")


async def test_a_flooded_batch_takes_no_turn_of_another(
    broker: Broker, client: httpx2.AsyncClient, batch: Batch, registry: CollectorRegistry
) -> None:
    flooded = await make(client, broker)

    def flood(attacker: Client) -> None:
        for _ in range(200):
            attacker.client.publish(f"alatau/v1/{flooded.users[3]}/claim", b"nonsense", qos=1)
        attacker.publish(f"alatau/v1/{flooded.users[3]}/claim", b"nonsense")

    with flooded.entering(3) as attacker:
        await asyncio.to_thread(flood, attacker)
        assert (await batch.claim(id="lamp-6", secret=generate_secret()))["claimed"] is True
    assert (registry.get_sample_value("alatau_api_claims_total", {"outcome": "dropped"}) or 0) > 50


async def test_a_place_that_is_gone_is_refused_with_why(city: City) -> None:
    place, day = ("noise", "gate"), dt.timedelta(days=1)
    for name, places, lasting in (("one", 1, day), ("over", 1, dt.timedelta(days=-1)), ("gone", 1, day)):
        assert await add_batch(city.owner, name, place, places, lasting, STORED, "test")
    assert not await add_batch(city.owner, "one", place, 1, day, STORED, "test")
    await revoke_batch(city.owner, "gone")

    async def claim(name: str, device: str) -> Verdict:
        spec = DeviceSpec(device, *place)
        async with city.api.transaction():
            return await claim_device(city.api, name, spec, city.catalogue, SECRET, STORED)

    verdicts = [await claim("one", "first"), await claim("one", "second"), await claim("one", "first")]
    assert verdicts == [Verdict.CLAIMED, Verdict.EXHAUSTED, Verdict.AGAIN]
    assert await claim("over", "third") is Verdict.EXPIRED
    assert await claim("gone", "third") is Verdict.REVOKED
    assert await claim("gone", "first") is Verdict.AGAIN


# -- what the token gives who has it from an image ---------------------------------------------------------


def test_a_token_is_let_in_with_the_client_ids_of_its_batch_alone(broker: Broker, batch: Batch) -> None:
    user = batch.users[0]
    for thief in ("lamp-1", "alatau-ingest-0", batch.users[1]):
        assert refused(broker.port, user, batch.token, thief)
    for other in ("lamp-1", Service.CLAIMS, "alatau-claim-other-00"):
        assert refused(broker.port, other, batch.token)


@pytest.mark.parametrize("channel", ["telemetry", "status", "errors", "claimed", "commands"])
def test_with_a_token_nothing_is_published_but_a_claim(batch: Batch, channel: str) -> None:
    with batch.entering() as attacker:
        for name in (batch.users[0], batch.users[1], "lamp-1"):
            assert attacker.publish(f"alatau/v1/{name}/{channel}", b"forged") == NOT_AUTHORIZED
        for name in (batch.users[1], "lamp-1"):
            assert attacker.publish(f"alatau/v1/{name}/claim", b"forged") == NOT_AUTHORIZED


def test_with_a_token_nothing_is_heard_but_its_own_answers(broker: Broker, batch: Batch) -> None:
    own, other = batch.users[:2]
    with batch.entering() as attacker, connected(broker.port, Service.CLAIMS, SECRET, client_id="d") as desk:
        for topic in (
            "#",
            "alatau/v1/+/claimed",
            "alatau/v1/+/claim",
            "$share/alatau-claims/alatau/v1/+/claim",
        ):
            assert attacker.subscribe(topic) == NOT_AUTHORIZED
        for user in (own, other):
            attacker.subscribe(f"alatau/v1/{user}/claimed")
        assert desk.publish(f"alatau/v1/{other}/claimed", b"private") == ALLOWED
        assert desk.publish(f"alatau/v1/{own}/claimed", b"word") == ALLOWED
        assert attacker.messages.get(timeout=10) == (f"alatau/v1/{own}/claimed", b"word")
        assert {payload for _, payload in attacker.messages.queue} <= {b"word"}


async def test_a_device_claims_nothing_with_its_own_account(broker: Broker) -> None:
    await broker.admin.add_device("curious", SECRET)
    with broker.connected("curious") as device:
        for name in ("curious", "alatau-claim-batch-1-00"):
            assert device.publish(f"alatau/v1/{name}/claim", b"{}") == NOT_AUTHORIZED


@pytest.mark.parametrize("channel", ["telemetry", "status", "claim", "errors", "stored"])
def test_the_account_that_hears_claims_says_nothing_else(broker: Broker, channel: str) -> None:
    with connected(broker.port, Service.CLAIMS, SECRET, client_id="absent") as desk:
        assert desk.publish(f"alatau/v1/absent/{channel}", b"forged") == NOT_AUTHORIZED


# -- over HTTP -------------------------------------------------------------------------------------


async def test_a_token_is_shown_once(client: httpx2.AsyncClient, batch: Batch) -> None:
    listed = await client.get("/api/v1/batches")
    assert batch.token not in listed.text
    assert "token" not in listed.json()["batches"][0]


@pytest.mark.parametrize(
    ("changes", "status", "slug"),
    [
        ({"name": "batch-1"}, 409, "conflict"),
        ({"name": "Lamps"}, 422, "invalid-body"),
        ({"lifetime": "P91D"}, 422, "invalid-body"),
        ({"count": 0}, 422, "invalid-body"),
        ({"kind": "noize"}, 422, "invalid-parameter"),
        ({"district": "gat"}, 422, "invalid-parameter"),
    ],
)
async def test_a_batch_that_is_not_valid_is_refused(
    client: httpx2.AsyncClient, batch: Batch, changes: dict[str, Any], status: int, slug: str
) -> None:
    body = {"name": "new", "kind": "noise", "district": "gate", "count": 1, "lifetime": "P1D"}
    problem(await client.post("/api/v1/batches", json=body | changes), status, slug)


async def test_a_batch_that_is_not_there_is_not_revoked(client: httpx2.AsyncClient) -> None:
    for name in ("nobody", "a%00b"):
        problem(await client.delete(f"/api/v1/batches/{name}"), 404, "not-found")


async def test_where_nobody_hears_claims_the_missing_setting_is_named(broker: Broker, city: City) -> None:
    key = generate_key()
    await store_key(city.owner, key, "other")
    admin = BrokerAdmin(f"mqtt://127.0.0.1:{broker.port}", Service.ADMIN, SECRET)
    body = {"name": "new", "kind": "noise", "district": "gate", "count": 1, "lifetime": "P1D"}
    async with serve(create_app(ApiOptions(city.database.api_url), accounts=admin), key) as client:
        answer = await client.post("/api/v1/batches", json=body)
    assert "ALATAU_BROKER_CLAIMS_PASSWORD" in problem(answer, 503, "unavailable")["detail"]
