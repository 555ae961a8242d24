"""What the commands about devices share: telling the broker, and printing a secret."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from broker.admin import BrokerAdmin
from cli.connections import broker_admin, broker_url
from cli.console import answers, errors
from cli.settings import Settings
from sensors.kinds import Metric
from sensors.topics import Channel, Topics


@contextlib.asynccontextmanager
async def told_broker(settings: Settings) -> AsyncIterator[BrokerAdmin | None]:
    """Lend who may change the broker's accounts; None, and a word about it afterwards, where nobody may."""
    admin = broker_admin(settings)
    if admin is not None:
        async with admin:
            yield admin
        return
    yield None
    errors.print("The broker was not told: set ALATAU_BROKER_ADMIN_PASSWORD, or restart it.")


def print_secret(settings: Settings, device_id: str, user: str, secret: str, metric: Metric) -> None:
    """Print a device's account, once, and how to use it."""
    answers.print(
        f"device  {device_id}\nuser    {user}\nsecret  {secret}   (shown once; only its hash is kept)",
        markup=False,
    )
    topic = Topics(settings.topic_root).of(device_id, Channel.TELEMETRY)
    answers.print(
        f"\nA reading of it:\n  mosquitto_pub -L '{broker_url(settings)}/{topic}' -i {device_id} -u '{user}' "
        f"-P '{secret}' -V 5 -q 1 -m '{{\"{metric.name}\": {metric.minimum:g}}}'",
        soft_wrap=True,
    )
