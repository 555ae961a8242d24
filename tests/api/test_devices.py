from __future__ import annotations

import asyncio
import shlex
from typing import Any

import httpx2
import orjson
import pytest

from broker.errors import BrokerError
from cli.local import LocalStack
from storage.devices import load_credentials
from tests.api.answers import every_page, fetch, problem
from tests.api.conftest import DEVICES, Served
from tests.cities import City


class Accounts:
    """The broker as a list; it fails if told to."""

    def __init__(self, error: BrokerError | None = None) -> None:
        self.error = error
        self.added: dict[str, str] = {}

    async def add_device(self, device: str, secret: str) -> None:
        if self.error:
            raise self.error
        self.added[device] = secret


def body(name: str, **changes: Any) -> dict[str, Any]:
    return {"id": name, "kind": "air_quality", "district": "gate", **changes}


async def test_devices_are_listed_page_by_page_each_once(client: httpx2.AsyncClient) -> None:
    pages = await every_page(client, "devices", limit=2)
    ids = [device["id"] for page in pages for device in page["devices"]]
    assert {spec.id for spec in DEVICES} <= set(ids)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("parameters", "ids"),
    [
        ({"kind": "air_quality", "district": "golden"}, ["air-2"]),
        ({"simulated": "true"}, ["sim-1"]),
        ({"kind": "weather"}, ["weather-1"]),
        ({"kind": "water"}, []),
    ],
)
async def test_devices_are_filtered(
    client: httpx2.AsyncClient, parameters: dict[str, str], ids: list[str]
) -> None:
    assert [one["id"] for one in (await fetch(client, "devices", **parameters))["devices"]] == ids


async def test_a_device_is_shown_with_all_that_is_known_of_it(client: httpx2.AsyncClient) -> None:
    device = await fetch(client, "devices/air-1")
    del device["registered_at"]
    assert device == {
        "id": "air-1",
        "kind": "air_quality",
        "district": "gate",
        "position": [77.0, 43.48],
        "interval_seconds": 60.0,
        "installed": "2025-01-01T00:00:00Z",
        "simulated": False,
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("device", "nearest"), [("air1", "air-1"), ("wether-1", "weather-1"), ("a%00b", None)]
)
async def test_a_device_that_is_not_there_is_404_and_the_nearest_named(
    client: httpx2.AsyncClient, device: str, nearest: str | None
) -> None:
    document = problem(await client.get(f"/api/v1/devices/{device}"), 404, "not-found")
    assert document.get("nearest") == nearest


async def test_a_registered_device_is_at_the_database_and_at_the_broker(
    application: Served, city: City
) -> None:
    accounts = Accounts()
    told = {"mqtt_url": "mqtts://broker.city:8884", "mqtt_ca": "/ca.pem"}
    async with application(accounts=accounts, **told) as client:
        new = body("new-1", position=[77.01, 43.47], interval="PT5M", metadata={"pole": 3, "note": "x"})
        response = await client.post("/api/v1/devices", json=new)
        assert response.status_code == 201, response.text
        assert response.headers["location"] == "/api/v1/devices/new-1"
        device = response.json()
        assert (await client.get(response.headers["location"])).json()["interval_seconds"] == 300
    assert accounts.added == {"new-1": device["secret"]}
    assert "new-1" in await load_credentials(city.owner)
    command = shlex.split(device["try"])
    assert command[0] == "mosquitto_pub"
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["-t"] == "alatau/v1/new-1/telemetry"
    assert (options["-u"], options["-P"]) == ("new-1", device["secret"])
    assert (options["-h"], options["-p"], options["--cafile"]) == ("broker.city", "8884", "/ca.pem")
    assert set(orjson.loads(options["-m"])) <= set(city.catalogue.kind_of["air_quality"].columns)


async def test_the_command_of_the_answer_publishes_at_the_real_broker(
    application: Served, local_stack: LocalStack
) -> None:
    async with application(accounts=local_stack.admin, mqtt_url=local_stack.mqtt_url) as client:
        device = (await client.post("/api/v1/devices", json=body("new-5"))).json()
    program, *arguments = shlex.split(device["try"])
    assert program == "mosquitto_pub"
    publish = await asyncio.create_subprocess_exec(
        local_stack.servers.mosquitto_pub, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await publish.communicate()
    assert (publish.returncode, complaint) == (0, b"")


async def test_a_secret_is_shown_once(application: Served) -> None:
    async with application(accounts=Accounts()) as client:
        await client.post("/api/v1/devices", json=body("new-2"))
        assert "secret" not in await fetch(client, "devices/new-2")


async def test_an_id_that_is_taken_is_a_conflict_and_the_broker_is_left_alone(application: Served) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        document = problem(await client.post("/api/v1/devices", json=body("air-1")), 409, "conflict")
    assert "/api/v1/devices/air-1" in document["detail"]
    assert accounts.added == {}


async def test_a_device_that_the_broker_refused_is_not_in_the_database_either(application: Served) -> None:
    accounts = Accounts(BrokerError("no broker at 127.0.0.1:1; start it"))
    async with application(accounts=accounts) as client:
        response = await client.post("/api/v1/devices", json=body("new-3"))
        assert "start it" in problem(response, 503, "unavailable")["detail"]
        assert "retry-after" in response.headers
        problem(await client.get("/api/v1/devices/new-3"), 404, "not-found")
        accounts.error = None
        assert (await client.post("/api/v1/devices", json=body("new-3"))).status_code == 201


async def test_without_an_account_at_the_broker_the_missing_setting_is_named(
    client: httpx2.AsyncClient,
) -> None:
    response = await client.post("/api/v1/devices", json=body("new-4"))
    assert "ALATAU_BROKER_ADMIN_PASSWORD" in problem(response, 503, "unavailable")["detail"]


@pytest.mark.parametrize(
    ("changes", "slug", "nearest"),
    [
        ({"kind": "air_qualty"}, "invalid-parameter", "air_quality"),
        ({"district": "gat"}, "invalid-parameter", "gate"),
        ({"intervall": "PT1M"}, "invalid-body", "interval"),
        ({"id": "with space"}, "invalid-body", None),
        ({"position": [43.4, 177.0]}, "invalid-body", None),
        ({"position": [77.0]}, "invalid-body", None),
        ({"interval": "1 minute"}, "invalid-body", None),
        ({"interval": "PT0S"}, "invalid-body", None),
        ({"installed": "2025"}, "invalid-parameter", None),
        ({"installed": "9999-12-31T23:59:59-10:00"}, "invalid-parameter", None),
        ({"metadata": {"note": "a\0b"}}, "invalid-body", None),
        ({"metadata": {"a\0b": 1}}, "invalid-body", None),
        ({"metadata": {"deep": {}}}, "invalid-body", None),
    ],
)
async def test_a_device_that_is_not_valid_is_refused_with_the_nearest_that_is(
    application: Served, changes: dict[str, Any], slug: str, nearest: str | None
) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        document = problem(await client.post("/api/v1/devices", json=body("bad-1", **changes)), 422, slug)
    assert document.get("nearest") == nearest
    assert accounts.added == {}


async def test_a_body_that_is_no_json_is_refused(application: Served) -> None:
    async with application(accounts=Accounts()) as client:
        response = await client.post(
            "/api/v1/devices", content=b"{", headers={"Content-Type": "application/json"}
        )
    assert "JSON" in problem(response, 422, "invalid-body")["detail"]
