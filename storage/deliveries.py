"""The outbox: what is to be delivered to whom, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Sequence
from typing import Any

from sensors.destinations import Destination
from storage.alerts import AlertState, StoredAlert, find_alerts
from storage.destinations import DELIVERIES_CHANNEL, destination_of
from storage.kinds import Connection

# Of an error, or of an answer, so much is kept.
_LONGEST_ERROR = 500


class DeliveryState(enum.StrEnum):
    """What came of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery on record; ``alert`` and ``event`` None are of a test."""

    number: int
    message_id: str
    destination: str
    alert: int | None
    event: str | None  # the state that the alert came to
    state: DeliveryState
    attempts: int
    created_at: dt.datetime
    next_attempt: dt.datetime | None
    finished_at: dt.datetime | None
    last_error: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Recipient:
    """A destination to deliver to. ``secrets`` are of a webhook, the newest first; ``due_in`` is negative, seconds,
    when something is due."""

    number: int
    destination: Destination
    secrets: tuple[str, ...]
    due_in: float
    has_test: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """A delivery to be made; ``event_id`` None is of a test. ``waited`` is how long it has been there, seconds."""

    number: int
    message_id: str
    event_id: int | None
    attempts: int
    waited: float
    created_at: dt.datetime


# Of each alert the oldest: what became of it later is told later.
_HEADS = """
    SELECT DISTINCT ON (o.destination_id, o.alert_id) o.* FROM alatau.delivery o
    WHERE o.state = 'waiting' ORDER BY o.destination_id, o.alert_id, o.delivery_id
"""


async def load_recipients(connection: Connection) -> list[Recipient]:
    """Return the destinations that something waits for; those that are disabled wait with it."""
    rows = await connection.fetch(
        f"""
        SELECT d.*, CASE WHEN d.old_secret_until > now() THEN d.old_secret END AS old,
               extract(epoch FROM h.next - clock_timestamp())::float8 AS due_in, h.has_test
        FROM (SELECT destination_id, min(next_attempt) AS next, bool_or(alert_id IS NULL) AS has_test
              FROM ({_HEADS}) heads GROUP BY destination_id) h
        JOIN alatau.destination d USING (destination_id)
        WHERE d.enabled ORDER BY d.destination_id
        """
    )
    return [
        Recipient(
            row["destination_id"],
            destination_of(row),
            tuple(secret for secret in (row["secret"], row["old"]) if secret is not None),
            row["due_in"],
            row["has_test"],
        )
        for row in rows
    ]


async def load_due(connection: Connection, destination: int, limit: int) -> list[Due]:
    """Return what is due of one destination, one of each alert: a test, and then the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT *, extract(epoch FROM clock_timestamp() - waiting_since)::float8 AS waited FROM ({_HEADS}) heads
        WHERE destination_id = $1 AND next_attempt <= clock_timestamp()
        ORDER BY alert_id IS NOT NULL, delivery_id LIMIT $2
        """,
        destination,
        limit,
    )
    return [
        Due(
            row["delivery_id"],
            str(row["message_id"]),
            row["alert_event_id"],
            row["attempts"],
            row["waited"],
            row["created_at"],
        )
        for row in rows
    ]


async def load_alerts_as_of(connection: Connection, events: Sequence[int]) -> dict[int, StoredAlert]:
    """Return for each event its alert, as it was then."""
    rows = await connection.fetch(
        """
        SELECT id, alert_id, time, state, value, sentence FROM alatau.alert_event WHERE id = ANY ($1::bigint[])
        """,
        list(events),
    )
    alerts = await find_alerts(connection, [row["alert_id"] for row in rows])
    return {row["id"]: _as_of(alerts[row["alert_id"]], row) for row in rows}


def _as_of(alert: StoredAlert, event: Any) -> StoredAlert:
    time, state = event["time"], AlertState(event["state"])
    was_seen = alert.acknowledged_at is not None and alert.acknowledged_at <= time
    return dataclasses.replace(
        alert,
        state=state,
        changed_at=time,
        value=event["value"],
        sentence=event["sentence"],
        resolved_at=time if state is AlertState.RESOLVED else None,
        acknowledged_by=alert.acknowledged_by if was_seen else None,
        acknowledged_at=alert.acknowledged_at if was_seen else None,
        acknowledged_note=alert.acknowledged_note if was_seen else None,
    )


async def mark_delivered(connection: Connection, numbers: Sequence[int], note: str | None) -> None:
    """Note that deliveries were made; ``note`` is what was not quite right with it."""
    await connection.execute(
        """
        UPDATE alatau.delivery SET state = 'delivered', attempts = attempts + 1, finished_at = clock_timestamp(),
               last_error = $2
        WHERE delivery_id = ANY ($1::bigint[]) AND state = 'waiting'
        """,
        list(numbers),
        note and storable(note),
    )


async def mark_failed(connection: Connection, numbers: Sequence[int], error: str, wait: float | None) -> None:
    """Note that deliveries failed: they are tried again in ``wait`` seconds, or with None never."""
    await connection.execute(
        """
        UPDATE alatau.delivery
        SET attempts = attempts + 1, last_error = $2,
            state = CASE WHEN $3::float8 IS NULL THEN 'dead' ELSE 'waiting' END,
            finished_at = CASE WHEN $3::float8 IS NULL THEN clock_timestamp() END,
            next_attempt = clock_timestamp() + coalesce($3::float8, 0) * interval '1 second'
        WHERE delivery_id = ANY ($1::bigint[]) AND state = 'waiting'
        """,
        list(numbers),
        storable(error),
        wait,
    )


async def hurry(connection: Connection, destination: int) -> None:
    """Have what waits for a destination tried now: it has just answered."""
    await connection.execute(
        """
        UPDATE alatau.delivery SET next_attempt = clock_timestamp()
        WHERE destination_id = $1 AND state = 'waiting' AND next_attempt > clock_timestamp()
        """,
        destination,
    )


async def give_up(connection: Connection, destination: int, seconds: float, error: str) -> int:
    """Give up on all of a destination that has waited for longer than ``seconds``; return how many those were."""
    rows = await connection.fetch(
        """
        UPDATE alatau.delivery SET state = 'dead', finished_at = clock_timestamp(), last_error = $3
        WHERE destination_id = $1 AND state = 'waiting'
              AND waiting_since < clock_timestamp() - $2::float8 * interval '1 second'
        RETURNING 1
        """,
        destination,
        seconds,
        storable(error),
    )
    return len(rows)


async def forget_finished(connection: Connection, older: dt.timedelta) -> None:
    """Delete deliveries that were made, or given up on, longer ago."""
    await connection.execute("DELETE FROM alatau.delivery WHERE finished_at < now() - $1::interval", older)


async def count_waiting(connection: Connection) -> dict[str, int]:
    """Return how many deliveries wait, by type of destination; those of disabled ones, too."""
    rows = await connection.fetch(
        """
        SELECT d.type, count(o.delivery_id) AS waiting FROM alatau.destination d
        LEFT JOIN alatau.delivery o ON o.destination_id = d.destination_id AND o.state = 'waiting' GROUP BY d.type
        """
    )
    return {row["type"]: row["waiting"] for row in rows}


def storable(text: str) -> str:
    """Return a text of somebody else's as it can be kept: short, and without what PostgreSQL has no place for."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST_ERROR])


