"""Who may speak in which other format: each device for itself, each gateway for the devices of its format."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from broker.accounts import Service, access_file, dynamic_security_file
from broker.drift import Account
from broker.errors import BrokerError
from broker.gateway_guides import GatewayAccount, guide
from broker.snippets import Address
from broker.speech import Speech
from cli.speeches import SPEECHES
from sensors.claims import batch_users
from sensors.gateways import gateway_client_id, gateway_user
from sensors.topics import DEVICE_SENDS, RESERVED_IDS, Channel, Topics, why_reserved
from stack.accounts import server_account
from stack.mosquitto import MosquittoServer
from stack.ownership import claim
from stack.ports import free_port
from stack.servers import Servers
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.broker.conftest import SECRET, Broker, started_with

servers_needed = pytest.mark.servers

GRANTED = "Granted QoS 1"
DEVICE, VICTIM, CLAIMING = "device", "victim", batch_users("b")[0]
OWN = [topic for speech in SPEECHES if speech.is_own for topic in speech.topics]
OF_GATEWAYS = {speech.name: speech for speech in SPEECHES if not speech.is_own}
_numbers = itertools.count(1)


def of(pattern: str, publisher: str) -> str:
    """Return a topic of a pattern, the first wildcard of which is who publishes."""
    return pattern.replace("#", f"{publisher}/x/y").replace("+", publisher, 1).replace("+", "x")


OF_THE_VICTIM = [
    *(f"alatau/v1/{VICTIM}/{channel.value}" for channel in Channel),
    *(of(pattern, VICTIM) for pattern in OWN),
]


def name_of(format_name: str) -> str:
    return format_name.replace("_", "-")


ACCOUNTS = [DEVICE, VICTIM, CLAIMING, *(gateway_user(name, name_of(name)) for name in OF_GATEWAYS)]


@pytest.fixture(scope="module")
async def city(broker: Broker) -> Broker:
    """The broker, with devices, a gateway of each format that has some, and an account of a batch."""
    await broker.admin.add_devices([(user, SECRET) for user in ACCOUNTS])
    return broker


@contextlib.contextmanager
def entered(broker: Broker, format_name: str, **will: Any) -> Iterator[Client]:
    """Lend the connection of a format's gateway."""
    name = name_of(format_name)
    user, client_id = gateway_user(format_name, name), gateway_client_id(name)
    with connected(broker.port, user, SECRET, client_id=client_id, **will) as client:
        yield client


@pytest.fixture
def ingest(city: Broker) -> Iterator[Client]:
    """What the platform hears."""
    with connected(city.port, Service.INGEST, SECRET) as client:
        topics = [f"alatau/v1/+/{channel.value}" for channel in DEVICE_SENDS]
        for topic in (*topics, *(topic for speech in SPEECHES for topic in speech.topics)):
            assert client.subscribe(topic) == GRANTED
        yield client


@pytest.fixture
def victim(city: Broker) -> Iterator[Client]:
    with city.connected(VICTIM) as client:
        yield client


def hears_nothing_before(listener: Client, sender: Client, topic: str) -> None:
    """Require that the next message a listener gets is the one that is sent now."""
    word = b"word %d" % next(_numbers)
    assert sender.publish(topic, word) == ALLOWED
    assert listener.messages.get(timeout=10) == (topic, word)


@servers_needed
@pytest.mark.parametrize("pattern", OWN)
def test_a_device_speaks_for_itself_in_every_format_of_its_own(
    city: Broker, ingest: Client, pattern: str
) -> None:
    with city.connected(DEVICE) as device:
        assert device.publish(of(pattern, VICTIM), b"forged") == NOT_AUTHORIZED
        assert device.publish(of(pattern, f"{DEVICE}-2"), b"forged") == NOT_AUTHORIZED
        hears_nothing_before(ingest, device, of(pattern, DEVICE))


@servers_needed
@pytest.mark.parametrize("format_name", OF_GATEWAYS)
def test_a_device_says_nothing_as_a_gateway(city: Broker, format_name: str) -> None:
    with city.connected(DEVICE) as device:
        for pattern in (*OF_GATEWAYS[format_name].topics, *OF_GATEWAYS[format_name].answers):
            assert device.publish(of(pattern, DEVICE), b"forged") == NOT_AUTHORIZED


