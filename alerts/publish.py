"""Alerts at the broker: the state of each, retained while it goes on, and a topic of all events.

What is retained is the alert as it is, whichever of its events is told: one that comes late, or out of turn, leaves no
older state behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from alerts.messages import DeliveryError, Message
from broker.errors import BrokerError
from broker.publisher import Publication, Publisher
from sensors.topics import Topics
from storage.deliveries import Recipient


class Publishing:
    """Publishes messages in the order of what has happened."""

    at_once = 100
    gather_seconds = 0.0

    def __init__(self, publisher: Publisher, topics: Topics) -> None:
        self._publisher = publisher
        self._topics = topics

    async def send(self, recipient: Recipient, messages: Sequence[Message]) -> None:
        """Publish messages. Raises DeliveryError."""
        # The broker is that of the platform. Who is disabled hears nothing more, and finds nothing that is over.
        is_enabled = recipient.destination.is_enabled
        publications = [one for message in messages for one in self._of(message, is_enabled=is_enabled)]
        try:
            await self._publisher.publish(publications)
        except BrokerError as error:
            raise DeliveryError(str(error)) from error

    def _of(self, message: Message, *, is_enabled: bool) -> list[Publication]:
        events = [Publication(self._topics.alert_events, message.encode())] if is_enabled else []
        if (alert := message.current) is None:
            return events
        # Who subscribes later learns of what goes on, and of nothing that is over.
        state = b"" if alert["state"] == "resolved" else orjson.dumps(alert, option=orjson.OPT_UTC_Z)
        topic = self._topics.alert_state(str(alert["id"]))
        return [Publication(topic, state, is_retained=True), *events]
