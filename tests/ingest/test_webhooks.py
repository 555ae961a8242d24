"""The webhooks of ChirpStack and The Things Stack: what they post is stored as what they publish."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from broker.secrets import generate_secret, hash_secret
from cli.local import LocalStack
from ingest.http.problems import HttpProblemError
from ingest.http.webhooks import chirpstack_topic, things_stack_topic
from sensors.catalogue import Catalogue
from storage.devices import Credential
from storage.gateways import add_gateway, disable_gateway
from storage.wire_sources import claim_source, find_source
from tests.conftest import Database
from tests.ingest.posting import Service, Station, problem, serving_devices

_numbers = itertools.count(1)
SERVERS = {"chirpstack": "chirpstack", "things_stack": "things-stack"}


@pytest.fixture(scope="module")
async def service(
    local_stack: LocalStack, database: Database, catalogue: Catalogue
) -> AsyncIterator[Service]:
    async with serving_devices(local_stack, database, catalogue) as service:
        yield service


@dataclasses.dataclass(frozen=True, slots=True)
class Gateway:
    """A server with an account."""

    format: str
    account: Station

    async def send(self, message: Any) -> Any:
        query = "?event=up" if self.format == "chirpstack" else ""
        return await self.account.send(message, f"/ingest/v1/webhooks/{SERVERS[self.format]}{query}")


async def gateway(service: Service, of_format: str) -> Gateway:
    """Add a gateway of a format."""
    name, secret = f"hook-{next(_numbers)}", generate_secret()
    hashed = hash_secret(secret)
    credential = Credential(hashed.salt, hashed.hash, hashed.iterations)
    added = await add_gateway(service.rig.connection, name, of_format, credential, "test")
    assert added is not None
    return Gateway(of_format, Station(service.client, name, secret, user=added.user))


def uplink(of_format: str, eui: str, at: dt.datetime) -> dict[str, Any]:
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if of_format == "chirpstack":
        info = {"applicationId": "app", "devEui": eui, "deviceName": "air"}
        return {"deviceInfo": info, "time": time, "object": {"pm2_5": 7.5}}
    return {
        "end_device_ids": {"device_id": "air", "application_ids": {"application_id": "app"}, "dev_eui": eui},
        "received_at": time,
        "uplink_message": {"f_port": 2, "decoded_payload": {"pm2_5": 7.5}},
    }


@pytest.mark.servers
@pytest.mark.parametrize("of_format", SERVERS)
async def test_what_nobody_has_claimed_is_kept_and_once_it_is_claimed_it_is_stored(
    service: Service, of_format: str
) -> None:
    connection, server = service.rig.connection, await gateway(service, of_format)
    device, _ = await service.register()
    eui, at = f"24E124BB{next(_numbers):08}", dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    answer = await server.send(uplink(of_format, eui, at))
    # Not an error: The Things Stack stops sending to a webhook that answers with errors.
    assert answer.status_code == 200, answer.text
    assert [one["reason"] for one in answer.json()["refused"]] == ["unclaimed"]
    (source,) = await connection.fetch(
        "SELECT name, topics FROM alatau.source WHERE upper(name) = $1 AND format = $2", eui, of_format
    )
    topics = {"chirpstack": f"application/app/device/{eui}/event/up", "things_stack": "v3/app/devices/air/up"}
    assert source["topics"] == [topics[of_format]]
    async with connection.transaction():
        await claim_source(connection, of_format, source["name"], device, None)
    assert await find_source(connection, of_format, source["name"])
    answer = await server.send(uplink(of_format, eui, at + dt.timedelta(minutes=1)))
    assert answer.status_code == 204, answer.text
    stored = "SELECT count(*) = 2 FROM reading.air_quality JOIN alatau.device USING (device_id) WHERE id = $1"
    await service.rig.until_sql(stored, device)


@pytest.mark.servers
async def test_a_gateway_posts_to_the_webhook_of_its_format_alone(service: Service) -> None:
    server = await gateway(service, "chirpstack")
    other = dataclasses.replace(server, format="things_stack")
    assert problem(await other.send({})) == (403, "forbidden")
    device, _ = await service.register()
    assert problem(await server.account.send({}, f"/ingest/v1/{device}/telemetry")) == (403, "forbidden")
    async with service.station() as one:
        assert problem(await one.send({}, "/ingest/v1/webhooks/chirpstack?event=up")) == (403, "forbidden")
    assert problem(await server.account.send({}, "/ingest/v1/webhooks/helium")) == (404, "not-found")
    assert problem(await server.account.send({}, "/ingest/v1/webhooks/chirpstack")) == (
        422,
        "invalid-parameter",
    )
    protobuf = {"Content-Type": "application/octet-stream"}
    answer = await server.account.send(b"\n\0", "/ingest/v1/webhooks/chirpstack?event=up", **protobuf)
    assert problem(answer) == (415, "unsupported-media-type")
    await disable_gateway(service.rig.connection, server.account.id)
    assert problem(await server.send({})) == (403, "forbidden")


@pytest.mark.servers
async def test_what_can_not_be_read_is_kept_as_it_came(service: Service) -> None:
    answer = await (await gateway(service, "things_stack")).send(b"no JSON of webhooks")
    assert answer.status_code == 200
    assert [one["reason"] for one in answer.json()["refused"]] == ["undecodable"]
    kept = "SELECT topic FROM alatau.dead_letter WHERE payload = $1"
    assert await service.rig.connection.fetchval(kept, b"no JSON of webhooks") == "v3/-/devices/-/up"


@pytest.mark.parametrize(
    ("info", "topic"),
    [
        ({"applicationId": "a-1", "devEui": "0102"}, "application/a-1/device/0102/event/up"),
        ({"applicationId": "a/b", "devEui": "+"}, "application/-/device/-/event/up"),
        ({"applicationId": "#", "devEui": "x" * 129}, "application/-/device/-/event/up"),
        ({}, "application/-/device/-/event/up"),
        (None, "application/-/device/-/event/up"),
    ],
)
def test_nobody_leaves_the_topics_of_the_format_by_what_a_message_says(info: Any, topic: str) -> None:
    assert chirpstack_topic(orjson.dumps({"deviceInfo": info}), {"event": "up"}) == topic


@pytest.mark.parametrize("kind", ["", "up/x", "+", "x" * 21])
def test_an_event_without_its_kind_is_refused(kind: str) -> None:
    with pytest.raises(HttpProblemError, match="is not a kind of event"):
        chirpstack_topic(b"{}", {"event": kind})


@pytest.mark.parametrize(
    ("said", "kind"),
    [("uplink_message", "up"), ("join_accept", "join"), ("location_solved", "location/solved"), ("x", "up")],
)
def test_the_kind_of_a_message_is_what_it_holds(said: str, kind: str) -> None:
    ids = {"device_id": "d-1", "application_ids": {"application_id": "app"}}
    message = orjson.dumps({"end_device_ids": ids, said: {}})
    assert things_stack_topic(message, {}) == f"v3/app/devices/d-1/{kind}"