@servers_needed
def test_a_device_hears_nothing_of_any_format(city: Broker) -> None:
    with city.connected(DEVICE) as device:
        for pattern in (topic for speech in SPEECHES for topic in (*speech.topics, *speech.answers)):
            for topic in (pattern, of(pattern, DEVICE), f"$share/ingest/{pattern}"):
                assert device.subscribe(topic) == NOT_AUTHORIZED, topic


@servers_needed
@pytest.mark.parametrize("service", [Service.ADMIN, Service.INGEST, Service.SIMULATOR, Service.CLAIMS])
def test_a_service_says_nothing_as_the_device_whose_client_id_it_takes(
    city: Broker, service: Service
) -> None:
    with connected(city.port, service, SECRET, client_id="absent") as posing:
        for pattern in OWN:
            assert posing.publish(of(pattern, "absent"), b"forged") == NOT_AUTHORIZED


@servers_needed
def test_with_a_token_of_a_batch_nothing_is_said_in_any_format(city: Broker) -> None:
    with city.connected(CLAIMING) as claiming:
        for pattern in (topic for speech in SPEECHES for topic in speech.topics):
            assert claiming.publish(of(pattern, CLAIMING), b"forged") == NOT_AUTHORIZED


# -- gateways ----------------------------------------------------------------------------------------


@servers_needed
@pytest.mark.parametrize("format_name", OF_GATEWAYS)
def test_a_gateway_speaks_for_any_device_of_its_format_and_for_no_other(
    city: Broker, ingest: Client, format_name: str
) -> None:
    others = (other for name, other in OF_GATEWAYS.items() if name != format_name)
    own_id = gateway_client_id(name_of(format_name))
    with entered(city, format_name) as gateway:
        for topic in (
            *OF_THE_VICTIM,
            *(of(pattern, own_id) for pattern in OWN),
            *(f"alatau/v1/{own_id}/{channel.value}" for channel in Channel),
            *(of(pattern, "any") for other in others for pattern in other.topics),
            *(of(pattern, "any") for pattern in OF_GATEWAYS[format_name].answers),
        ):
            assert gateway.publish(topic, b"forged") == NOT_AUTHORIZED, topic
        for pattern in OF_GATEWAYS[format_name].topics:
            hears_nothing_before(ingest, gateway, of(pattern, VICTIM))


@servers_needed
@pytest.mark.parametrize("format_name", OF_GATEWAYS)
def test_a_gateway_hears_what_it_is_answered_and_nothing_else(
    city: Broker, ingest: Client, format_name: str
) -> None:
    speech = OF_GATEWAYS[format_name]
    with entered(city, format_name) as gateway, city.connected(DEVICE) as device:
        for topic in ("#", "+/#", "/#", "alatau/#", "$SYS/#", "$CONTROL/#", *OF_THE_VICTIM, *OWN):
            assert gateway.subscribe(topic) == NOT_AUTHORIZED, topic
        for topic in (*speech.topics, *speech.asked_for):
            assert gateway.subscribe(f"$share/ingest/{topic}") == NOT_AUTHORIZED
        for topic in speech.asked_for:
            assert gateway.subscribe(topic) == GRANTED
        assert device.publish(f"alatau/v1/{DEVICE}/telemetry", b"private") == ALLOWED
        for topic in speech.topics:
            assert gateway.publish(of(topic, "any"), b"its own") == ALLOWED
        for pattern in speech.answers:
            hears_nothing_before(gateway, ingest, of(pattern, "any"))
        assert gateway.messages.empty()


@servers_needed
@pytest.mark.parametrize("client_id", [VICTIM, "", "alatau-ingest-0", gateway_client_id("chirpstack")])
def test_a_gateway_ends_nobodys_session_by_its_client_id(
    city: Broker, victim: Client, client_id: str
) -> None:
    with connected(city.port, Service.INGEST, SECRET, client_id="alatau-ingest-0") as worker:
        thief = Client(client_id, gateway_user("sparkplug", "sparkplug"), SECRET)
        assert thief.connect(city.port) == NOT_AUTHORIZED
        thief.close()
        assert victim.publish(f"alatau/v1/{VICTIM}/status", b"here") == ALLOWED
        assert not worker.left.is_set()