async def list_deliveries(
    connection: Connection,
    *,
    state: DeliveryState | None = None,
    destination: str | None = None,
    number: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Return deliveries, the newest first: a keyset, never an offset."""
    rows = await connection.fetch(
        """
        SELECT o.delivery_id, o.message_id, d.name, o.alert_id, e.state AS event, o.state, o.attempts, o.created_at,
               o.next_attempt, o.finished_at, o.last_error
        FROM alatau.delivery o JOIN alatau.destination d USING (destination_id)
        LEFT JOIN alatau.alert_event e ON e.id = o.alert_event_id
        WHERE ($1::text IS NULL OR o.state = $1) AND ($2::text IS NULL OR d.name = $2)
              AND ($3::bigint IS NULL OR o.delivery_id = $3) AND ($4::bigint IS NULL OR o.delivery_id < $4)
        ORDER BY o.delivery_id DESC LIMIT $5
        """,
        None if state is None else state.value,
        destination,
        number,
        before,
        limit,
    )
    return [_delivery(row) for row in rows]


def _delivery(row: Any) -> Delivery:
    state = DeliveryState(row["state"])
    return Delivery(
        number=row["delivery_id"],
        message_id=str(row["message_id"]),
        destination=row["name"],
        alert=row["alert_id"],
        event=row["event"],
        state=state,
        attempts=row["attempts"],
        created_at=row["created_at"],
        next_attempt=row["next_attempt"] if state is DeliveryState.WAITING else None,
        finished_at=row["finished_at"],
        last_error=row["last_error"],
    )


async def replay_dead(
    connection: Connection, destination: str | None = None, number: int | None = None
) -> int:
    """Have dead deliveries made after all: of a destination, with a number, or all; return how many those are."""
    rows = await connection.fetch(
        """
        UPDATE alatau.delivery o
        SET state = 'waiting', attempts = 0, finished_at = NULL, next_attempt = clock_timestamp(),
            waiting_since = clock_timestamp()
        FROM alatau.destination d
        WHERE d.destination_id = o.destination_id AND o.state = 'dead'
              AND ($1::text IS NULL OR d.name = $1) AND ($2::bigint IS NULL OR o.delivery_id = $2)
        RETURNING 1
        """,
        destination,
        number,
    )
    await connection.execute("SELECT pg_notify($1, '')", DELIVERIES_CHANNEL)
    return len(rows)
