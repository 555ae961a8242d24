"""Messages without which later ones can't be read, such as births: kept, so that an ingest that starts knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sensors.times import from_microseconds, to_microseconds
from storage.kinds import Connection

# Who makes up ever new ones pushes out who was silent longest.
MOST_LESSONS, MOST_BYTES, MOST_BYTES_IN_ALL = 10_000, 65_536, 64 * 1024**2
LONGEST_TOPIC = 1024  # bytes: it is in an index


class Lesson(NamedTuple):
    """The last such message of a topic; ``received`` in Unix µs."""

    topic: str
    payload: bytes
    received: int


async def keep_lessons(connection: Connection, lessons: Sequence[Lesson]) -> None:
    """Keep the last message of each topic; beyond the bounds the oldest are forgotten, large ones not kept."""
    last = {
        one.topic: one
        for one in lessons
        if len(one.payload) <= MOST_BYTES and len(one.topic.encode()) <= LONGEST_TOPIC
    }
    rows = [last[topic] for topic in sorted(last)]
    await connection.execute(
        """
        INSERT INTO alatau.lesson AS old (topic, payload, received_at)
        SELECT * FROM unnest($1::text[], $2::bytea[], $3::timestamptz[])
        ON CONFLICT (topic) DO UPDATE SET payload = EXCLUDED.payload, received_at = EXCLUDED.received_at
        WHERE EXCLUDED.received_at > old.received_at
        """,
        [one.topic for one in rows],
        [one.payload for one in rows],
        [from_microseconds(one.received) for one in rows],
    )
    await connection.execute(
        """
        DELETE FROM alatau.lesson WHERE topic IN (
            SELECT topic FROM (
                SELECT topic, row_number() OVER newest AS place, sum(length(payload)) OVER newest AS bytes
                FROM alatau.lesson WINDOW newest AS (ORDER BY received_at DESC, topic)) kept
            WHERE place > $1 OR bytes > $2)
        """,
        MOST_LESSONS,
        MOST_BYTES_IN_ALL,
    )


async def load_lessons(connection: Connection) -> list[Lesson]:
    """Return all that is kept, in the order of receipt."""
    rows = await connection.fetch(
        "SELECT topic, payload, received_at FROM alatau.lesson ORDER BY received_at, topic"
    )
    return [Lesson(row["topic"], row["payload"], to_microseconds(row["received_at"])) for row in rows]
