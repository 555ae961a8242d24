"""The outbox: what is to be delivered to whom, and what came of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple

from sensors.alerts import Severity
from sensors.destinations import Destination
from storage.alerts import AlertState, StoredAlert, find_alerts
from storage.destinations import destination_of
from storage.kinds import Connection

# Of an error, or of an answer, so much is kept.
_LONGEST_ERROR = 500


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


# Of each alert the oldest: what became of it later is told later. Asked of each row, and not by sorting all of them: of
# many that wait only those are read that are told next. Who is disabled waits; but at the broker a state that was
# retained is taken away when it is over.
_IS_NEXT = """
    o.destination_id = d.destination_id AND o.state = 'waiting'
    AND NOT EXISTS (
        SELECT FROM alatau.delivery e
        WHERE e.destination_id = o.destination_id AND e.alert_id = o.alert_id AND e.state = 'waiting'
              AND e.delivery_id < o.delivery_id)
    AND (d.enabled OR d.type = 'mqtt' AND EXISTS (
        SELECT FROM alatau.alert a WHERE a.id = o.alert_id AND a.state = 'resolved'))
"""


async def load_recipients(connection: Connection) -> list[Recipient]:
    """Return the destinations that something waits for; those that are disabled wait with it, but for ends at the
    broker."""
    rows = await connection.fetch(
        f"""
        SELECT d.*, CASE WHEN d.old_secret_until > now() THEN d.old_secret END AS old,
               extract(epoch FROM h.next_attempt - clock_timestamp())::float8 AS due_in,
               d.enabled AND EXISTS (
                   SELECT FROM alatau.delivery o
                   WHERE o.destination_id = d.destination_id AND o.state = 'waiting' AND o.alert_id IS NULL) AS has_test
        FROM alatau.destination d
        CROSS JOIN LATERAL (
            SELECT o.next_attempt FROM alatau.delivery o WHERE {_IS_NEXT} ORDER BY o.next_attempt LIMIT 1) h
        ORDER BY d.destination_id
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
    """Return what is due of one destination, one of each alert: tests, and then the oldest first."""
    # Each part ends where it has enough.
    parts = " UNION ALL ".join(
        f"""
        (SELECT o.delivery_id, o.message_id, o.alert_event_id, o.attempts, o.waiting_since, o.created_at
         FROM alatau.delivery o, alatau.destination d
         WHERE d.destination_id = $1 AND o.next_attempt <= clock_timestamp() AND o.alert_id IS {given} AND {_IS_NEXT}
         ORDER BY o.delivery_id LIMIT $2)
        """
        for given in ("NULL", "NOT NULL")
    )
    rows = await connection.fetch(
        f"""
        SELECT *, extract(epoch FROM clock_timestamp() - waiting_since)::float8 AS waited FROM ({parts}) due
        ORDER BY alert_event_id IS NOT NULL, delivery_id LIMIT $2
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


class Told(NamedTuple):
    """An alert as it was at one of its events, and as it is now."""

    then: StoredAlert
    now: StoredAlert


async def load_told(connection: Connection, events: Sequence[int]) -> dict[int, Told]:
    """Return the alert of each event. Within one snapshot."""
    rows = await connection.fetch(
        """
        SELECT id, alert_id, time, state, severity, value, sentence, message FROM alatau.alert_event
        WHERE id = ANY ($1::bigint[])
        """,
        list(events),
    )
    alerts = await find_alerts(connection, [row["alert_id"] for row in rows])
    return {row["id"]: Told(_as_of(alert := alerts[row["alert_id"]], row), alert) for row in rows}


def _as_of(alert: StoredAlert, event: Any) -> StoredAlert:
    time, state = event["time"], AlertState(event["state"])
    was_seen = alert.acknowledged_at is not None and alert.acknowledged_at <= time
    return dataclasses.replace(
        alert,
        state=state,
        severity=Severity(event["severity"]),
        changed_at=time,
        value=event["value"],
        sentence=event["sentence"],
        message=event["message"],
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
    """Give up on all of a destination that has waited for longer than ``seconds``; return how many those were.

    At the broker the newest of an alert waits on, while that goes on or its state is retained there: else it would be
    wrong for as long as the broker lives.
    """
    rows = await connection.fetch(
        """
        UPDATE alatau.delivery o SET state = 'dead', finished_at = clock_timestamp(), last_error = $3
        FROM alatau.destination d
        WHERE d.destination_id = $1 AND o.destination_id = $1 AND o.state = 'waiting'
              AND o.waiting_since < clock_timestamp() - $2::float8 * interval '1 second'
              AND (d.type <> 'mqtt'
                   OR EXISTS (SELECT FROM alatau.delivery n
                              WHERE n.destination_id = $1 AND n.alert_id = o.alert_id AND n.state = 'waiting'
                                    AND n.delivery_id > o.delivery_id)
                   OR NOT EXISTS (SELECT FROM alatau.alert a WHERE a.id = o.alert_id AND a.state <> 'resolved')
                      AND NOT EXISTS (SELECT FROM alatau.delivery b
                                      WHERE b.destination_id = $1 AND b.alert_id = o.alert_id
                                            AND b.state = 'delivered'))
        RETURNING 1
        """,
        destination,
        seconds,
        storable(error),
    )
    return len(rows)


async def forget_finished(connection: Connection, older: dt.timedelta) -> None:
    """Delete deliveries that were made, or given up on, longer ago; but who was told of what still goes on is known."""
    await connection.execute(
        """
        DELETE FROM alatau.delivery o WHERE o.finished_at < now() - $1::interval
               AND NOT EXISTS (SELECT FROM alatau.alert a WHERE a.id = o.alert_id AND a.state <> 'resolved')
        """,
        older,
    )


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
