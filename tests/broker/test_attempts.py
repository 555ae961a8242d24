"""What somebody with an account of a device's, or with none, may try at the broker; nothing of it may come off."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import orjson
import pytest

from broker.accounts import Service
from sensors.topics import DEVICE_RECEIVES, Channel
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.broker.conftest import SECRET, Broker

pytestmark = pytest.mark.servers

GRANTED = "Granted QoS 1"
ATTACKER, VICTIM = "attacker", "victim"
OF_THE_VICTIM = [
    f"alatau/v1/{VICTIM}/{channel}" for channel in ("telemetry", "status", "errors", "stored", "commands")
]
_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
async def _accounts(broker: Broker) -> None:
    await broker.admin.add_devices([(ATTACKER, SECRET), (VICTIM, SECRET)])


@pytest.fixture
def attacker(broker: Broker) -> Iterator[Client]:
    with broker.connected(ATTACKER) as client:
        yield client


@pytest.fixture
def victim(broker: Broker) -> Iterator[Client]:
    with broker.connected(VICTIM) as client:
        yield client


@pytest.fixture
def ingest(broker: Broker) -> Iterator[Client]:
    """What the platform hears."""
    with connected(broker.port, Service.INGEST, SECRET) as client:
        for topic in ("alatau/v1/+/telemetry", "alatau/v1/+/status"):
            assert client.subscribe(topic) == GRANTED
        yield client


def hears_nothing_before(listener: Client, sender: Client, topic: str) -> None:
    """Require that the next message a listener gets is the one that is sent now."""
    word = b"word %d" % next(_numbers)
    assert sender.publish(topic, word) == ALLOWED
    assert listener.messages.get(timeout=10) == (topic, word)


@pytest.mark.parametrize(
    ("client_id", "username", "password"),
    [
        (VICTIM, None, None),
        (VICTIM, "", ""),
        (VICTIM, VICTIM, None),
        (VICTIM, VICTIM, ""),
        (VICTIM, VICTIM, "wrong"),
        (VICTIM, VICTIM.upper(), SECRET),
        ("nobody", "nobody", SECRET),
        (Service.ADMIN.value, Service.ADMIN.value, "wrong"),
    ],
)
def test_nobody_enters_without_a_name_and_its_secret(
    broker: Broker, client_id: str, username: str | None, password: str | None
) -> None:
    client = Client(client_id, username, password)
    assert client.connect(broker.port) in (NOT_AUTHORIZED, "Bad user name or password")
    client.close()


@pytest.mark.parametrize("client_id", [VICTIM, "alatau-ingest-0", "", f"{ATTACKER}-2"])
def test_nobody_takes_over_a_session_by_its_client_id(
    broker: Broker, victim: Client, ingest: Client, client_id: str
) -> None:
    with connected(broker.port, Service.INGEST, SECRET, client_id="alatau-ingest-0") as worker:
        thief = Client(client_id, ATTACKER, SECRET)
        assert thief.connect(broker.port) == NOT_AUTHORIZED
        thief.close()
        hears_nothing_before(ingest, victim, f"alatau/v1/{VICTIM}/telemetry")
        assert not victim.left.is_set()
        assert not worker.left.is_set()


@pytest.mark.parametrize(
    "topic", [*OF_THE_VICTIM, f"alatau/v1/{ATTACKER}/errors", "alatau/v1/x/y", "$SYS/broker/x"]
)
def test_nothing_is_published_to_a_topic_that_is_not_the_device_s(
    attacker: Client, victim: Client, ingest: Client, topic: str
) -> None:
    assert attacker.publish(topic, b"forged") == NOT_AUTHORIZED
    hears_nothing_before(ingest, victim, f"alatau/v1/{VICTIM}/telemetry")


@pytest.mark.parametrize("service", [Service.ADMIN, Service.INGEST])
@pytest.mark.parametrize("channel", ["telemetry", "status"])
def test_a_service_publishes_nothing_as_the_device_whose_client_id_it_takes(
    broker: Broker, victim: Client, ingest: Client, service: Service, channel: str
) -> None:
    with connected(broker.port, service, SECRET, client_id="absent") as posing:
        assert posing.publish(f"alatau/v1/absent/{channel}", b"forged") == NOT_AUTHORIZED
    hears_nothing_before(ingest, victim, f"alatau/v1/{VICTIM}/telemetry")


@pytest.mark.parametrize("service", list(Service))
def test_a_service_hears_nothing_as_the_device_whose_client_id_it_takes(
    broker: Broker, service: Service
) -> None:
    with (
        connected(broker.port, service, SECRET, client_id="absent") as posing,
        connected(broker.port, Service.INGEST, SECRET, client_id="worker") as platform,
    ):
        posing.subscribe("alatau/v1/absent/errors")
        assert platform.publish("alatau/v1/absent/errors", b"word") == ALLOWED
        # What was for it would have come before this answer.
        posing.subscribe("alatau/v1/absent/errors")
        assert posing.messages.empty()


@pytest.mark.parametrize("topic", OF_THE_VICTIM)
def test_nothing_is_retained_under_a_topic_of_another_device(
    broker: Broker, attacker: Client, topic: str
) -> None:
    assert attacker.publish(topic, b"forged", retain=True) == NOT_AUTHORIZED
    with (
        connected(broker.port, Service.INGEST, SECRET, client_id="late") as late,
        broker.connected(VICTIM) as victim,
    ):
        late.subscribe("alatau/v1/+/status")
        victim.subscribe(f"alatau/v1/{VICTIM}/errors")
        hears_nothing_before(late, victim, f"alatau/v1/{VICTIM}/status")
        assert victim.messages.empty()


@pytest.mark.parametrize("topic", OF_THE_VICTIM)
def test_a_last_will_under_a_topic_of_another_device_is_not_published(
    broker: Broker, victim: Client, ingest: Client, topic: str
) -> None:
    with broker.connected(ATTACKER, topic=topic, payload=b"forged", qos=1, retain=True) as dying:
        dying.break_off()
        assert dying.left.wait(10)
    with broker.connected(ATTACKER, topic=f"alatau/v1/{ATTACKER}/status", payload=b"offline", qos=1) as dying:
        dying.break_off()
        assert dying.left.wait(10)
    # The second comes, so the first would have come before it.
    assert ingest.messages.get(timeout=10) == (f"alatau/v1/{ATTACKER}/status", b"offline")
    hears_nothing_before(ingest, victim, f"alatau/v1/{VICTIM}/telemetry")


@pytest.mark.parametrize(
    "topic",
    [
        *("#", "+/#", "alatau/v1/#", "alatau/v1/+/telemetry", f"alatau/v1/{VICTIM}/#", *OF_THE_VICTIM),
        *("$SYS/#", "$SYS/broker/version", "$CONTROL/#", "$CONTROL/dynamic-security/v1/response"),
    ],
)
async def test_nothing_of_others_is_delivered_whatever_is_subscribed_to(
    broker: Broker, attacker: Client, victim: Client, topic: str
) -> None:
    attacker.subscribe(topic)
    assert attacker.subscribe(f"alatau/v1/{ATTACKER}/errors") == GRANTED
    assert victim.publish(f"alatau/v1/{VICTIM}/telemetry", b"private") == ALLOWED
    with connected(broker.port, Service.INGEST, SECRET) as platform:
        for device in (VICTIM, ATTACKER):
            assert platform.publish(f"alatau/v1/{device}/errors", b"word") == ALLOWED
    own = (f"alatau/v1/{ATTACKER}/errors", b"word")
    assert attacker.messages.get(timeout=10) == own
    # Once more, when both subscriptions are about it.
    assert set(attacker.messages.queue) <= {own}


@pytest.mark.parametrize(
    "topic",
    [
        *("#", "+/#", "/#", "+/+/+/+", "alatau/#", f"alatau/v1/{ATTACKER}/#", f"+/v1/{ATTACKER}/errors"),
        *(f"alatau/v1/+/{channel.value}" for channel in Channel),
        *("$SYS/#", "$SYS/broker/log/N", "$share/x/$SYS/broker/log/N", "$CONTROL/#"),
    ],
)
def test_no_subscription_makes_the_broker_look_at_what_is_for_others(attacker: Client, topic: str) -> None:
    assert attacker.subscribe(topic) == NOT_AUTHORIZED


@pytest.mark.parametrize("channel", DEVICE_RECEIVES)
def test_a_device_subscribes_to_its_own(attacker: Client, channel: Channel) -> None:
    assert attacker.subscribe(f"alatau/v1/{ATTACKER}/{channel.value}") == GRANTED


def test_a_flood_of_retained_messages_leaves_one(broker: Broker, attacker: Client) -> None:
    topic = f"alatau/v1/{ATTACKER}/status"
    for number in range(200):
        assert attacker.publish(f"{topic}/{number}", b"x" * 1000, retain=True) == NOT_AUTHORIZED
        assert attacker.publish(topic, b"%d" % number, retain=True) == ALLOWED
    with connected(broker.port, Service.INGEST, SECRET, client_id="late") as late:
        assert late.subscribe("alatau/v1/+/status") == GRANTED
        assert late.messages.get(timeout=10) == (topic, b"199")
        assert attacker.publish(topic, b"", retain=True) == ALLOWED
        assert late.messages.get(timeout=10) == (topic, b"")


@pytest.mark.parametrize("topic", ["alatau/v1/+/telemetry", "#", f"alatau/v1/{ATTACKER}/telemetry"])
def test_nobody_takes_a_part_of_what_is_for_the_workers_by_joining_their_share(
    broker: Broker, attacker: Client, victim: Client, topic: str
) -> None:
    with connected(broker.port, Service.INGEST, SECRET) as worker:
        assert worker.subscribe("$share/ingest/alatau/v1/+/telemetry") == GRANTED
        assert attacker.subscribe(f"$share/ingest/{topic}") == NOT_AUTHORIZED
        for _ in range(10):
            hears_nothing_before(worker, victim, f"alatau/v1/{VICTIM}/telemetry")


@pytest.mark.parametrize(
    "command",
    [
        {"command": "createClient", "username": "mine", "password": "x"},
        {"command": "addClientRole", "username": ATTACKER, "rolename": Service.ADMIN},
        {"command": "setDefaultACLAccess", "acls": [{"acltype": "publishClientSend", "allow": True}]},
    ],
    ids=lambda command: str(command["command"]),
)
async def test_a_device_commands_nothing_at_the_broker(
    broker: Broker, attacker: Client, command: dict[str, object]
) -> None:
    before = await broker.admin.list_devices()
    attacker.subscribe("$CONTROL/dynamic-security/v1/response")
    sent = attacker.publish("$CONTROL/dynamic-security/v1", orjson.dumps({"commands": [command]}))
    assert sent == NOT_AUTHORIZED
    assert await broker.admin.list_devices() == before
    assert attacker.publish(f"alatau/v1/{VICTIM}/telemetry", b"forged") == NOT_AUTHORIZED
    assert attacker.messages.empty()


@pytest.mark.parametrize(
    ("levels", "size"),
    [(0, 262_144), (0, 10_000_000), (300, 2), (30_000, 2)],
    ids=["large", "huge", "deep", "deeper"],
)
def test_what_is_beyond_the_limits_costs_its_sender_the_connection_and_nobody_else(
    broker: Broker, victim: Client, ingest: Client, levels: int, size: int
) -> None:
    with broker.connected(ATTACKER) as attacker:
        assert attacker.publish(f"alatau/v1/{ATTACKER}/telemetry{'/x' * levels}", b"x" * size) == "gone"
    hears_nothing_before(ingest, victim, f"alatau/v1/{VICTIM}/telemetry")


async def test_a_disabled_device_is_thrown_out_and_stays_out(broker: Broker) -> None:
    name = f"disabled-{next(_numbers)}"
    await broker.admin.add_device(name, SECRET)
    with broker.connected(name) as device:
        await broker.admin.disable_device(name)
        assert device.left.wait(10)
    again = Client(name, name, SECRET)
    assert again.connect(broker.port) == NOT_AUTHORIZED
    again.close()
    await broker.admin.enable_device(name)
    with broker.connected(name) as device:
        assert device.publish(f"alatau/v1/{name}/telemetry", b"{}") == ALLOWED


async def test_a_deleted_device_is_thrown_out_and_stays_out(broker: Broker) -> None:
    name = f"deleted-{next(_numbers)}"
    await broker.admin.add_device(name, SECRET)
    with broker.connected(name) as device:
        await broker.admin.delete_device(name)
        assert device.left.wait(10)
    again = Client(name, name, SECRET)
    assert again.connect(broker.port) == NOT_AUTHORIZED
    again.close()


async def test_who_has_the_old_secret_is_thrown_out_and_stays_out(broker: Broker) -> None:
    name = f"renewed-{next(_numbers)}"
    await broker.admin.add_device(name, SECRET)
    with broker.connected(name) as device:
        await broker.admin.add_device(name, "another")
        assert device.left.wait(10)
    again = Client(name, name, SECRET)
    assert again.connect(broker.port) == NOT_AUTHORIZED
    again.close()
    with connected(broker.port, name, "another"):
        pass


def test_a_device_that_asks_for_no_keep_alive_stays(broker: Broker) -> None:
    """With `max_keepalive` Mosquitto 2.0.21 throws it out within a second."""
    device = Client("quiet", Service.SIMULATOR, SECRET)
    try:
        device.client.connect("127.0.0.1", broker.port, keepalive=0)
        device.client.loop_start()
        assert device.entered.get(timeout=10) == ALLOWED
        assert not device.left.wait(1.5)
    finally:
        device.close()
