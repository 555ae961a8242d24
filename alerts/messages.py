"""What is delivered: one message for each event of an alert, the same wherever it goes."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from sensors.errors import AlatauError
from storage.alert_shape import alert_shape
from storage.catalogue import load_catalogue
from storage.deliveries import Due, Recipient, load_alerts_as_of
from storage.kinds import Connection

_OPTIONS = orjson.OPT_UTC_Z
TEST = "test"


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A message; ``alert`` is as ``GET /api/v1/alerts`` has it, as of the event, and None in a test.

    ``id`` is the same however often it is sent: who gets one twice tells by it.
    """

    id: str
    time: dt.datetime
    alert: Mapping[str, Any] | None

    @property
    def type(self) -> str:
        """What has happened: ``alert.firing``, ``alert.acknowledged``, ``alert.resolved``, or ``test``."""
        return TEST if self.alert is None else f"alert.{self.alert['state']}"

    def encode(self) -> bytes:
        """Return it as JSON, in the envelope of Standard Webhooks."""
        data = self.alert or {
            "title": "A test",
            "sentence": "This is a test of where alerts are delivered to.",
        }
        content = {"id": self.id, "type": self.type, "timestamp": self.time, "data": data}
        return orjson.dumps(content, option=_OPTIONS)


class DeliveryError(AlatauError):
    """A message did not arrive. ``is_final``: nor would it in another attempt; ``after`` is for how long the other side
    wants to be left alone, seconds."""

    def __init__(self, reason: str, *, is_final: bool = False, after: float = 0.0) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.after = after


class Sender(Protocol):
    """Delivers to destinations of one type; several at once, and one call for each destination at a time."""

    @property
    def at_once(self) -> int:
        """How many messages one call takes; they arrive together or not at all."""
        ...

    @property
    def gather_seconds(self) -> float:
        """For how long others are waited for when there is a first one."""
        ...

    async def send(self, recipient: Recipient, messages: Sequence[Message]) -> str | None:
        """Deliver messages, and return when the other side has them: what was not quite right, else None.

        Raises DeliveryError, after which they may or may not have arrived. Takes a bounded time; may be cancelled.
        """
        ...


async def load_messages(connection: Connection, due: Sequence[Due]) -> list[Message]:
    """Return the messages of deliveries, each with its alert as of the event."""
    events = [one.event_id for one in due if one.event_id is not None]
    alerts = await load_alerts_as_of(connection, events)
    stored = await load_catalogue(connection) if events else None
    catalogue = stored[1] if stored else None
    return [
        Message(one.message_id, one.created_at, None)
        if one.event_id is None
        else Message(
            one.message_id, alerts[one.event_id].changed_at, alert_shape(alerts[one.event_id], catalogue)
        )
        for one in due
    ]
