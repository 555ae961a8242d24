"""Alerts at the broker: the state of each, retained while it goes on, and a topic of all events."""

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
        del recipient  # the broker is that of the platform
        try:
            await self._publisher.publish([one for message in messages for one in self._of(message)])
        except BrokerError as error:
            raise DeliveryError(str(error)) from error

    def _of(self, message: Message) -> list[Publication]:
        event = Publication(self._topics.alert_events, message.encode())
        if message.alert is None:
            return [event]
        # Who subscribes later learns of what goes on, and of nothing that is over.
        is_over = message.alert["state"] == "resolved"
        state = b"" if is_over else orjson.dumps(message.alert, option=orjson.OPT_UTC_Z)
        topic = self._topics.alert_state(str(message.alert["id"]))
        return [Publication(topic, state, is_retained=True), event]
