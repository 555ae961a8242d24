"""What devices said of themselves, or their last wills for them: durable, whichever way it came.

An ``offline`` counts for as long as no reading is newer. How old a reading is, a device with a wrong clock can't say:
the earlier of its own time and its arrival is taken.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from sensors.statuses import Said
from sensors.times import from_microseconds, to_microseconds
from storage.kinds import Connection
from storage.latest_changes import Sight, announce_latest

# SQL, beside ``alatau.latest l``: who said last that it is offline, and whether that counts (NULL of who did not).
# The second is that of ``sensors.statuses.is_gone``.
OFFLINE = (
    "LEFT JOIN (SELECT device_id, at FROM alatau.device_status WHERE said = 'offline') o USING (device_id)"
)
IS_GONE = "(least(l.time, l.received_at) < o.at + interval '1 second')"


class Heard(NamedTuple):
    """A status of a device, heard ``at`` a time, Unix µs.

    ``is_replayed`` of what was kept somewhere and may have been heard before.
    """

    device: str
    said: Said
    at: int
    is_replayed: bool = False


class Recorded(NamedTuple):
    """How many statuses were news, and which devices are not registered."""

    news: int
    unknown: frozenset[str]


class StatusChange(NamedTuple):
    """The last status of a device, its time in Unix µs, with the transaction that ``changed`` it."""

    device: str
    kind: str
    district: str
    said: Said
    at: int
    changed: int


async def record_statuses(connection: Connection, heard: Iterable[Heard]) -> Recorded:
    """Store the last status of each device, and wake who waits for changes; an earlier one never replaces a later.

    What a device says again is no news and keeps its time, but an ``offline`` that was not replayed: a device that
    never says ``online`` was there in between.
    """
    last = {status.device: status for status in heard}.values()
    row = await connection.fetchrow(
        """
        WITH given AS MATERIALIZED (
            SELECT given.*, d.device_id
            FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::boolean[])
                 AS given (device, said, at, is_replayed)
            LEFT JOIN alatau.device d ON d.id = given.device
        ), written AS (
            INSERT INTO alatau.device_status AS old (device_id, said, at)
            SELECT device_id, given.said, given.at
            FROM given LEFT JOIN alatau.device_status known USING (device_id)
            WHERE device_id IS NOT NULL
                  AND (known.said IS DISTINCT FROM given.said OR (given.said = 'offline' AND NOT is_replayed))
            ORDER BY device_id
            ON CONFLICT (device_id) DO UPDATE SET said = EXCLUDED.said, at = EXCLUDED.at, changed = EXCLUDED.changed
            WHERE EXCLUDED.at > old.at
            RETURNING device_id
        )
        SELECT (SELECT count(*) FROM written) AS news,
               ARRAY(SELECT device FROM given WHERE device_id IS NULL) AS unknown
        """,
        [status.device for status in last],
        [status.said.value for status in last],
        [from_microseconds(status.at) for status in last],
        [status.is_replayed for status in last],
    )
    if row is None:
        raise LookupError("a query without FROM gave no row")
    if row["news"]:
        await announce_latest(connection)
    return Recorded(row["news"], frozenset(row["unknown"]))


async def statuses_since(
    connection: Connection, seen: Sight | None, begin: dt.datetime
) -> list[StatusChange]:
    """Return the statuses that an earlier look could not see; without one who is offline, and what was said since
    ``begin``. In the transaction of the look."""
    rows = await connection.fetch(
        f"""
        SELECT id, kind, district, said, at, s.changed
        FROM alatau.device_status s JOIN alatau.device USING (device_id)
        WHERE {"said = 'offline' OR at >= $1" if seen is None else "s.changed >= $1 OR s.changed = ANY($2::int8[])"}
        """,
        *((begin,) if seen is None else (seen.end, seen.running)),
    )
    return [
        StatusChange(id_, kind, district, Said(said), to_microseconds(at), changed)
        for id_, kind, district, said, at, changed in rows
    ]
