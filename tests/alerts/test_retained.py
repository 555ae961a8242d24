"""What is retained at the broker is what holds: of an outbox, on a real broker."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import orjson
import pytest

from alerts.publish import Publishing
from broker.accounts import Service
from broker.publisher import Publication, Publisher
from cli.local import LocalStack
from sensors.destinations import DestinationType
from sensors.topics import Topics
from stack.ports import free_port
from storage.delivery_list import replay_dead
from storage.destinations import change_destination, find_destination
from tests.alerts.outbox import Outbox, add, change, raise_alert
from tests.broker.clients import Client, connected

pytestmark = pytest.mark.servers

ROOT = "alatau/v1/alatau-alerts/"
LONG_AGO = "UPDATE alatau.delivery SET waiting_since = now() - interval '25 hours' WHERE state = 'waiting'"


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What the broker has of alerts."""

    stack: LocalStack
    publisher: Publisher

    @property
    def sender(self) -> dict[DestinationType, Publishing]:
        return {DestinationType.MQTT: Publishing(self.publisher, Topics())}

    async def state(self, alert: int) -> str | None:
        """Return the state that is retained of an alert, for who comes now."""
        password = self.stack.secrets.services[Service.LISTENER]
        with connected(self.stack.ports.mqtt, Service.LISTENER, password, client_id="late") as late:
            late.subscribe(f"{ROOT}#")
            await self.publisher.publish([Publication(f"{ROOT}events", b"null")])
            return await asyncio.to_thread(self._until_now, late, f"{ROOT}state/{alert}")

    @staticmethod
    def _until_now(late: Client, topic: str) -> str | None:
        state = None
        while (message := late.messages.get(timeout=10))[0] != f"{ROOT}events":
            if message[0] == topic:
                state = orjson.loads(message[1])["state"]
        return state


@pytest.fixture
async def heard(local_stack: LocalStack, outbox: Outbox) -> AsyncIterator[Heard]:
    """The broker, which alerts are told at."""
    await add(outbox.connection, "mqtt", DestinationType.MQTT)
    password = local_stack.secrets.services[Service.ALERTS]
    async with Publisher(local_stack.mqtt_url, Service.ALERTS, password) as publisher:
        yield Heard(local_stack, publisher)


async def test_an_event_that_comes_late_leaves_no_older_state_behind(outbox: Outbox, heard: Heard) -> None:
    number = await raise_alert(outbox.connection, "a")
    async with outbox.working(heard.sender):
        await outbox.until("delivered")
    assert await heard.state(number) == "firing"
    # As if the end had been told, and the beginning waited again: by a replay of an earlier version, or by hand.
    await change(outbox.connection, number, "resolved")
    await outbox.connection.execute(
        "DELETE FROM alatau.delivery WHERE delivery_id <> (SELECT min(delivery_id) FROM alatau.delivery)"
    )
    await outbox.connection.execute("UPDATE alatau.delivery SET state = 'waiting', finished_at = NULL")
    async with outbox.working(heard.sender):
        await outbox.until("delivered")
    assert await heard.state(number) is None


async def test_what_was_given_up_is_not_replayed_after_what_came_later(outbox: Outbox) -> None:
    await add(outbox.connection, "mqtt", DestinationType.MQTT)
    await raise_alert(outbox.connection, "a", "firing", "acknowledged", "resolved")
    for place, state in enumerate(("dead", "delivered", "dead")):
        await outbox.connection.execute(
            """
            UPDATE alatau.delivery SET state = $2, finished_at = now()
            WHERE delivery_id = (SELECT min(delivery_id) + $1 FROM alatau.delivery)
            """,
            place,
            state,
        )
    assert await replay_dead(outbox.connection) == (1, 1)
    assert [state for state, _ in await outbox.states()] == ["dead", "delivered", "waiting"]


async def test_who_is_disabled_hears_nothing_more_and_finds_nothing_that_is_over(
    outbox: Outbox, heard: Heard
) -> None:
    number = await raise_alert(outbox.connection, "a")
    async with outbox.working(heard.sender):
        await outbox.until("delivered")
    stored = await find_destination(outbox.connection, "mqtt")
    assert stored is not None
    await change_destination(outbox.connection, dataclasses.replace(stored.destination, is_enabled=False))
    password = heard.stack.secrets.services[Service.LISTENER]
    with connected(heard.stack.ports.mqtt, Service.LISTENER, password, client_id="listener") as listener:
        listener.subscribe(f"{ROOT}events")
        async with outbox.working(heard.sender):
            for state in ("acknowledged", "resolved"):
                await change(outbox.connection, number, state)
            await outbox.until("delivered", "delivered")
        assert await heard.state(number) is None
        # That of the question is the first that it hears.
        assert await asyncio.to_thread(listener.messages.get, timeout=10) == (f"{ROOT}events", b"null")


async def test_a_broker_that_was_away_for_days_has_what_holds_when_it_is_back(
    outbox: Outbox, heard: Heard
) -> None:
    over = await raise_alert(outbox.connection, "over")
    async with outbox.working(heard.sender):
        await outbox.until("delivered")
    for state in ("acknowledged", "resolved"):
        await change(outbox.connection, over, state)
    going_on = await raise_alert(outbox.connection, "going on")
    await raise_alert(outbox.connection, "nobody knew", "firing", "resolved")
    await outbox.connection.execute(LONG_AGO)
    states = ("delivered", "dead", "waiting", "waiting", "dead", "dead")
    async with (
        Publisher(f"mqtt://127.0.0.1:{free_port()}", Service.ALERTS, "") as nowhere,
        outbox.working({DestinationType.MQTT: Publishing(nowhere, Topics())}),
    ):
        await outbox.until(*states)
    async with outbox.working(heard.sender):
        await outbox.until("delivered", "dead", "delivered", "delivered", "dead", "dead")
    assert await heard.state(over) is None
    assert await heard.state(going_on) == "firing"
