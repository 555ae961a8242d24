"""Destinations of alerts. Their secrets are written by who makes them, and read by who delivers alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from sensors.alerts import Severity
from sensors.destinations import Destination, DestinationType
from sensors.messages import Language
from storage.kinds import Connection

# What was made or changed is taken up at once.
DELIVERIES_CHANNEL = "alatau_deliveries"

# Without the secret, which the API's role may not read.
_COLUMNS = """
    d.name, d.type, d.url, d.recipients, d.severity, d.districts, d.kinds, d.per_minute, d.enabled,
    d.language
"""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredDestination:
    """A destination, and how its deliveries go."""

    destination: Destination
    created_at: dt.datetime
    created_by: str
    changed_at: dt.datetime
    waiting: int
    dead: int
    delivered_at: dt.datetime | None  # the last one
    last_error: str | None  # of the newest that waits or is dead


def destination_of(row: Any) -> Destination:
    """Return the destination of a row that has its columns."""
    return Destination(
        name=row["name"],
        type=DestinationType(row["type"]),
        url=row["url"],
        recipients=tuple(row["recipients"]),
        severity=Severity(row["severity"]),
        districts=_names(row["districts"]),
        kinds=_names(row["kinds"]),
        per_minute=row["per_minute"],
        is_enabled=row["enabled"],
        language=Language(row["language"]),
    )


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


async def list_destinations(connection: Connection, name: str | None = None) -> list[StoredDestination]:
    """Return all destinations by name, or the one of a name."""
    # Each state has an index of its own: what was delivered in three months is not read.
    failed = " UNION ALL ".join(
        f"""
        (SELECT o.delivery_id, o.last_error FROM alatau.delivery o
         WHERE o.destination_id = d.destination_id AND o.state = '{state}' AND o.last_error IS NOT NULL
         ORDER BY o.delivery_id DESC LIMIT 1)
        """
        for state in ("waiting", "dead")
    )
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, d.created_at, d.created_by, d.changed_at,
               (SELECT count(*) FROM alatau.delivery o
                WHERE o.destination_id = d.destination_id AND o.state = 'waiting') AS waiting,
               (SELECT count(*) FROM alatau.delivery o
                WHERE o.destination_id = d.destination_id AND o.state = 'dead') AS dead,
               (SELECT o.finished_at FROM alatau.delivery o
                WHERE o.destination_id = d.destination_id AND o.state = 'delivered'
                ORDER BY o.finished_at DESC LIMIT 1) AS delivered_at,
               (SELECT e.last_error FROM ({failed}) e ORDER BY e.delivery_id DESC LIMIT 1) AS last_error
        FROM alatau.destination d WHERE $1::text IS NULL OR d.name = $1
        ORDER BY d.name
        """,
        name,
    )
    return [
        StoredDestination(
            destination_of(row),
            row["created_at"],
            row["created_by"],
            row["changed_at"],
            row["waiting"],
            row["dead"],
            row["delivered_at"],
            row["last_error"],
        )
        for row in rows
    ]


async def find_destination(connection: Connection, name: str) -> StoredDestination | None:
    """Return a destination by its name."""
    found = await list_destinations(connection, name)
    return found[0] if found else None


async def add_destination(
    connection: Connection, destination: Destination, secret: str | None, who: str
) -> bool:
    """Add a destination, with the secret of a webhook; return False if there is one of this name."""
    added = await connection.fetchval(
        """
        INSERT INTO alatau.destination
            (name, type, url, recipients, severity, districts, kinds, per_minute, enabled, language, secret, created_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (name) DO NOTHING RETURNING true
        """,
        *_values(destination),
        secret,
        who,
    )
    return bool(added)


async def change_destination(connection: Connection, destination: Destination) -> bool:
    """Have a destination of this name and type as it is described; return False if there is none."""
    changed = await connection.fetchval(
        """
        UPDATE alatau.destination
        SET url = $3, recipients = $4, severity = $5, districts = $6, kinds = $7, per_minute = $8, enabled = $9,
            language = $10, changed_at = now()
        WHERE name = $1 AND type = $2 RETURNING true
        """,
        *_values(destination),
    )
    await _announce(connection)
    return bool(changed)


def _values(one: Destination) -> tuple[object, ...]:
    districts, kinds = (None if names is None else list(names) for names in (one.districts, one.kinds))
    return (
        one.name,
        one.type.value,
        one.url,
        list(one.recipients),
        one.severity.value,
        districts,
        kinds,
        one.per_minute,
        one.is_enabled,
        one.language.value,
    )


async def delete_destination(connection: Connection, name: str) -> bool:
    """Delete a destination with all its deliveries; return whether there was one."""
    return bool(
        await connection.fetchval("DELETE FROM alatau.destination WHERE name = $1 RETURNING true", name)
    )


async def replace_secret(connection: Connection, name: str, secret: str, grace: dt.timedelta) -> bool:
    """Sign with another secret, and for the grace with the old one, too; return whether that is a webhook."""
    replaced = await connection.fetchval(
        "SELECT alatau.replace_destination_secret($1, $2, $3)", name, secret, grace
    )
    return bool(replaced)


async def order_test(connection: Connection, name: str) -> int | None:
    """Have a test sent; return the number of its delivery, None where there is no such destination."""
    number: int | None = await connection.fetchval("SELECT alatau.test_destination($1)", name)
    return number


async def _announce(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify($1, '')", DELIVERIES_CHANNEL)
