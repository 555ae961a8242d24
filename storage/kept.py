"""What was kept of sources that nobody had claimed, to be read again once somebody has."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from sensors.checks import Reason
from storage.kinds import Connection

# Whose turn it is to read it again, of all processes.
KEPT_TURN = "alatau.kept"


class Kept(NamedTuple):
    """A claimed source of whose topics messages wait; those up to the dead letter ``after`` were read again."""

    format: str
    name: str
    topics: list[str]
    after: int
    changed_at: dt.datetime


async def sources_with_kept(connection: Connection, limit: int = 1000) -> list[Kept]:
    """Return the claimed sources of which messages may wait."""
    rows = await connection.fetch(
        """
        SELECT format, name, topics, kept_after AS after, changed_at FROM alatau.source
        WHERE kept_after IS NOT NULL AND device_id IS NOT NULL ORDER BY format, name LIMIT $1
        """,
        limit,
    )
    return [Kept(**row) for row in rows]


async def note_kept(connection: Connection, source: Kept, after: int | None) -> bool:
    """Note up to which dead letter a source's messages were read again, None when none is left.

    Return whether the claim is still the one that they were read by.
    """
    status = await connection.execute(
        "UPDATE alatau.source SET kept_after = $4 WHERE format = $1 AND name = $2 AND changed_at = $3",
        source.format,
        source.name,
        source.changed_at,
        after,
    )
    return str(status) != "UPDATE 0"


async def count_kept(connection: Connection, wire_format: str, name: str) -> int:
    """Return how many messages wait to be read again for a source."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM alatau.source s JOIN alatau.dead_letter l
            ON md5(l.topic) = ANY (ARRAY(SELECT md5(one) FROM unnest(s.topics) one)) AND l.topic = ANY (s.topics)
        WHERE s.format = $1 AND s.name = $2 AND l.dead_letter_id > s.kept_after AND l.reason = $3
              AND l.replayed_at IS NULL
        """,
        wire_format,
        name,
        Reason.UNCLAIMED.value,
    )
    return count
