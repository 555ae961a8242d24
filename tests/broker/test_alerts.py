"""Alerts at the broker: what is told to whom, and what the accounts may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest

from alerts.messages import DeliveryError
from alerts.publish import Publishing
from broker.accounts import Service
from broker.errors import BrokerError
from broker.publisher import Publication, Publisher
from sensors.topics import Topics
from stack.ports import free_port
from tests.alerts.samples import alert, as_json, mail, message, trial
from tests.broker.clients import ALLOWED, NOT_AUTHORIZED, Client, connected
from tests.broker.conftest import SECRET, Broker

pytestmark = pytest.mark.servers

ALL, EVENTS = "alatau/v1/alatau-alerts/#", "alatau/v1/alatau-alerts/events"
STATE = "alatau/v1/alatau-alerts/state/17"
GRANTED = "Granted QoS 1"
ANYBODY = mail()  # the broker is that of the platform, whatever the destination


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    async with Publisher(f"mqtt://127.0.0.1:{broker.port}", Service.ALERTS, SECRET) as publisher:
        yield publisher


@pytest.fixture
def publishing(publisher: Publisher) -> Publishing:
    return Publishing(publisher, Topics())


@pytest.fixture
def listener(broker: Broker) -> Iterator[Client]:
    with connected(broker.port, Service.LISTENER, SECRET, client_id="control-room") as client:
        assert client.subscribe(ALL) == GRANTED
        yield client


def heard(client: Client) -> tuple[str, object]:
    topic, payload = client.messages.get(timeout=10)
    return topic, orjson.loads(payload) if payload else None


async def test_state_and_event_of_an_alert_are_told_in_order(
    publishing: Publishing, listener: Client
) -> None:
    messages = [message(), message(state="resolved")]
    await publishing.send(ANYBODY, messages)
    told = [await asyncio.to_thread(heard, listener) for _ in range(4)]
    assert [topic for topic, _ in told] == [STATE, EVENTS] * 2
    assert told[0][1] == as_json(alert())
    assert told[1][1] == orjson.loads(messages[0].encode())
    assert told[2][1] is None


async def test_who_comes_later_learns_what_goes_on_and_nothing_that_is_over(
    publishing: Publishing, broker: Broker
) -> None:
    await publishing.send(ANYBODY, [message(1), message(2), message(1, "resolved"), trial()])
    with connected(broker.port, Service.LISTENER, SECRET, client_id="late") as late:
        assert late.subscribe(ALL) == GRANTED
        topic, content = await asyncio.to_thread(heard, late)
        assert (topic, content) == ("alatau/v1/alatau-alerts/state/2", as_json(alert(2)))
        # The next is what is told now: nothing else was retained.
        await publishing.send(ANYBODY, [message(2, "resolved")])
        assert await asyncio.to_thread(heard, late) == (topic, None)


async def test_the_accounts_may_do_that_and_nothing_else(broker: Broker, listener: Client) -> None:
    with connected(broker.port, Service.ALERTS, SECRET, client_id="lamp-1") as teller:
        for topic in (
            "alatau/v1/lamp-1/telemetry",
            "alatau/v1/lamp-1/commands",
            "$CONTROL/dynamic-security/v1",
        ):
            assert teller.publish(topic, b"{}") == NOT_AUTHORIZED, topic
        assert teller.subscribe(ALL) == NOT_AUTHORIZED
        for topic in (EVENTS, STATE, "alatau/v1/control-room/telemetry"):
            assert listener.publish(topic, b"{}") == NOT_AUTHORIZED, topic
        for topic in ("alatau/v1/+/telemetry", "#", "alatau/v1/#", "$SYS/#", "$share/alatau-ingest/#"):
            assert listener.subscribe(topic) == NOT_AUTHORIZED, topic
        assert teller.publish(EVENTS, b"1") == ALLOWED
    assert await asyncio.to_thread(heard, listener) == (EVENTS, 1)


async def test_a_device_neither_tells_nor_hears_of_alerts(
    broker: Broker, publisher: Publisher, listener: Client
) -> None:
    await broker.admin.add_devices([("lamp-1", SECRET)])
    with broker.connected("lamp-1") as device:
        assert device.publish(EVENTS, b"{}") == NOT_AUTHORIZED
        device.subscribe(EVENTS)
        await publisher.publish([Publication(EVENTS, b"2")])
        assert await asyncio.to_thread(heard, listener) == (EVENTS, 2)
        # What comes first is of its own topic, and so it has heard nothing before.
        assert device.subscribe("alatau/v1/lamp-1/errors") == GRANTED
        with connected(broker.port, Service.INGEST, SECRET) as ingest:
            assert ingest.publish("alatau/v1/lamp-1/errors", b"{}") == ALLOWED
        assert device.messages.get(timeout=10)[0] == "alatau/v1/lamp-1/errors"


async def test_what_the_broker_refuses_is_no_delivery(broker: Broker) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}"
    async with Publisher(url, Service.ALERTS, SECRET) as publisher:
        with pytest.raises(DeliveryError, match="refuses what alatau-alerts publishes: Not authorized"):
            await Publishing(publisher, Topics("another/root")).send(ANYBODY, [message()])
    async with Publisher(url, Service.ALERTS, "wrong") as publisher:
        with pytest.raises(BrokerError, match=r"refused alatau-alerts: .*ALATAU_BROKER_ALERTS_PASSWORD"):
            await publisher.publish([Publication(EVENTS, b"3")])
    async with Publisher(f"mqtt://127.0.0.1:{free_port()}", Service.ALERTS, SECRET) as publisher:
        with pytest.raises(BrokerError, match=r"no broker at 127\.0\.0\.1"):
            await publisher.publish([Publication(EVENTS, b"3")])


async def test_after_the_broker_was_away_it_goes_on_and_what_went_on_is_still_told(
    broker: Broker, publishing: Publishing
) -> None:
    await publishing.send(ANYBODY, [message(3)])
    await broker.server.stop()
    with pytest.raises(DeliveryError):
        await publishing.send(ANYBODY, [message(4)])
    await broker.server.start()
    await publishing.send(ANYBODY, [message(4)])
    with connected(broker.port, Service.LISTENER, SECRET, client_id="later") as late:
        assert late.subscribe("alatau/v1/alatau-alerts/state/#") == GRANTED
        topics = {(await asyncio.to_thread(heard, late))[0] for _ in range(2)}
    await publishing.send(ANYBODY, [message(number, "resolved") for number in (3, 4)])
    assert topics == {f"alatau/v1/alatau-alerts/state/{n}" for n in (3, 4)}
