"""The states of alerts, kept: those that are not over, and what a pass makes of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from sensors.messages import AlertMessage
from sensors.times import from_microseconds, to_microseconds
from storage.alerts import AlertState, Severity
from storage.kinds import Connection


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveAlert:
    """An alert that is not over. Times are Unix µs; ``ended`` is how often one of the same fingerprint has ended in the
    last day, ``said_at`` when its sentence was renewed, ``gone_since`` since when it no longer holds, ``clear``
    how long it must be gone until it is over, µs."""

    id: int
    fingerprint: str
    rule: str | None
    kind_of_rule: str
    severity: Severity
    state: AlertState
    sentence: str
    value: float | None
    since: int
    said_at: int
    gone_since: int | None
    clear: int
    ended: int
    message: AlertMessage | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class AlertContent:
    """What an alert says."""

    severity: Severity
    title: str
    sentence: str
    since: dt.datetime
    value: float | None
    low: float | None
    high: float | None
    evidence: Mapping[str, object]
    clear_seconds: float
    message: AlertMessage | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class NewAlert:
    """An alert that was not there before."""

    fingerprint: str
    rule: str | None
    kind_of_rule: str
    device: str | None
    district: str | None
    kind: str | None
    metric: str | None
    state: AlertState
    content: AlertContent


@dataclasses.dataclass(frozen=True, slots=True)
class AlertChange:
    """What becomes of an alert that is there; ``content`` None is as it was, ``step`` the sentence of its history where
    its state or severity changes, ``step_message`` the same in every language."""

    id: int
    state: AlertState
    gone_since: dt.datetime | None
    content: AlertContent | None
    step: str | None
    step_message: AlertMessage | None = None


async def load_active(connection: Connection, now: int, *, lock: bool) -> list[ActiveAlert]:
    """Return the alerts that are not over; with ``lock`` nobody changes them until the transaction ends."""
    rows = await connection.fetch(
        f"""
        SELECT a.id, a.fingerprint, r.name AS rule, a.kind_of_rule, a.severity, a.state, a.sentence, a.message, a.value,
               a.since, a.said_at, a.gone_since, round(a.clear_seconds * 1e6)::bigint AS clear,
               COALESCE(o.ended, 0) AS ended
        FROM alatau.alert a LEFT JOIN alatau.alert_rule r ON r.id = a.rule_id
        LEFT JOIN (
            SELECT fingerprint, count(*) AS ended FROM alatau.alert
            WHERE state = 'resolved' AND resolved_at > $1::timestamptz - interval '1 day' AND fired_at IS NOT NULL
            GROUP BY fingerprint) o ON o.fingerprint = a.fingerprint
        WHERE a.state <> 'resolved' {"FOR UPDATE OF a" if lock else ""}
        """,
        from_microseconds(now),
    )
    return [
        ActiveAlert(
            **{
                **row,
                "severity": Severity(row["severity"]),
                "state": AlertState(row["state"]),
                "since": to_microseconds(row["since"]),
                "said_at": to_microseconds(row["said_at"]),
                "gone_since": row["gone_since"] and to_microseconds(row["gone_since"]),
            }
        )
        for row in rows
    ]


_CONTENT = """
    severity text, title text, sentence text, since timestamptz, value float8, low float8, high float8, evidence jsonb,
    clear_seconds float8, message jsonb
