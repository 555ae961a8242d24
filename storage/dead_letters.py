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
    """A refused message on its way in; ``received`` in Unix µs. One that ``is_repeated`` may come again as it is,
    and is kept once: its device has had no receipt, or the broker keeps it."""

    received: int
    topic: str
    payload: bytes
    reason: Reason
    detail: str
    device_id: int | None = None
    is_repeated: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Fold:
    """Refused messages, ``count`` of them, that are only counted: in the letter of this topic and arrival (Unix µs).

    The reason is that of ``letter``, the last of them, which is kept when there is no such letter any more.
    """

    topic: str
    received: int
    count: int
    letter: DeadLetter


@dataclasses.dataclass(frozen=True, slots=True)
class Letters:
    """What one transaction keeps of refused messages."""

    kept: Sequence[DeadLetter] = ()
    folds: Sequence[Fold] = ()


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
    repeats: int  # further messages of this topic and reason that are only counted here
    replayed_at: dt.datetime | None
    replay_verdict: str | None


async def insert_letters(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep the letters. One that is repeated is kept once."""
    if not letters:
        return
    await connection.execute(
        """
        INSERT INTO alatau.dead_letter (received_at, topic, payload, reason, detail, device_id)
        SELECT received_at, topic, payload, reason, detail, device_id
        FROM unnest($1::timestamptz[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::int[],
                    $7::boolean[])
             AS new (received_at, topic, payload, reason, detail, device_id, is_repeated)
        WHERE NOT (is_repeated AND EXISTS (
            SELECT FROM alatau.dead_letter old
            WHERE md5(old.payload) = md5(new.payload) AND md5(old.topic) = md5(new.topic)
                  AND old.payload = new.payload AND old.topic = new.topic AND old.reason = new.reason))
        """,
        *_columns(letters),
        [letter.is_repeated for letter in letters],
    )


async def fold_letters(connection: Connection, folds: Sequence[Fold]) -> None:
    """Count messages in the letters they are folded into; keep one of them where there is no such letter."""
    if not folds:
        return
    await connection.execute(
        """
        WITH target AS MATERIALIZED (
            SELECT given.*, kept.dead_letter_id
            FROM unnest($1::timestamptz[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::int[],
                        $7::text[], $8::timestamptz[], $9::bigint[])
                 AS given (received_at, topic, payload, reason, detail, device_id, of_topic, of_time, count)
            LEFT JOIN LATERAL (
                SELECT dead_letter_id FROM alatau.dead_letter old
                WHERE md5(old.topic) = md5(of_topic) AND old.received_at = of_time AND old.topic = of_topic
                      AND old.reason || '' = given.reason  -- no index on the reason finds it as fast
                LIMIT 1 FOR UPDATE) kept ON true
        ), counted AS (
            UPDATE alatau.dead_letter SET repeats = repeats + count
            FROM target WHERE dead_letter.dead_letter_id = target.dead_letter_id
        )
        INSERT INTO alatau.dead_letter (received_at, topic, payload, reason, detail, device_id, repeats)
        SELECT received_at, topic, payload, reason, detail, device_id, count - 1
        FROM target WHERE dead_letter_id IS NULL
        """,
        *_columns([fold.letter for fold in folds]),
        [_text(fold.topic) for fold in folds],
        [from_microseconds(fold.received) for fold in folds],
        [fold.count for fold in folds],
    )


def _columns(letters: Sequence[DeadLetter]) -> tuple[list[Any], ...]:
    return (
        [from_microseconds(letter.received) for letter in letters],
        [_text(letter.topic) for letter in letters],
        [letter.payload for letter in letters],
        [letter.reason.value for letter in letters],
        [_text(letter.detail) for letter in letters],
        [letter.device_id for letter in letters],
    )


def _text(text: str) -> str:
    # PostgreSQL's text holds every character but NUL, which MQTT forbids in topics too.
    return text.replace("\0", "\ufffd")


# How much of a payload a list shows: a page of large ones must stay an answer, not a download.
LISTED_BYTES = 4096

_SELECT = """
    SELECT dead_letter_id, received_at, topic, substring(payload FROM 1 FOR $3) AS payload,
           length(payload) AS payload_bytes, reason, detail, device.id AS device, repeats,
           replayed_at, replay_verdict
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


_UNCLAIMED_OF = """
    md5(topic) = ANY (ARRAY(SELECT md5(one) FROM unnest($4::text[]) one)) AND topic = ANY($4)
    AND reason = $5 AND replayed_at IS NULL
"""


async def letters_of_topics(
    connection: Connection, topics: Sequence[str], *, after: int = 0, limit: int | None = None
) -> list[StoredLetter]:
    """Return the letters of some topics that were refused for want of an owner, in the order of receipt."""
    rows = await connection.fetch(
        f"""
        {_SELECT} WHERE {_CHOSEN} AND {_UNCLAIMED_OF} AND dead_letter_id > $6
        ORDER BY dead_letter_id LIMIT $7
        """,
        None,
        None,
        _WHOLE,
        topics,
        Reason.UNCLAIMED.value,
        after,
        limit,
    )
    return [_letter(row) for row in rows]


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


async def trim_letters(connection: Connection, keep: int, days: float) -> int:
    """Delete all but the newest ``keep`` letters of the last ``days``, and return how many went.

    Numbers rise with the time of arrival, so both bounds are one number, and finding it reads little: only a
    table that may have grown past the bound is counted, and from the oldest only what will go.
    """
    status = await connection.execute(
        """
        DELETE FROM alatau.dead_letter WHERE dead_letter_id <= (
            SELECT dead_letter_id FROM alatau.dead_letter
            WHERE (SELECT max(dead_letter_id) - min(dead_letter_id) >= $1 FROM alatau.dead_letter)
            ORDER BY dead_letter_id DESC OFFSET $1 LIMIT 1)
        OR dead_letter_id < COALESCE(
            (SELECT dead_letter_id FROM alatau.dead_letter
             WHERE received_at >= now() - make_interval(secs => $2::float8 * 86400)
             ORDER BY dead_letter_id LIMIT 1),
            (SELECT max(dead_letter_id) + 1 FROM alatau.dead_letter))
        """,
        keep,
        days,
    )
    return int(status.rpartition(" ")[2])
