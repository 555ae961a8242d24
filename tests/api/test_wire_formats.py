"""Each format once from its client through the broker and ingest to the API's answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import asyncpg
import httpx2
import pytest

from api.app import ApiOptions, create_app
from broker.accounts import Service
from broker.secrets import generate_secret, hash_secret
from cli.local import LocalStack
from ingest.decoders.table import FORMATS
from ingest.explaining import Explainer
from ingest.options import IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.catalogue import Catalogue
from sensors.gateways import gateway_client_id, gateway_user
from sensors.kinds import DeviceSpec
from sensors.profiles import Field, Profile
from sensors.topics import Topics
from storage.alert_rules import Origin
from storage.api_keys import generate_key, store_key
from storage.database import connect
from storage.devices import Credential, register_devices
from storage.profiles import put_profile
from storage.wire_sources import claim_source, list_sources
from tests.api.conftest import serve
from tests.conftest import Database
from tests.ingest.conftest import Device

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
WHEN, UNIX = NOW.isoformat(), NOW.timestamp()
OWN = [one.name for one in FORMATS if one.is_own]
GATEWAYS = [one.name for one in FORMATS if not one.is_own]
# What is not called as the metric is.
PROFILES = [
    Profile("test-shelly", "", "shelly", "weather", (Field("temperature:0.tC", "temperature"),)),
    Profile("test-sensorthings", "", "sensorthings", "weather", (Field("result", "temperature"),)),
]
Messages = Iterable[tuple[str, Any]]


def gateway_of(wire_format: str) -> str:
    """Return the name of a format's gateway."""
    return wire_format.replace("_", "-")


def device_of(wire_format: str) -> str:
    return f"of-{wire_format}"


def temperature_of(wire_format: str) -> float:
    """Return what the device of a format measures, each another value."""
    return 1.0 + [one.name for one in FORMATS].index(wire_format)


def said(wire_format: str) -> Messages:
    """Return what a device of a format, or its gateway, publishes."""
    value, id_ = temperature_of(wire_format), device_of(wire_format)
    uplink = {"f_port": 2, "decoded_payload": {"temperature": value}, "received_at": WHEN}
    ids = {"device_id": id_, "application_ids": {"application_id": "air"}, "dev_eui": "24E124AA00000007"}
    changed = {"ts": UNIX, "temperature:0": {"id": 0, "tC": value}}
    description = {
        "homie": "5.0",
        "version": 1,
        "nodes": {"roof": {"properties": {"temperature": {"datatype": "float", "unit": "°C"}}}},
    }
    messages: dict[str, Messages] = {
        "senml": [(f"senml/{id_}", [{"bt": UNIX, "n": "temperature", "u": "Cel", "v": value}])],
        "influx": [(f"telegraf/{id_}", f"weather temperature={value} {int(UNIX)}000000000".encode())],
        "collectd": [(f"collectd/{id_}/lora/temperature", f"{UNIX:.3f}:{value}".encode())],
        "homie": [
            (f"homie/5/{id_}/$description", description),
            (f"homie/5/{id_}/$state", b"ready"),
            (f"homie/5/{id_}/roof/temperature", str(value).encode()),
        ],
        "tasmota": [
            (f"tele/{id_}/SENSOR", {"Time": WHEN, "BME280": {"Temperature": value}, "TempUnit": "C"})
        ],
        "shelly": [(f"{id_}/events/rpc", {"src": id_, "method": "NotifyStatus", "params": changed})],
        "chirpstack": [
            (
                "application/a/device/24e124aa00000007/event/up",
                {
                    "time": WHEN,
                    "deviceInfo": {"devEui": "24e124aa00000007"},
                    "object": {"temperature": value},
                },
            )
        ],
        "things_stack": [
            (f"v3/air@city/devices/{id_}/up", {"end_device_ids": ids, "uplink_message": uplink})
        ],
        "zigbee2mqtt": [("zigbee2mqtt/roof", {"temperature": value, "last_seen": WHEN})],
        "thingsboard": [
            ("v1/gateway/telemetry", {"roof": [{"ts": int(UNIX * 1000), "values": {"temperature": value}}]})
        ],
        "thingsboard_device": [
            (f"v1/devices/{id_}/telemetry", {"ts": int(UNIX * 1000), "values": {"temperature": value}})
        ],
        "fiware": [("/json/key/roof/attrs", {"temperature": value, "TimeInstant": WHEN})],
        "sensorthings": [
            ("v1.1/Datastreams(1)/Observations", {"phenomenonTime": WHEN, "result": value}),
        ],
    }
    return messages.get(wire_format, [])


