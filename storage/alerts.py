"""Alerts as people see them: listed, one with its history, acknowledged."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sensors.alerts import Severity as Severity
from sensors.messages import AlertMessage
from storage.kinds import Connection

# With each change of an alert, once it is committed; it says nothing.
ALERTS_CHANNEL = "alatau_alerts"


class AlertState(enum.StrEnum):
    """How far an alert is."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclasses.dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert as it is kept; ``low`` and ``high`` bound what was expected, in the metric's unit. ``message`` says
    title and sentence in every language; None of what was said before there was one."""

    id: int
    rule: str | None
    kind_of_rule: str
    severity: Severity
    state: AlertState
    title: str
    sentence: str
    since: dt.datetime
    changed_at: dt.datetime
    resolved_at: dt.datetime | None
    device: str | None
    district: str | None
    kind: str | None
    metric: str | None
    value: float | None
    low: float | None
    high: float | None
    evidence: Mapping[str, Any]
    acknowledged_by: str | None
    acknowledged_at: dt.datetime | None
    acknowledged_note: str | None
    message: AlertMessage | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class AlertEvent:
    """A step of an alert's history; ``by`` is None where nobody brought it about."""

    time: dt.datetime
    state: AlertState
    severity: Severity
    value: float | None
    sentence: str
    by: str | None
    message: AlertMessage | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; what is empty selects all."""

    states: Sequence[AlertState] = ()
    severities: Sequence[Severity] = ()
    districts: Sequence[str] = ()
    kinds: Sequence[str] = ()
    devices: Sequence[str] = ()
    metrics: Sequence[str] = ()


_SELECT = """
    SELECT a.id, r.name AS rule, a.kind_of_rule, a.severity, a.state, a.title, a.sentence, a.since, a.changed_at,
           a.resolved_at, d.id AS device, COALESCE(d.district, a.district) AS district, a.kind, a.metric, a.value,
           a.low, a.high, a.evidence, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note, a.message
    FROM alatau.alert a
    LEFT JOIN alatau.alert_rule r ON r.id = a.rule_id LEFT JOIN alatau.device d ON d.device_id = a.device_id
