"""What `alatau alert` delivers with: the settings of webhooks, the mail server, and the account at the broker."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import random
import time
from collections.abc import AsyncIterator
from typing import Self

from alerts.delivery import Deliveries, DeliveryOptions
from alerts.delivery_metrics import DeliveryMetrics
from alerts.mail import Mail, MailError, MailOptions
from alerts.messages import Sender
from alerts.publish import Publishing
from alerts.webhook import WebhookOptions, Webhooks
from broker.accounts import Service
from broker.publisher import Publisher
from cli.connections import broker_ca, broker_url, external_broker, stack_secrets, trusting
from cli.networks import webhook_networks
from cli.settings import Settings, SettingsError
from sensors.destinations import DestinationType
from sensors.networks import Network
from sensors.topics import Topics


def mail_options(settings: Settings) -> MailOptions | None:
    """Return the mail server, None where there is none. Raises SettingsError."""
    if not settings.smtp_url:
        return None
    ca = settings.smtp_ca
    tls = trusting(ca.expanduser().absolute(), "ALATAU_SMTP_CA") if ca else None
    try:
        return MailOptions.of(settings.smtp_url, settings.smtp_from, settings.smtp_password, tls)
    except MailError as error:
        raise SettingsError(f"ALATAU_SMTP_URL: {error}") from None


def alerts_password(settings: Settings) -> str | None:
    """Return the password of who tells of alerts at the broker, or None where nobody does."""
    if settings.broker_alerts_password or external_broker(settings) is not None:
        return settings.broker_alerts_password or None
    secrets = stack_secrets(settings)
    return secrets.services.get(Service.ALERTS) if secrets else None


@dataclasses.dataclass(frozen=True, slots=True)
class Delivering:
    """The part of the process that delivers."""

    ways: Ways
    database_url: str
    metrics: DeliveryMetrics
    name: str = "delivery"

    async def run(self) -> None:
        """Deliver until cancelled, or until the database is away."""
        async with self.ways.open(self.database_url, self.metrics) as deliveries:
            await deliveries.run()


@dataclasses.dataclass(frozen=True, slots=True)
class Ways:
    """How alerts can be delivered; ``password`` is of the account at the broker, None where there is none."""

    networks: tuple[Network, ...]
    mail: MailOptions | None
    mqtt_url: str
    password: str | None
    ca: str | None
    topics: Topics

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the ways that the settings leave open. Raises SettingsError."""
        ca = broker_ca(settings)
        return cls(
            networks=webhook_networks(settings),
            mail=mail_options(settings),
            mqtt_url=broker_url(settings),
            password=alerts_password(settings),
            ca=None if ca is None else str(ca),
            topics=Topics(settings.topic_root),
        )

    @contextlib.asynccontextmanager
    async def open(self, database_url: str, metrics: DeliveryMetrics) -> AsyncIterator[Deliveries]:
        """Lend what delivers alerts, with everything that it needs open."""
        senders: dict[DestinationType, Sender] = {}
        async with contextlib.AsyncExitStack() as stack:
            webhooks = Webhooks(WebhookOptions(self.networks), time.time)
            senders[DestinationType.WEBHOOK] = await stack.enter_async_context(webhooks)
            if self.mail is not None:
                senders[DestinationType.EMAIL] = Mail(self.mail, lambda: dt.datetime.now(dt.UTC))
            if self.password is not None:
                publisher = Publisher(self.mqtt_url, Service.ALERTS, self.password, self.ca)
                await stack.enter_async_context(publisher)
                senders[DestinationType.MQTT] = Publishing(publisher, self.topics)
            yield Deliveries(
                DeliveryOptions(database_url),
                senders,
                metrics,
                monotonic=time.monotonic,
                chance=random.random,
            )
