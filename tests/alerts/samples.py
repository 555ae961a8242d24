"""Alerts and messages as they are delivered."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import orjson

from alerts.messages import Message
from sensors.destinations import Destination, DestinationType, generate_webhook_secret
from storage.deliveries import Recipient

NOW = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
SECRET = generate_webhook_secret()


def alert(number: int = 17, state: str = "firing", **more: Any) -> dict[str, Any]:
    """Return an alert as the API has it."""
    return {
        "id": str(number),
        "rule": "pm2_5-day",
        "kind_of_rule": "threshold",
        "severity": "critical",
        "state": state,
        "title": "PM2.5 is high at air-1",
        "sentence": "PM2.5 at air-1 is 163 µg/m³, above 150 for 10 minutes.",
        "message": None,
        "since": NOW - dt.timedelta(minutes=10),
        "changed_at": NOW,
        "acknowledged": None,
        "resolved_at": None,
        "device": "air-1",
        "kind": "air_quality",
        "district": "gate",
        "metric": "pm2_5",
        "unit": "ug/m3",
        "value": 163.2,
        "expected": None,
        "evidence": {},
        **more,
    }


def as_json(content: Any) -> Any:
    """Return content as who receives it reads it."""
    return orjson.loads(orjson.dumps(content, option=orjson.OPT_UTC_Z))


def message(number: int = 17, state: str = "firing", by_now: str | None = None, **more: Any) -> Message:
    """Return the message of an alert that came to a state, and has come to another one by now."""
    then, now = (alert(number, one, **more) for one in (state, by_now or state))
    return Message(str(uuid.uuid4()), NOW, then, now)


def trial() -> Message:
    """Return the message of a test."""
    return Message(str(uuid.uuid4()), NOW, None, None)


def webhook(url: str, *secrets: str) -> Recipient:
    destination = Destination("hook", DestinationType.WEBHOOK, url=url)
    return Recipient(1, destination, secrets or (SECRET,), 0.0, has_test=False)


def mail(*recipients: str) -> Recipient:
    destination = Destination("mail", DestinationType.EMAIL, recipients=recipients or ("duty@example.org",))
    return Recipient(2, destination, (), 0.0, has_test=False)
