from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any, Self

import httpx2
import orjson
import pytest

from broker.drift import Account, Deviation, Drift
from broker.errors import BrokerError
from broker.refusals import Dismissal
from broker.snippets import Language
from cli.certificates import CertificateStore
from cli.local import LocalStack
from sensors.accounts import client_id_of, user_names
from sensors.times import to_microseconds
from storage.corrections import Correction, Delete, correct
from storage.devices import load_credentials
from tests.api.answers import NOW, every_page, fetch, problem
from tests.api.conftest import DEVICES, Served
from tests.cities import City


class Accounts:
    """The broker as a dictionary of secrets by user name; it fails if told to.

    Nobody compares it with the table, because it never connects.
    """

    def __init__(self, error: BrokerError | None = None) -> None:
        self.error = error
        self.added: dict[str, str] = {}
        self.disabled: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def _fail_if_told(self) -> None:
        if self.error:
            raise self.error

    async def add_device(self, username: str, secret: str) -> None:
        self._fail_if_told()
        self.added[username] = secret

    async def add_devices(self, devices: Sequence[tuple[str, str]]) -> None:
        self._fail_if_told()
        self.added.update(devices)

    async def delete_accounts(self, usernames: Sequence[str]) -> None:
        self._fail_if_told()
        for username in usernames:
            self.added.pop(username, None)
            self.disabled.discard(username)

    async def disable_device(self, device: str) -> None:
        self._fail_if_told()
        self.disabled |= set(user_names(device)) & set(self.added)

    async def enable_device(self, device: str) -> None:
        self._fail_if_told()
        self.disabled -= set(user_names(device))

    async def delete_device(self, device: str) -> None:
        await self.delete_accounts(user_names(device))

    def watch(self, _on_dismissal: Callable[[Dismissal], None], _on_deaf: Callable[[str], None]) -> None:
        return None

    async def connected(self, _after: int) -> int:
        await asyncio.Event().wait()
        return 0

    async def list_devices(self) -> list[Account]:
        return [Account(name, client_id_of(name), name in self.disabled) for name in self.added]

    async def repair(self, drift: Drift) -> int:
        for device in drift[Deviation.UNKNOWN]:
            self.added.pop(device)
        self.disabled |= set(drift[Deviation.ENABLED])
        self.disabled -= set(drift[Deviation.DISABLED])
        return sum(len(devices) for deviation, devices in drift.items() if deviation != Deviation.MISSING)


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> pathlib.Path:
    """The certificate of an authority."""
    store = CertificateStore(tmp_path)
    store.ensure_authority(dt.datetime.now(dt.UTC))
    return store.authority_file


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
        "disabled": False,
        "old_secret_until": None,
        "status": None,
        "stored_through": None,
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
    application: Served, city: City, authority: pathlib.Path
) -> None:
    accounts = Accounts()
    told = {"mqtt_url": "mqtts://broker.city:8884", "mqtt_ca": str(authority)}
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
    assert (options["-u"], options["-P"]) == (device["user"], device["secret"]) == ("new-1", device["secret"])
    assert (options["-h"], options["-p"], options["--cafile"]) == ("broker.city", "8884", "ca.pem")
    assert tuple(orjson.loads(options["-m"])) == city.catalogue.kind_of["air_quality"].columns
    assert (device["broker"], device["topic"]) == (told["mqtt_url"], options["-t"])
    assert [one["language"] for one in device["snippets"]] == list(Language)
    assert device["snippets"][0]["text"] == device["try"]


async def test_the_certificate_that_devices_trust_is_where_the_answer_says(
    application: Served, authority: pathlib.Path
) -> None:
    told = {"mqtt_url": "mqtts://broker.city", "mqtt_ca": str(authority)}
    async with application(accounts=Accounts(), **told) as client:
        device = (await client.post("/api/v1/devices", json=body("new-6"))).json()
        answer = await client.get(device["authority"])
        assert answer.content == await asyncio.to_thread(authority.read_bytes)
        assert answer.headers["content-disposition"] == 'attachment; filename="ca.pem"'
        await asyncio.to_thread(authority.unlink)
        unread = await client.post("/api/v1/devices", json=body("new-7"))
        assert "ALATAU_MQTT_CA" in problem(unread, 503, "unavailable")["detail"]
        problem(await client.get("/api/v1/devices/new-7"), 404, "not-found")


async def test_without_an_authority_of_its_own_there_is_no_certificate(application: Served) -> None:
    async with application(accounts=Accounts(), mqtt_url="mqtts://broker.city") as client:
        assert (await client.post("/api/v1/devices", json=body("new-8"))).json()["authority"] is None
        problem(await client.get("/api/v1/broker/ca.pem"), 404, "not-found")


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


async def test_a_disabled_device_is_shown_so_until_it_is_enabled(application: Served, city: City) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        await client.post("/api/v1/devices", json=body("life-1"))
        for _ in range(2):  # once more changes nothing
            disabled = await client.post("/api/v1/devices/life-1/disable")
            assert (disabled.status_code, disabled.json()["disabled"]) == (200, True)
        assert accounts.disabled == {"life-1"}
        assert (await load_credentials(city.owner))["life-1"].is_disabled
        enabled = await client.post("/api/v1/devices/life-1/enable")
        assert (enabled.status_code, enabled.json()["disabled"]) == (200, False)
        assert (await fetch(client, "devices/life-1"))["disabled"] is False
    assert accounts.disabled == set()


