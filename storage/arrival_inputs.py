"""What is asked of how much arrives: refused messages by time and device, and readings counted again."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import SECOND, from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection
from storage.rollup_tables import Level, Tier, rollup_table

Ints = npt.NDArray[np.int64]
# Letters are numbered nearly in the order of their arrival: a transaction that began earlier may end later.
_DISORDER = 600 * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class Letters:
    """Refused messages of devices: ``device`` is alatau.device.device_id, ``time`` of arrival in Unix µs; ``count`` has
    their repeats. ``next`` is the number of the first letter that later ones may have."""

    device: Ints
    time: Ints
    count: Ints
    next: int


async def first_letter(connection: Connection, since: int) -> int:
    """Return the number of the first letter that arrived at ``since``, Unix µs, or later. Looks at all older ones."""
    number: int = await connection.fetchval(
        """
        SELECT COALESCE(min(dead_letter_id), (SELECT max(dead_letter_id) FROM alatau.dead_letter), 0)
        FROM alatau.dead_letter WHERE received_at >= $1
        """,
        from_microseconds(since),
    )
    return number


async def read_letters(connection: Connection, first: int, start: int, stop: int) -> Letters:
    """Return the letters from number ``first`` on that arrived from ``start`` to before ``stop``, Unix µs."""
    letter, device, time, count = await read_columns(
        connection,
        """
        SELECT dead_letter_id, COALESCE(device_id, 0), received_at, 1 + repeats FROM alatau.dead_letter
        WHERE dead_letter_id >= $1::bigint AND received_at < $2::timestamptz
        """,
        [first, from_microseconds(stop)],
        ["int8", "int4", "timestamptz", "int8"],
    )
    late = letter[time >= stop - _DISORDER]
    next_letter = int(late.min()) if len(late) else int(letter.max(initial=first - 1)) + 1
    kept = (device > 0) & (time >= start)
    return Letters(device[kept].astype(np.int64), time[kept], count[kept], next_letter)


async def read_refused(connection: Connection, start: int, stop: int, width: int) -> tuple[Ints, Ints, Ints]:
    """Return how many messages of each device were refused in spans of ``width`` µs, Unix µs: device, span, count."""
    device, span, count = await read_columns(
        connection,
        """
        SELECT device_id, floor(extract(epoch FROM received_at - $1::timestamptz) / $3::float8)::int8,
               sum(1 + repeats)::int8
        FROM alatau.dead_letter
        WHERE device_id IS NOT NULL AND received_at >= $1::timestamptz AND received_at < $2::timestamptz
        GROUP BY 1, 2
        """,
        [from_microseconds(start), from_microseconds(stop), width / SECOND],
        ["int4", "int8", "int8"],
    )
    return device.astype(np.int64), span, count


async def read_reasons(
    connection: Connection, devices: Sequence[int], since: int
) -> dict[int, dict[str, int]]:
    """Return by which reasons messages of devices were refused since a time, Unix µs; the most frequent first."""
    rows = await connection.fetch(
        """
        SELECT device_id, reason, sum(1 + repeats)::int8 AS count FROM alatau.dead_letter
        WHERE device_id = ANY($1::int[]) AND received_at >= $2 GROUP BY device_id, reason ORDER BY count DESC, reason
        """,
        devices,
        from_microseconds(since),
    )
    reasons: dict[int, dict[str, int]] = collections.defaultdict(dict)
    for row in rows:
        reasons[row["device_id"]][row["reason"]] = row["count"]
    return reasons


async def read_received(
    connection: Connection, kind: Kind, metric: str, devices: Sequence[int], since: Sequence[int], stop: int
) -> dict[int, int]:
    """Return how many readings of each device have a metric, each from ``since`` to before ``stop``, Unix µs."""
    rows = await connection.fetch(
        f"""
        SELECT device_id, COALESCE(sum("{metric}_count"), 0)::int8 AS count
        FROM unnest($1::int[], $2::timestamptz[]) AS asked (of_device, since)
        JOIN {rollup_table(kind, Tier.MINUTES, Level.DEVICE)}
             ON device_id = of_device AND bucket >= since AND bucket < $3
        GROUP BY device_id
        """,
        devices,
        [from_microseconds(time) for time in since],
        from_microseconds(stop),
    )
    return {row["device_id"]: row["count"] for row in rows}