"""


class AlertSort(enum.StrEnum):
    """In which order alerts are listed; what is over has no place among the worst."""

    NEWEST = "newest"
    WORST = "worst"


class WorstPlace(NamedTuple):
    """Where an open alert stands among the worst: lower is worse, and of a rank the higher number is newer."""

    rank: int
    id: int


# The gravest first, and of those first what nobody looks after yet.
_GRAVEST = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)
_UNATTENDED = (AlertState.FIRING, AlertState.ACKNOWLEDGED, AlertState.PENDING)


def worst_place(alert: StoredAlert) -> WorstPlace:
    """Return where an open alert stands. Raises ValueError of one that is over."""
    return WorstPlace(
        10 * (_GRAVEST.index(alert.severity) + 1) + _UNATTENDED.index(alert.state) + 1, alert.id
    )


async def list_alerts(
    connection: Connection,
    chosen: AlertFilter,
    *,
    before: int | None = None,
    limit: int = 100,
) -> list[StoredAlert]:
    """Return alerts, the newest first, below a number: a keyset, never an offset."""
    rows = await connection.fetch(
        f"""
        {_SELECT}
        WHERE {_CHOSEN} AND ($7::bigint IS NULL OR a.id < $7)
        ORDER BY a.id DESC LIMIT $8
        """,
        *_given(chosen),
        before,
        limit,
    )
    return [_alert(row) for row in rows]


async def list_worst_alerts(
    connection: Connection, chosen: AlertFilter, *, after: WorstPlace | None = None, limit: int = 100
) -> list[StoredAlert]:
    """Return open alerts, the worst first, behind a place.

    Only the index of what is not over is read (``alert_once``): that is little, however much there has been.
    """
    rows = await connection.fetch(
        f"""
        WITH open AS (
            {_SELECT} WHERE a.state <> 'resolved' AND {_CHOSEN}
        ), ranked AS (
            SELECT *, 10 * array_position($7::text[], severity) + array_position($8::text[], state) AS rank FROM open
        )
        SELECT * FROM ranked WHERE $9::bigint IS NULL OR rank > $9 OR (rank = $9 AND id < $10::bigint)
        ORDER BY rank, id DESC LIMIT $11
        """,
        *_given(chosen),
        list(_GRAVEST),
        list(_UNATTENDED),
        *(after or (None, None)),
        limit,
    )
    return [_alert(row) for row in rows]


_COLUMNS = ("a.state", "a.severity", "COALESCE(d.district, a.district)", "a.kind", "d.id", "a.metric")
_CHOSEN = " AND ".join(
    f"(${place}::text[] = '{{}}' OR {column} = ANY (${place}))" for place, column in enumerate(_COLUMNS, 1)
)


def _given(chosen: AlertFilter) -> list[list[str]]:
    given = (chosen.states, chosen.severities, chosen.districts, chosen.kinds, chosen.devices, chosen.metrics)
    return [list(one) for one in given]


async def list_said(connection: Connection, since: dt.datetime) -> dict[int, dt.datetime]:
    """Return by number when each alert was last said anew, of those that were at this time or after it.

    Whatever becomes of an alert, it is later than before, by whoever's clock.
    """
    rows = await connection.fetch("SELECT id, said_at FROM alatau.alert WHERE said_at >= $1", since)
    return {row["id"]: row["said_at"] for row in rows}


async def find_alert(connection: Connection, number: int) -> StoredAlert | None:
    """Return one alert."""
    row = await connection.fetchrow(f"{_SELECT} WHERE a.id = $1", number)
    return None if row is None else _alert(row)


async def find_alerts(connection: Connection, numbers: Sequence[int]) -> dict[int, StoredAlert]:
    """Return alerts by their numbers."""
    rows = await connection.fetch(f"{_SELECT} WHERE a.id = ANY ($1::bigint[])", list(numbers))
    return {row["id"]: _alert(row) for row in rows}


_FIELDS = tuple(field.name for field in dataclasses.fields(StoredAlert))


def _alert(row: Any) -> StoredAlert:
    values = {name: row[name] for name in _FIELDS} | {
        "severity": Severity(row["severity"]),
        "state": AlertState(row["state"]),
    }
    return StoredAlert(**values)


async def list_alert_events(connection: Connection, number: int) -> list[AlertEvent]:
    """Return the history of an alert, in the order in which it came about."""
    rows = await connection.fetch(
        """
        SELECT time, state, severity, value, sentence, by, message FROM alatau.alert_event
        WHERE alert_id = $1 ORDER BY id
        """,
        number,
    )
    return [
        AlertEvent(**{**row, "state": AlertState(row["state"]), "severity": Severity(row["severity"])})
        for row in rows
    ]


async def acknowledge(connection: Connection, number: int, by: str, note: str, now: dt.datetime) -> bool:
    """Note that somebody has seen a firing alert; return whether there is such a one. Within a transaction."""
    changed = await connection.fetchrow(
        """
        UPDATE alatau.alert SET state = 'acknowledged', changed_at = $4, acknowledged_by = $2,
               said_at = GREATEST($4, said_at + interval '1 microsecond'), acknowledged_at = $4, acknowledged_note = $3
        WHERE id = $1 AND state = 'firing' RETURNING severity, value, sentence, message
        """,
        number,
        by,
        note,
        now,
    )
    if changed is None:
        return False
    await connection.execute(
        """
        INSERT INTO alatau.alert_event (alert_id, time, state, severity, value, sentence, message, by)
        VALUES ($1, $2, 'acknowledged', $3, $4, $5, $6, $7)
        """,
        number,
        now,
        changed["severity"],
        changed["value"],
        changed["sentence"],
        changed["message"],
        by,
    )
    return True


async def count_open_alerts(connection: Connection) -> dict[tuple[str | None, Severity, AlertState], int]:
    """Return how many alerts fire or were acknowledged, by district (None: of the whole city), severity and state."""
    rows = await connection.fetch(
        """
        SELECT COALESCE(d.district, a.district) AS district, a.severity, a.state, count(*) AS alerts
        FROM alatau.alert a LEFT JOIN alatau.device d ON d.device_id = a.device_id
        WHERE a.state IN ('firing', 'acknowledged') GROUP BY 1, 2, 3
        """
    )
    return {
        (row["district"], Severity(row["severity"]), AlertState(row["state"])): row["alerts"] for row in rows
    }
