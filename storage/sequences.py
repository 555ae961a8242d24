"""The numbers of devices' readings: which were kept, which are missing, which were given up.

Written in the transaction that stores the readings, so that what a device is told was kept is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sensors.readings import ReadingBatch
from storage.kinds import Connection

# A number further than this beyond the first missing one is not entered: it bounds the row of one device.
REACH = 10_000


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Numbers of readings as runs without a hole, sorted by (device, first).

    ``device`` int32 (n,); ``first``, ``last`` int64 (n,), both inclusive; ``oldest`` int64 (n,), the highest
    that the device called its oldest within the run, 1 where it said nothing.
    """

    device: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    oldest: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Clockless:
    """Readings without a time of their own; their ``number``, int64 (n,), tells which are the same."""

    readings: ReadingBatch
    number: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Entered:
    """What became of the numbers of one transaction.

    ``through`` has the highest number of each device below which none is missing; ``detected`` counts devices
    that now lack a number and did not before, ``abandoned`` the gaps that devices gave up.
    """

    through: Mapping[int, int]
    detected: int = 0
    abandoned: int = 0


async def enter_numbers(connection: Connection, numbers: Numbers) -> Entered:
    """Enter numbers in their devices' sequences; inside the transaction that stores their readings.

    Locks the sequences until its end, in the order of the devices: workers wait for each other, and never in
    a circle.
    """
    rows = await connection.fetch(
        """
        INSERT INTO alatau.sequence AS s (device_id, received, highest, oldest)
        SELECT device_id, range_agg(int8range(first, last, '[]')), max(last), max(oldest)
        FROM unnest($1::int[], $2::int8[], $3::int8[], $4::int8[]) AS run (device_id, first, last, oldest)
        GROUP BY device_id ORDER BY device_id
        ON CONFLICT (device_id) DO UPDATE SET
            received = s.received + EXCLUDED.received,
            highest = greatest(s.highest, EXCLUDED.highest),
            oldest = greatest(s.oldest, EXCLUDED.oldest)
        RETURNING device_id, alatau.first_missing(received) AS first_missing, highest, oldest,
                  missing_since IS NOT NULL AS is_lacking
        """,
        numbers.device.tolist(),
        numbers.first.tolist(),
        numbers.last.tolist(),
        numbers.oldest.tolist(),
    )
    through, unsettled, abandoned_below = {}, [], {}
    for device, first_missing, highest, oldest, is_lacking in rows:
        through[device] = first_missing - 1
        abandoned_below[device] = oldest
        # Apart from the statement above, because of most devices nothing of this is true.
        lacks = first_missing <= highest
        if lacks != is_lacking or oldest > first_missing or highest > first_missing + REACH:
            unsettled.append(device)
    await _take_back(connection, numbers, abandoned_below)
    return await _settle(connection, through, unsettled) if unsettled else Entered(through)


async def _take_back(connection: Connection, numbers: Numbers, oldest: Mapping[int, int]) -> None:
    """Numbers that came after their device had given them up, on another way or out of order, do not lack."""
    late = [row for row, device in enumerate(numbers.device.tolist()) if numbers.first[row] < oldest[device]]
    if late:
        await connection.execute(
            """
            UPDATE alatau.sequence_gap AS gap SET missing = gap.missing - late.numbers
            FROM (SELECT device_id, range_agg(int8range(first, last, '[]')) AS numbers
                  FROM unnest($1::int[], $2::int8[], $3::int8[]) AS run (device_id, first, last)
                  GROUP BY device_id) AS late
            WHERE gap.device_id = late.device_id AND gap.missing && late.numbers
            """,
            numbers.device[late].tolist(),
            numbers.first[late].tolist(),
            numbers.last[late].tolist(),
        )


async def _settle(connection: Connection, through: Mapping[int, int], devices: Sequence[int]) -> Entered:
    """Fill what devices gave up, noting the gaps; take out what lies beyond reach; note since when one lacks."""
    rows = await connection.fetch(
        """
        WITH merged AS (
            SELECT device_id, received + given_up AS received, given_up - received AS given_up
            FROM (SELECT device_id, received, int8multirange(int8range(1, oldest)) AS given_up
                  FROM alatau.sequence WHERE device_id = ANY($1)) AS s
        ), gap AS (
            INSERT INTO alatau.sequence_gap (device_id, missing)
            SELECT device_id, given_up FROM merged WHERE NOT isempty(given_up)
        )
        UPDATE alatau.sequence AS s SET
            received = merged.received
                       * int8multirange(int8range(1, alatau.first_missing(merged.received) + $2, '[]')),
            missing_since = CASE WHEN alatau.first_missing(merged.received) <= s.highest
                                 THEN coalesce(s.missing_since, now()) END
        FROM merged WHERE s.device_id = merged.device_id
        RETURNING s.device_id, alatau.first_missing(s.received) - 1 AS through,
                  s.missing_since IS NOT DISTINCT FROM now() AS is_new_gap,
                  (SELECT count(*) FROM unnest(merged.given_up)) AS abandoned
        """,
        devices,
        REACH,
    )
    return Entered(
        {**through, **{row["device_id"]: row["through"] for row in rows}},
        sum(row["is_new_gap"] for row in rows),
        sum(row["abandoned"] for row in rows),
    )


async def sift_clockless(
    connection: Connection, numbers: Numbers, clockless: Sequence[Clockless]
) -> list[ReadingBatch]:
    """Return the readings whose number was not kept yet, each number once; before ``enter_numbers``.

    Locks the sequences of all devices in ``numbers``: another worker may be storing the same reading.
    """
    await connection.execute(
        """
        INSERT INTO alatau.sequence AS s (device_id, received, highest, oldest)
        SELECT DISTINCT device_id, int8multirange(), 0, 1 FROM unnest($1::int[]) AS new (device_id)
        ORDER BY device_id
        ON CONFLICT (device_id) DO UPDATE SET highest = s.highest WHERE false
        """,
        numbers.device.tolist(),
    )
    seen: set[tuple[int, int]] = set()
    fresh = []
    for one in clockless:
        kept = await _kept(connection, one)
        is_new = np.zeros(len(one.number), dtype=bool)
        for row, key in enumerate(zip(one.readings.device.tolist(), one.number.tolist(), strict=True)):
            is_new[row] = row not in kept and key not in seen
            seen.add(key)
        if is_new.any():
            fresh.append(one.readings.take(is_new))
    return fresh


async def _kept(connection: Connection, clockless: Clockless) -> set[int]:
    rows = await connection.fetch(
        """
        SELECT position - 1 AS row
        FROM unnest($1::int[], $2::int8[]) WITH ORDINALITY AS new (device_id, number, position)
        JOIN alatau.sequence AS s USING (device_id)
        WHERE s.received @> new.number
              AND NOT (new.number < s.oldest AND EXISTS (
                  SELECT FROM alatau.sequence_gap AS gap
                  WHERE gap.device_id = new.device_id AND gap.missing @> new.number))
        """,
        clockless.readings.device.tolist(),
        clockless.number.tolist(),
    )
    return {row["row"] for row in rows}


async def trim_gaps(connection: Connection, keep: int) -> None:
    """Delete all but the newest ``keep`` notes of abandoned gaps, and those whose numbers came after all."""
    await connection.execute(
        """
        DELETE FROM alatau.sequence_gap WHERE isempty(missing) OR sequence_gap_id <= (
            SELECT sequence_gap_id FROM alatau.sequence_gap ORDER BY sequence_gap_id DESC OFFSET $1 LIMIT 1)
        """,
        keep,
    )
