"""The audit: administrative acts, refused requests, what was outside of a scope. It is only ever added to."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from storage.kinds import Connection


class Outcome(enum.StrEnum):
    """Whether it was done."""

    DONE = "done"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Who did what to what, from where; ``times`` how often, where it was refused."""

    actor: str
    action: str
    outcome: Outcome = Outcome.DONE
    subject: str | None = None
    address: str | None = None
    times: int = 1
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event on record."""

    number: int
    at: dt.datetime
    event: Event


async def record(connection: Connection, events: Sequence[Event]) -> None:
    """Add events; in the transaction of an act, so that neither is there without the other."""
    await connection.executemany(
        """
        INSERT INTO alatau.audit (actor, action, outcome, subject, address, times, detail)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        [(e.actor, e.action, e.outcome.value, e.subject, e.address, e.times, dict(e.detail)) for e in events],
    )


async def list_events(
    connection: Connection,
    *,
    before: int | None = None,
    limit: int = 100,
    action: str | None = None,
    actor: str | None = None,
    outcome: Outcome | None = None,
) -> list[RecordedEvent]:
    """Return events, the newest first: a keyset, never an offset. ``actor`` is a part of the name."""
    rows = await connection.fetch(
        """
        SELECT * FROM alatau.audit
        WHERE ($1::bigint IS NULL OR audit_id < $1) AND ($2::text IS NULL OR action = $2)
              AND ($3::text IS NULL OR position($3 IN actor) > 0) AND ($4::text IS NULL OR outcome = $4)
        ORDER BY audit_id DESC LIMIT $5
        """,
        before,
        action,
        actor,
        outcome,
        limit,
    )
    return [
        RecordedEvent(
            row["audit_id"],
            row["at"],
            Event(
                row["actor"],
                row["action"],
                Outcome(row["outcome"]),
                row["subject"],
                row["address"],
                row["times"],
                row["detail"],
            ),
        )
        for row in rows
    ]