async def test_a_new_secret_replaces_the_old_one(application: Served, city: City) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        old = (await client.post("/api/v1/devices", json=body("life-2"))).json()["secret"]
        stored = (await load_credentials(city.owner))["life-2"]
        answer = (await client.post("/api/v1/devices/life-2/secret")).json()
    assert accounts.added == {"life-2": answer["secret"]}
    assert answer["secret"] != old
    assert answer["secret"] in answer["try"]
    assert (await load_credentials(city.owner))["life-2"] != stored


async def test_a_rotation_is_on_record_with_its_grace(application: Served, city: City) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        await client.post("/api/v1/devices", json=body("turned"))
        answer = (await client.post("/api/v1/devices/turned/secret", json={"grace": "PT1H"})).json()
        assert set(accounts.added) == {"turned", "turned~2"}
        assert f"-i turned -u 'turned~2' -P {answer['secret']}" in answer["try"]
    detail = await city.owner.fetchval(
        "SELECT detail FROM alatau.audit WHERE subject = 'turned' AND action = 'replace secret'"
    )
    assert detail == {"grace": "PT3600S"}


async def test_a_disabled_device_stays_out_with_its_new_secret(application: Served) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        await client.post("/api/v1/devices", json=body("life-3"))
        await client.post("/api/v1/devices/life-3/disable")
        accounts.disabled.clear()  # as of an account that the broker had to make anew
        assert (await client.post("/api/v1/devices/life-3/secret")).json()["disabled"] is True
    assert accounts.disabled == {"life-3"}


async def test_a_device_without_readings_is_deleted_and_its_id_is_free(application: Served) -> None:
    accounts = Accounts()
    async with application(accounts=accounts) as client:
        await client.post("/api/v1/devices", json=body("life-4"))
        assert (await client.delete("/api/v1/devices/life-4")).status_code == 204
        assert accounts.added == {}
        problem(await client.get("/api/v1/devices/life-4"), 404, "not-found")
        problem(await client.delete("/api/v1/devices/life-4"), 404, "not-found")
        assert (await client.post("/api/v1/devices", json=body("life-4"))).status_code == 201


@pytest.mark.parametrize("kept", ["readings", "latest", "corrections"])
async def test_a_device_that_had_readings_is_not_deleted(application: Served, city: City, kept: str) -> None:
    name, accounts = f"measured-{kept}", Accounts()
    async with application(accounts=accounts) as client:
        await client.post("/api/v1/devices", json=body(name))
        number = await city.owner.fetchval("SELECT device_id FROM alatau.device WHERE id = $1", name)
        city.number[name] = number
        await city.write("air_quality", [(name, NOW, {"pm2_5": 1.0})])
        if kept == "corrections":
            end = to_microseconds(NOW) + 1
            deletion = Correction(name, end - 1, end, Delete(None), who="test", why="a test's")
            await correct(city.owner, city.catalogue.kind_of["air_quality"], deletion)
        # One of them alone is enough: readings grow old, and latest values are written a moment after them.
        if kept != "latest":
            await city.owner.execute("DELETE FROM alatau.latest WHERE device_id = $1", number)
        if kept != "readings":
            await city.owner.execute("DELETE FROM reading.air_quality WHERE device_id = $1", number)
        document = problem(await client.delete(f"/api/v1/devices/{name}"), 409, "has-readings")
        assert f"/api/v1/devices/{name}/disable" in document["detail"]
        assert (await client.get(f"/api/v1/devices/{name}")).status_code == 200
    assert name in accounts.added


CHANGES = [("POST", "/disable"), ("POST", "/enable"), ("POST", "/secret"), ("DELETE", "")]


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_change_that_the_broker_refused_is_not_in_the_database_and_not_on_record(
    application: Served, city: City, method: str, path: str
) -> None:
    accounts, name = Accounts(), f"refused{path.replace('/', '-')}"
    async with application(accounts=accounts) as client:
        await client.post("/api/v1/devices", json=body(name))
        before = (await load_credentials(city.owner))[name]
        accounts.error = BrokerError("no broker at 127.0.0.1:1; start it")
        response = await client.request(method, f"/api/v1/devices/{name}{path}")
        assert "start it" in problem(response, 503, "unavailable")["detail"]
        assert (await load_credentials(city.owner))[name] == before
    assert await _recorded(city, name) == ["register device"]


async def test_every_change_is_on_record(application: Served, city: City) -> None:
    async with application(accounts=Accounts()) as client:
        await client.post("/api/v1/devices", json=body("recorded"))
        for method, path in CHANGES:
            answer = await client.request(method, f"/api/v1/devices/recorded{path}")
            assert answer.status_code < 300, answer.text
    acts = ["register device", "disable device", "enable device", "replace secret", "delete device"]
    assert await _recorded(city, "recorded") == acts


async def _recorded(city: City, device: str) -> list[str]:
    rows = await city.owner.fetch(
        "SELECT action FROM alatau.audit WHERE subject = $1 ORDER BY audit_id", device
    )
    return [row["action"] for row in rows]


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_device_that_is_not_there_is_not_changed(application: Served, method: str, path: str) -> None:
    async with application(accounts=Accounts()) as client:
        document = problem(await client.request(method, f"/api/v1/devices/air1{path}"), 404, "not-found")
    assert document["nearest"] == "air-1"