@servers_needed
def test_the_last_will_of_a_gateway_says_nothing_for_a_device(city: Broker, ingest: Client) -> None:
    with entered(city, "sparkplug", topic=f"alatau/v1/{VICTIM}/status", payload=b"offline", qos=1) as dying:
        dying.break_off()
        assert dying.left.wait(10)
    death = "spBv1.0/g/NDEATH/n"
    with entered(city, "sparkplug", topic=death, payload=b"dead", qos=1) as dying:
        dying.break_off()
        assert dying.left.wait(10)
    # The second comes, so the first would have come before it.
    assert ingest.messages.get(timeout=10) == (death, b"dead")


@servers_needed
async def test_a_gateway_that_is_kept_out_or_removed_is_thrown_out(city: Broker) -> None:
    name, admin = f"out-{next(_numbers)}", city.admin
    user, client_id = gateway_user("chirpstack", name), gateway_client_id(name)
    await admin.add_device(user, SECRET)
    assert Account(user, client_id, is_disabled=False) in await admin.list_devices()
    for act, back in ((admin.disable_accounts, admin.enable_accounts), (admin.delete_accounts, None)):
        with connected(city.port, user, SECRET, client_id=client_id) as gateway:
            await act([user])
            assert gateway.left.wait(10)
        again = Client(client_id, user, SECRET)
        assert again.connect(city.port) == NOT_AUTHORIZED
        again.close()
        if back is not None:
            await back([user])


@servers_needed
async def test_a_gateway_of_a_format_that_the_broker_has_no_role_for_is_told_what_to_do(city: Broker) -> None:
    with pytest.raises(BrokerError, match="start it again with new files"):
        await city.admin.add_device(gateway_user("tomorrow", "x"), SECRET)


# -- a broker with fresh files ------------------------------------------------------------------------


@servers_needed
async def test_what_a_mosquitto_is_told_to_paste_hands_on_to_a_broker_that_was_started_again(
    city: Broker, servers: Servers, directory_for_servers: pathlib.Path
) -> None:
    user = gateway_user("fiware", "agent")
    await started_with(city, *ACCOUNTS, user)
    text = guide(
        Address(f"mqtt://127.0.0.1:{city.port}", Topics()),
        GatewayAccount("agent", OF_GATEWAYS["fiware"], SECRET),
    )
    directory, port = directory_for_servers / f"bridge-{next(_numbers)}", free_port()
    directory.mkdir()
    claim(directory, server_account())
    file = directory / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{text}")
    with connected(city.port, Service.INGEST, SECRET) as ingest:
        assert ingest.subscribe("/json/+/+/attrs") == GRANTED
        async with MosquittoServer(servers, file, port, directory / "log"):
            meter = Client("meter", None, None)
            assert meter.connect(port) == ALLOWED
            assert meter.publish("/json/key/meter/attrs", b'{"t": 1}') == ALLOWED
            assert ingest.messages.get(timeout=10) == ("/json/key/meter/attrs", b'{"t": 1}')
            meter.close()


# -- names ---------------------------------------------------------------------------------------------


def test_no_device_is_called_like_the_first_level_of_any_topic() -> None:
    first = {topic.split("/")[0] for speech in SPEECHES for topic in (*speech.topics, *speech.answers)}
    assert first - {"+", ""} <= RESERVED_IDS
    for name in RESERVED_IDS:
        assert why_reserved(name)
    assert why_reserved("telegraf-1") is None


def test_no_topic_of_a_device_is_ours_whatever_the_root() -> None:
    """A device that is called like the root's first level is denied what it could say below the root."""
    speech = Speech("shelly", ("+/events/rpc",), is_own=True)
    assert "pattern write %c/events/rpc" in access_file(Topics("city"), [speech]).splitlines()
    for root, rules in (("city", 1), ("alatau/v1", 0)):
        document = orjson.loads(dynamic_security_file(Topics(root), [speech], {}, []))
        (device,) = (role for role in document["roles"] if role["rolename"] == "alatau-device")
        denied = [rule for rule in device["acls"] if rule["topic"] == "city/events/rpc"]
        assert [rule["allow"] for rule in denied] == [False] * rules