"""


async def store_states(
    connection: Connection, new: Sequence[NewAlert], changes: Sequence[AlertChange], now: int
) -> None:
    """Store what a pass has made of the alerts, and their history; in the transaction that has them locked."""
    at = from_microseconds(now)
    if new:
        await connection.execute(
            f"""
            WITH added AS (
                INSERT INTO alatau.alert (
                    rule_id, kind_of_rule, fingerprint, device_id, district, kind, metric, state, changed_at, said_at,
                    fired_at, clear_seconds, severity, title, sentence, message, since, value, low, high, evidence)
                SELECT r.id, g.kind_of_rule, g.fingerprint, d.device_id, COALESCE(d.district, g.district), g.kind,
                       g.metric, g.state, $2, $2, CASE WHEN g.state = 'firing' THEN $2::timestamptz END,
                       c.clear_seconds, c.severity, c.title, c.sentence, c.message, c.since, c.value, c.low, c.high,
                       jsonb_build_object('times_in_30_days', (
                           SELECT count(*) FROM alatau.alert o
                           WHERE o.fingerprint = g.fingerprint AND o.since > $2 - interval '30 days'
                                 AND o.fired_at IS NOT NULL)) || c.evidence
                FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS (
                    fingerprint text, rule text, kind_of_rule text, device text, district text, kind text, metric text,
                    state text, content jsonb)) WITH ORDINALITY AS g (
                    fingerprint, rule, kind_of_rule, device, district, kind, metric, state, content, place)
                CROSS JOIN LATERAL jsonb_to_record(g.content) AS c ({_CONTENT})
                LEFT JOIN alatau.alert_rule r ON r.name = g.rule LEFT JOIN alatau.device d ON d.id = g.device
                ORDER BY g.place
                RETURNING id, state, severity, value, sentence, message
            )
            INSERT INTO alatau.alert_event (alert_id, time, state, severity, value, sentence, message)
            SELECT id, $2, state, severity, value, sentence, message FROM added ORDER BY id
            """,
            list(new),
            at,
        )
    if changes:
        await connection.execute(
            f"""
            WITH changed AS (
                UPDATE alatau.alert a
                SET state = g.state, gone_since = g.gone_since,
                    changed_at = CASE WHEN g.state = a.state AND COALESCE(c.severity, a.severity) = a.severity
                                      THEN a.changed_at ELSE $2 END,
                    said_at = CASE WHEN g.step IS NULL AND g.content IS NULL THEN a.said_at
                                   ELSE GREATEST($2, a.said_at + interval '1 microsecond') END,
                    fired_at = CASE WHEN g.state = 'firing' THEN COALESCE(a.fired_at, $2) ELSE a.fired_at END,
                    resolved_at = CASE WHEN g.state = 'resolved' THEN $2::timestamptz END,
                    severity = COALESCE(c.severity, a.severity), title = COALESCE(c.title, a.title),
                    sentence = COALESCE(c.sentence, a.sentence), since = COALESCE(c.since, a.since),
                    clear_seconds = COALESCE(c.clear_seconds, a.clear_seconds),
                    message = CASE WHEN g.content IS NULL THEN a.message ELSE c.message END,
                    value = CASE WHEN g.content IS NULL THEN a.value ELSE c.value END,
                    low = CASE WHEN g.content IS NULL THEN a.low ELSE c.low END,
                    high = CASE WHEN g.content IS NULL THEN a.high ELSE c.high END,
                    evidence = a.evidence || COALESCE(c.evidence, '{{}}')
                FROM jsonb_to_recordset($1::jsonb) AS g (
                    id bigint, state text, gone_since timestamptz, content jsonb, step text, step_message jsonb)
                LEFT JOIN LATERAL jsonb_to_record(g.content) AS c ({_CONTENT}) ON true
                WHERE a.id = g.id
                RETURNING a.id, a.state, a.severity, a.value, g.step, g.step_message
            )
            INSERT INTO alatau.alert_event (alert_id, time, state, severity, value, sentence, message)
            SELECT id, $2, state, severity, value, step, step_message FROM changed WHERE step IS NOT NULL ORDER BY id
            """,
            list(changes),
            at,
        )


async def forget_alerts(connection: Connection, now: int, *, keep: dt.timedelta) -> int:
    """Delete alerts that were over so long ago, and those of yesterday that never counted; return how many."""
    at, count = from_microseconds(now), 0
    # Each has an index that ends where it does.
    for which, age in (("", keep), ("AND fired_at IS NULL", dt.timedelta(days=1))):
        status = await connection.execute(
            f"DELETE FROM alatau.alert WHERE state = 'resolved' {which} AND resolved_at < $1", at - age
        )
        count += int(status.rpartition(" ")[2])
    return count