@dataclasses.dataclass(frozen=True, slots=True)
class Town:
    """A city whose devices speak every format, while its worker runs."""

    stack: LocalStack
    owner: asyncpg.Connection
    database: Database

    async def register(self, catalogue: Catalogue) -> dict[str, str]:
        """Register a device of each format; return the secrets of those that speak for themselves."""
        secrets = {device_of(name): generate_secret() for name in OWN}
        hashed = {device: hash_secret(secret) for device, secret in secrets.items()}
        specs = [DeviceSpec(device_of(one.name), "weather", "gate") for one in FORMATS]
        credentials = {
            device: Credential(one.salt, one.hash, one.iterations) for device, one in hashed.items()
        }
        await register_devices(self.owner, specs, catalogue, credentials)
        return secrets

    async def publish(self, wire_format: str, client_id: str, username: str, secret: str) -> None:
        """Publish as paho-mqtt does, which firmware and gateways are built on."""
        client = await asyncio.to_thread(Device, self.stack.ports.mqtt, username, secret, client_id=client_id)
        try:
            for topic, payload in said(wire_format):
                await asyncio.to_thread(client.publish, payload, topic=topic)
            assert not client.refused
        finally:
            await asyncio.to_thread(client.close)

    async def publish_line(self, device: str, secret: str) -> None:
        """Publish as a shell script does."""
        ((topic, payload),) = said("influx")
        program = await asyncio.create_subprocess_exec(
            str(self.stack.servers.mosquitto_pub),
            *("-p", str(self.stack.ports.mqtt), "-i", device, "-u", device, "-P", secret, "-q", "1"),
            *("-t", topic, "-m", payload.decode()),
        )
        assert await program.wait() == 0

    @contextlib.asynccontextmanager
    async def sparkplug_node(self, secret: str, libraries: pathlib.Path) -> AsyncIterator[None]:
        """Run an edge node that others have written."""
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", str(pathlib.Path(__file__).with_name("sparkplug_node.py"))),
            *(
                str(self.stack.ports.mqtt),
                gateway_client_id("sparkplug"),
                gateway_user("sparkplug", "sparkplug"),
            ),
            *(secret, str(temperature_of("sparkplug"))),
            stdin=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(libraries)},
        )
        try:
            yield
        finally:
            assert program.stdin is not None
            program.stdin.close()
            assert await program.wait() == 0

    async def until_seen(self) -> None:
        """Wait until each format's source is known, and each own topic's reading stored."""
        async with asyncio.timeout(30):
            while {one.format for one in await list_sources(self.owner, claimed=False)} != set(GATEWAYS):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def claim_all(self, client: httpx2.AsyncClient) -> None:
        """Claim each source as its format's device, and wait until ingest has stored what was kept of it."""
        profiles = {one.format: one.name for one in PROFILES}
        for source in await list_sources(self.owner, claimed=False):
            claim = {
                "format": source.format,
                "source": source.name,
                "device": device_of(source.format),
                "profile": profiles.get(source.format),
            }
            answer = await client.post("/api/v1/sources/claim", json=claim)
            assert answer.status_code == 200, answer.text
            assert answer.json()["kept"] >= 1
        async with asyncio.timeout(30):
            while any(one.has_kept for one in await list_sources(self.owner)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def libraries(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The package of a Sparkplug node, beside ours: it wants an older paho-mqtt."""
    place = tmp_path_factory.mktemp("sparkplug")
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--target", str(place), "pysparkplug==0.6.1", "paho-mqtt==1.6.1"),
    )
    assert await program.wait() == 0
    return place


@pytest.fixture(scope="module")
async def latest(
    local_stack: LocalStack, database: Database, catalogue: Catalogue, libraries: pathlib.Path
) -> AsyncIterator[dict[str, Any]]:
    """What the API says of each device, by id, once all have spoken and are claimed."""
    owner = await connect(database.owner_url, application="test")
    town = Town(local_stack, owner, database)
    secrets = await town.register(catalogue)
    gateways = {gateway_user(name, gateway_of(name)): generate_secret() for name in GATEWAYS}
    async with local_stack.admin as admin:
        await admin.add_devices([*secrets.items(), *gateways.items()])
    async with owner.transaction():
        for profile in PROFILES:
            await put_profile(owner, profile, Origin.API, "test")
            if profile.format in OWN:
                device = device_of(profile.format)
                await claim_source(owner, profile.format, device, device, profile.name)
    async with (
        worker(local_stack, database),
        town.sparkplug_node(gateways[gateway_user("sparkplug", "sparkplug")], libraries),
    ):
        for device, secret in secrets.items():
            name = device.removeprefix("of-")
            await (
                town.publish_line(device, secret)
                if name == "influx"
                else town.publish(name, device, device, secret)
            )
        for name in GATEWAYS:
            user = gateway_user(name, gateway_of(name))
            if name != "sparkplug":
                await town.publish(name, gateway_client_id(gateway_of(name)), user, gateways[user])
        await town.until_seen()
        key = generate_key()
        await store_key(owner, key, "test")
        application = create_app(ApiOptions(database.api_url, pool_size=2), reader=Explainer(Topics()))
        async with serve(application, key) as client:
            await town.claim_all(client)
            answer = await ask(client)
    yield {one["device"]: one for one in answer["devices"]}
    async with local_stack.admin as admin:
        await admin.delete_accounts([*secrets, *gateways])
    await owner.close()


async def ask(client: httpx2.AsyncClient) -> Any:
    answer = await client.get("/api/v1/latest", params={"metric": "temperature"})
    assert answer.status_code == 200
    return json.loads(answer.content)


@contextlib.asynccontextmanager
async def worker(stack: LocalStack, database: Database) -> AsyncIterator[None]:
    """Run ingest as ``alatau ingest`` does, with all formats."""
    account = Service.INGEST
    session = SessionOptions(
        "127.0.0.1", stack.ports.mqtt, account, stack.secrets.services[account], client_id="ingest-formats"
    )
    ingest = Ingest(IngestOptions(database.ingest_url, session, formats=FORMATS, latest_interval_seconds=0.1))
    stop = asyncio.Event()
    task = asyncio.create_task(ingest.run(stop), name="test.ingest")
    try:
        async with asyncio.timeout(15):
            while not ingest.readiness()[0]:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        yield
        await asyncio.sleep(0.1)  # what is on its way
    finally:
        stop.set()
        await task


@pytest.mark.servers
@pytest.mark.parametrize("wire_format", [one.name for one in FORMATS])
def test_a_reading_in_this_format_is_in_the_answer_of_the_api(
    latest: dict[str, Any], wire_format: str
) -> None:
    device = latest[device_of(wire_format)]
    assert device["values"]["temperature"]["value"] == temperature_of(wire_format)
