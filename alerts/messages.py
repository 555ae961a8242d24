"""What is delivered: one message for each event of an alert, the same wherever it goes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.errors import AlatauError
from sensors.messages import Language
from sensors.times import to_microseconds
from storage.alert_shape import alert_shape
from storage.alerts import StoredAlert
from storage.catalogue import load_catalogue
from storage.deliveries import Due, Recipient, load_told
from storage.kinds import Connection

_OPTIONS = orjson.OPT_UTC_Z
TEST = "test"


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A message; ``alert`` is as ``GET /api/v1/alerts`` has it, as of the event, ``current`` as it is now; in a test
    there is none. Their titles and sentences are in ``language``.

    ``id`` is the same however often it is sent: who gets one twice tells by it.
    """

    id: str
    time: dt.datetime
    alert: Mapping[str, Any] | None
    current: Mapping[str, Any] | None
    language: Language = Language.ENGLISH

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
    """A message did not arrive. ``is_final``: nor would it in another attempt; ``is_of_content``: fewer of those that
    were sent together may; ``after`` is for how long the other side wants to be left alone, seconds."""

    def __init__(
        self, reason: str, *, is_final: bool = False, is_of_content: bool = False, after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.is_final = is_final
        self.is_of_content = is_of_content
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


async def load_messages(
    connection: Connection, due: Sequence[Due], language: Language = Language.ENGLISH
) -> list[Message]:
    """Return the messages of deliveries. Within the snapshot that these were loaded from."""
    events = [one.event_id for one in due if one.event_id is not None]
    alerts = await load_told(connection, events)
    stored = await load_catalogue(connection) if events else None
    catalogue = stored[1] if stored else None

    def message(one: Due) -> Message:
        if one.event_id is None:
            return Message(one.message_id, one.created_at, None, None, language)
        told = alerts[one.event_id]
        then, now = (shape_in(language, alert, catalogue) for alert in told)
        return Message(one.message_id, told.then.changed_at, then, now, language)

    return [message(one) for one in due]


def shape_in(language: Language, alert: StoredAlert, catalogue: Catalogue | None) -> dict[str, Any]:
    """Return the members of an alert, with title and sentence in a language, if it has them in it, else in English."""
    shape = alert_shape(alert, catalogue)
    if language is Language.ENGLISH or alert.message is None or catalogue is None:
        return shape
    zone = zoneinfo.ZoneInfo(catalogue.city.timezone)
    speech = Speech(to_microseconds(alert.changed_at), zone, catalogue, language)
    title, sentence = alert.message["title"], alert.message["sentence"]
    return shape | {"title": speech.say(title), "sentence": speech.say(*sentence)}
