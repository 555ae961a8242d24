"""Dead letters: every refused message with its raw bytes and the reason."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from sensors.checks import Reason
from sensors.times import from_microseconds
from storage.kinds import Connection


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message on its way in; ``received`` in Unix µs, ``redelivered`` if it was sent again."""

    received: int
    topic: str
    payload: bytes
    reason: Reason
    detail: str
    device_id: int | None = None
    redelivered: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as it is kept; in lists ``payload`` is only the beginning, ``payload_bytes`` its length."""

    dead_letter_id: int
    received_at: dt.datetime
    topic: str
    payload: bytes
    payload_bytes: int
    reason: str
    detail: str
    device: str | None
    replayed_at: dt.datetime | None
    replay_verdict: str | None


async def insert_letters(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep the letters. One that the broker delivers again is kept once, as is one whose first commit had an
    unknown outcome: its message and its time of arrival are the same."""
    if not letters:
        return
    await connection.execute(
        """
        INSERT INTO alatau.dead_letter (received_at, topic, payload, reason, detail, device_id)
        SELECT received_at, topic, payload, reason, detail, device_id
        FROM unnest($1::timestamptz[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::int[],
                    $7::boolean[])
             AS new (received_at, topic, payload, reason, detail, device_id, redelivered)
        WHERE NOT (redelivered AND EXISTS (
            SELECT FROM alatau.dead_letter old
            WHERE md5(old.topic) = md5(new.topic) AND old.topic = new.topic AND old.payload = new.payload
                  AND old.reason = new.reason AND old.received_at > new.received_at - interval '7 days'))
              AND NOT EXISTS (
            SELECT FROM alatau.dead_letter old
            WHERE md5(old.topic) = md5(new.topic) AND old.topic = new.topic
                  AND old.received_at = new.received_at AND old.payload = new.payload)
        """,
        [from_microseconds(letter.received) for letter in letters],
        # PostgreSQL's text holds every character but NUL, which MQTT forbids in topics too.
        [letter.topic.replace("\0", "\ufffd") for letter in letters],
        [letter.payload for letter in letters],
        [letter.reason.value for letter in letters],
        [letter.detail.replace("\0", "\ufffd") for letter in letters],
        [letter.device_id for letter in letters],
        [letter.redelivered for letter in letters],
    )


# How much of a payload a list shows: a page of large ones must stay an answer, not a download.
LISTED_BYTES = 4096

_SELECT = """
    SELECT dead_letter_id, received_at, topic, substring(payload FROM 1 FOR $3) AS payload,
           length(payload) AS payload_bytes, reason, detail, device.id AS device, replayed_at, replay_verdict
    FROM alatau.dead_letter LEFT JOIN alatau.device USING (device_id)
"""
_CHOSEN = """
    ($1::text IS NULL OR reason = $1)
    AND ($2::text IS NULL OR device_id = (SELECT device_id FROM alatau.device WHERE id = $2))
"""
_WHOLE = 2**31 - 1


def _letter(row: Any) -> StoredLetter:
    return StoredLetter(**dict(row))


async def list_letters(
    connection: Connection,
    *,
    before: int | None = None,
    limit: int = 100,
    reason: Reason | None = None,
    device: str | None = None,
    waiting_only: bool = False,
) -> list[StoredLetter]:
    """Return letters, newest first, below a number: a keyset, never an offset."""
    rows = await connection.fetch(
        f"""
        {_SELECT}
        WHERE {_CHOSEN} AND ($4::bigint IS NULL OR dead_letter_id < $4) AND (NOT $5 OR replayed_at IS NULL)
        ORDER BY dead_letter_id DESC LIMIT $6
        """,
        reason.value if reason else None,
        device,
        LISTED_BYTES,
        before,
        waiting_only,
        limit,
    )
    return [_letter(row) for row in rows]


async def waiting_letters(
    connection: Connection, *, reason: Reason | None = None, device: str | None = None
) -> list[int]:
    """Return the numbers of the letters that wait for a replay, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT dead_letter_id FROM alatau.dead_letter
        WHERE {_CHOSEN} AND replayed_at IS NULL ORDER BY dead_letter_id
        """,
        reason.value if reason else None,
        device,
    )
    return [row["dead_letter_id"] for row in rows]


async def find_letter(connection: Connection, number: int) -> StoredLetter | None:
    """Return one letter."""
    row = await connection.fetchrow(
        f"{_SELECT} WHERE {_CHOSEN} AND dead_letter_id = $4", None, None, _WHOLE, number
    )
    return None if row is None else _letter(row)


async def note_replay(connection: Connection, number: int, verdict: str, *, accepted: bool) -> None:
    """Note on a letter what came of feeding it again; one that is still refused goes on waiting."""
    await connection.execute(
        """
        UPDATE alatau.dead_letter SET replayed_at = CASE WHEN $3 THEN now() END, replay_verdict = $2
        WHERE dead_letter_id = $1
        """,
        number,
        verdict,
        accepted,
    )


async def trim_letters(connection: Connection, keep: int) -> int:
    """Delete all but the newest ``keep`` letters, and return how many went: the table is bounded."""
    status = await connection.execute(
        """
        DELETE FROM alatau.dead_letter WHERE dead_letter_id <= (
            SELECT dead_letter_id FROM alatau.dead_letter ORDER BY dead_letter_id DESC OFFSET $1 LIMIT 1)
        """,
        keep,
    )
    return int(status.rpartition(" ")[2])
