"""Rules of alerts and windows of maintenance, kept."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Sequence
from typing import Any

import msgspec

from sensors.rules import Rule
from storage.kinds import Connection


class Origin(enum.StrEnum):
    """Where a rule comes from; one that came with us is renewed with us, until somebody changes it."""

    BUILTIN = "builtin"
    FILE = "file"
    API = "api"


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule as it is kept."""

    rule: Rule
    origin: Origin
    created_at: dt.datetime
    changed_at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A time in which nothing new is raised, of a device, of a district and a kind, or of the whole city."""

    id: int
    starts: dt.datetime
    ends: dt.datetime
    device: str | None
    district: str | None
    kind: str | None
    reason: str
    created_by: str


async def list_rules(connection: Connection) -> list[StoredRule]:
    """Return all rules in the order of their names."""
    rows = await connection.fetch("SELECT * FROM alatau.alert_rule ORDER BY name")
    return [_rule(row) for row in rows]


async def find_rule(connection: Connection, name: str) -> StoredRule | None:
    """Return one rule."""
    row = await connection.fetchrow("SELECT * FROM alatau.alert_rule WHERE name = $1", name)
    return None if row is None else _rule(row)


def _rule(row: Any) -> StoredRule:
    rule = msgspec.convert(
        {name: row[name] for name in ("name", "kind", "definition", "severity", "enabled")}, Rule
    )
    return StoredRule(rule, Origin(row["origin"]), row["created_at"], row["changed_at"])


async def put_rule(connection: Connection, rule: Rule, origin: Origin) -> bool:
    """Store a rule in the place of the one of its name; return whether that changed anything."""
    changed = await connection.fetchval(
        """
        INSERT INTO alatau.alert_rule AS old (name, kind, definition, severity, enabled, origin)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (name) DO UPDATE
        SET kind = $2, definition = $3, severity = $4, enabled = $5, origin = $6, changed_at = now()
        WHERE (old.kind, old.definition, old.severity, old.enabled) IS DISTINCT FROM ($2, $3, $4, $5)
        RETURNING true
        """,
        rule.name,
        rule.kind.value,
        rule.definition,
        rule.severity,
        rule.enabled,
        origin.value,
    )
    return changed is True


async def put_builtin_rules(connection: Connection, rules: Sequence[Rule]) -> int:
    """Store the rules that come with us, but for those that somebody has changed; return how many are new."""
    known = {stored.rule.name: stored for stored in await list_rules(connection)}
    count = 0
    for rule in rules:
        if (stored := known.get(rule.name)) is None or stored.origin is Origin.BUILTIN:
            count += await put_rule(connection, rule, Origin.BUILTIN)
    return count


async def delete_rule(connection: Connection, name: str) -> bool:
    """Delete a rule; its alerts end with the next pass. Return whether there was one."""
    status = await connection.execute("DELETE FROM alatau.alert_rule WHERE name = $1", name)
    return str(status) != "DELETE 0"


async def list_windows(
    connection: Connection, now: dt.datetime, *, after: int = 0, limit: int = 1000
) -> list[Window]:
    """Return the windows that are not over, in the order in which they were made."""
    rows = await connection.fetch(
        """
        SELECT w.id, w.starts, w.ends, d.id AS device, w.district, w.kind, w.reason, w.created_by
        FROM alatau.maintenance_window w LEFT JOIN alatau.device d ON d.device_id = w.device_id
        WHERE w.ends > $1 AND w.id > $2 ORDER BY w.id LIMIT $3
        """,
        now,
        after,
        limit,
    )
    return [Window(**row) for row in rows]


async def windows_under_way(connection: Connection, now: dt.datetime) -> list[Window]:
    """Return all windows that have begun and are not over."""
    rows = await connection.fetch(
        """
        SELECT w.id, w.starts, w.ends, d.id AS device, w.district, w.kind, w.reason, w.created_by
        FROM alatau.maintenance_window w LEFT JOIN alatau.device d ON d.device_id = w.device_id
        WHERE w.starts <= $1 AND w.ends > $1
        """,
        now,
    )
    return [Window(**row) for row in rows]


async def add_window(
    connection: Connection,
    starts: dt.datetime,
    ends: dt.datetime,
    *,
    device: str | None,
    district: str | None,
    kind: str | None,
    reason: str,
    created_by: str,
) -> int | None:
    """Add a window and return its number; None where there is no such device."""
    number: int | None = await connection.fetchval(
        """
        INSERT INTO alatau.maintenance_window (starts, ends, device_id, district, kind, reason, created_by)
        SELECT $1, $2, d.device_id, $4, $5, $6, $7
        FROM (SELECT $3::text AS id) given LEFT JOIN alatau.device d USING (id)
        WHERE given.id IS NULL OR d.device_id IS NOT NULL
        RETURNING id
        """,
        starts,
        ends,
        device,
        district,
        kind,
        reason,
        created_by,
    )
    return number


async def delete_window(connection: Connection, number: int) -> bool:
    """Delete a window; return whether there was one."""
    status = await connection.execute("DELETE FROM alatau.maintenance_window WHERE id = $1", number)
    return str(status) != "DELETE 0"
