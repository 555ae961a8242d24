"""Alerts in a database, and who delivers them, as a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from alerts.delivery import Deliveries, DeliveryOptions
from alerts.delivery_metrics import DeliveryMetrics
from alerts.mail import Mail, MailOptions
from alerts.messages import Sender
from alerts.webhook import WebhookOptions, Webhooks
from sensors.destinations import PER_MINUTE, Destination, DestinationType
from sensors.networks import parse_networks
from storage.delivery_list import Delivery, DeliveryState, list_deliveries
from storage.destinations import add_destination
from tests.alerts.samples import NOW, SECRET

HERE = parse_networks("127.0.0.0/8")


async def change(connection: asyncpg.Connection, alert: int, state: str) -> int:
    """Bring an alert to a state, as the state machine does; return the number of the event."""
    number: int = await connection.fetchval(
        """
        WITH changed AS (
            UPDATE alatau.alert SET state = $2, changed_at = now(),
                   resolved_at = CASE WHEN $2 = 'resolved' THEN now() END
            WHERE id = $1 RETURNING id, changed_at, state, severity, value, sentence)
        INSERT INTO alatau.alert_event (alert_id, time, state, severity, value, sentence)
        SELECT * FROM changed RETURNING id
        """,
        alert,
        state,
    )
    return number


async def raise_alert(
    connection: asyncpg.Connection,
    name: str,
    *states: str,
    severity: str = "critical",
    district: str | None = "gate",
    kind: str | None = "air_quality",
) -> int:
    """Add an alert, and bring it to these states; return its number."""
    number: int = await connection.fetchval(
        """
        INSERT INTO alatau.alert
            (kind_of_rule, fingerprint, severity, state, title, sentence, since, changed_at, district, kind,
             clear_seconds)
        VALUES ('threshold', $1, $2, 'pending', $1, 'It is so.', now(), now(), $3, $4, 0) RETURNING id
        """,
        name,
        severity,
        district,
        kind,
    )
    for state in states or ("firing",):
        await change(connection, number, state)
    return number


async def add(connection: asyncpg.Connection, name: str, type_: DestinationType, **more: Any) -> None:
    """Add a destination, instead of all that there are."""
    destination = Destination(name, type_, **{"per_minute": PER_MINUTE[type_], **more})
    secret = SECRET if type_ is DestinationType.WEBHOOK else None
    assert await add_destination(connection, destination, secret, "test")


async def add_hook(connection: asyncpg.Connection, url: str, name: str = "hook", **more: Any) -> None:
    await add(connection, name, DestinationType.WEBHOOK, url=url, **more)


@dataclasses.dataclass(slots=True)
class Outbox:
    """The outbox of a database, and the options of who works on it."""

    connection: asyncpg.Connection  # the owner's
    options: DeliveryOptions
    metrics: DeliveryMetrics = dataclasses.field(default_factory=lambda: DeliveryMetrics(CollectorRegistry()))

    def deliveries(self, senders: Mapping[DestinationType, Sender], **options: Any) -> Deliveries:
        return Deliveries(
            dataclasses.replace(self.options, **options),
            senders,
            self.metrics,
            monotonic=time.monotonic,
            chance=lambda: 1.0,
        )

    @contextlib.asynccontextmanager
    async def working(
        self, senders: Mapping[DestinationType, Sender] | None = None, **options: Any
    ) -> AsyncIterator[None]:
        """Deliver while in the block; an error of it leaves the block."""
        async with Webhooks(WebhookOptions(HERE, timeout_seconds=5), time.time) as webhooks:
            senders = {DestinationType.WEBHOOK: webhooks} if senders is None else senders
            task = asyncio.create_task(self.deliveries(senders, **options).run(), name="test.deliveries")
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def states(self) -> list[tuple[str, int]]:
        """Return state and attempts of each delivery, the oldest first."""
        return [(one.state.value, one.attempts) for one in reversed(await self.all())]

    async def all(self) -> list[Delivery]:
        return await list_deliveries(self.connection, limit=10_000)

    async def until(self, *states: str) -> None:
        """Wait until the deliveries have come to these states, the oldest first."""
        async with asyncio.timeout(10):
            while [state for state, _ in await self.states()] != list(states):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.005)

    async def until_settled(self) -> None:
        """Wait until none waits."""
        async with asyncio.timeout(10):
            while any(one.state is DeliveryState.WAITING for one in await self.all()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)


def mail_of(port: int, **more: Any) -> Mail:
    options = MailOptions("127.0.0.1", port, "alatau@example.org", **{"is_tls": False, **more})
    return Mail(options, lambda: NOW)
