"""Deliveries as people see them: listed, and made after all."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Any, NamedTuple

from storage.destinations import DELIVERIES_CHANNEL
from storage.kinds import Connection


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


class Replayed(NamedTuple):
    """How many dead deliveries wait again, and how many stay dead, because what came later has arrived."""

    waiting: int
    outdated: int


async def replay_dead(
    connection: Connection, destination: str | None = None, number: int | None = None
) -> Replayed:
    """Have dead deliveries made after all: of a destination, with a number, or all; but none of an alert of which a
    later one has arrived."""
    (row,) = await connection.fetch(
        """
        WITH dead AS (
            SELECT o.delivery_id, EXISTS (
                       SELECT FROM alatau.delivery n
                       WHERE n.destination_id = o.destination_id AND n.alert_id = o.alert_id AND n.state = 'delivered'
                             AND n.delivery_id > o.delivery_id) AS is_outdated
            FROM alatau.delivery o JOIN alatau.destination d USING (destination_id)
            WHERE o.state = 'dead' AND ($1::text IS NULL OR d.name = $1)
                  AND ($2::bigint IS NULL OR o.delivery_id = $2)),
        replayed AS (
            UPDATE alatau.delivery o
            SET state = 'waiting', attempts = 0, finished_at = NULL, next_attempt = clock_timestamp(),
                waiting_since = clock_timestamp()
            FROM dead WHERE o.delivery_id = dead.delivery_id AND NOT dead.is_outdated
            RETURNING 1)
        SELECT (SELECT count(*) FROM replayed) AS waiting, count(*) FILTER (WHERE is_outdated) AS outdated FROM dead
        """,
        destination,
        number,
    )
    await connection.execute("SELECT pg_notify($1, '')", DELIVERIES_CHANNEL)
    return Replayed(row["waiting"], row["outdated"])
