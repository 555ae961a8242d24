"""How much comes in now, at the price of a few counters: what the server counts of tables, and the newest letters."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from storage.fleet import Patience
from storage.kinds import Connection


class Counts(NamedTuple):
    """What has been counted; only differences say something.

    ``readings`` are rows written into the tables of readings, ``refused`` the messages since the letter ``after``.
    """

    readings: int
    refused: int
    after: int


class Arrivals(NamedTuple):
    """Of the devices that sent something lately: how late, 95th percentile in s, and when the last arrived."""

    lag_p95: float | None
    last: dt.datetime | None


async def read_counts(connection: Connection, now: dt.datetime, after: int | None) -> Counts:
    """Count, with ``after`` of the counts to compare with; None begins anew.

    The server's statistics lag by about a second. A dropped chunk takes its rows with it, so that a difference may be
    negative once.
    """
    if after is None:
        # Messages of the last hour may still be folded into their letters.
        hour_ago = now - dt.timedelta(hours=1)
        after = await connection.fetchval(
            """
            SELECT COALESCE((SELECT dead_letter_id FROM alatau.dead_letter WHERE received_at < $1
                             ORDER BY dead_letter_id DESC LIMIT 1), 0)
            """,
            hour_ago,
        )
    row = await connection.fetchrow(
        """
        SELECT (SELECT COALESCE(sum(pg_stat_get_tuples_inserted(chunk.inhrelid)), 0)::int8
                FROM pg_class kind JOIN pg_inherits chunk ON chunk.inhparent = kind.oid
                WHERE kind.relnamespace = 'reading'::regnamespace) AS readings,
               (SELECT COALESCE(sum(1 + repeats), 0)::int8 FROM alatau.dead_letter WHERE dead_letter_id > $1) AS refused
        """,
        after,
    )
    readings, refused = row or (0, 0)
    return Counts(readings, refused, after)


async def read_arrivals(
    connection: Connection, now: dt.datetime, within: dt.timedelta, patience: Patience
) -> Arrivals:
    """Return how late the newest readings of the devices were that arrived ``within`` the last while.

    What was stale when it arrived is backfill, such as the day that comes first of all: it tells nothing of how fast
    readings come, and who sends nothing else is silent.
    """
    row = await connection.fetchrow(
        """
        SELECT percentile_cont(0.95) WITHIN GROUP (
                   ORDER BY greatest(0, extract(epoch FROM received_at - time))::float8)
                   FILTER (WHERE received_at > $1 AND received_at - time
                           <= make_interval(secs => greatest($2::float8, $3::float8 * interval_seconds))) AS lag,
               max(received_at) AS last
        FROM alatau.latest JOIN alatau.device USING (device_id)
        """,
        now - within,
        patience.seconds,
        patience.intervals,
    )
    return Arrivals(*(row or (None, None)))
