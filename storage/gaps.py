"""Gaps in the numbers of devices' readings, listed: those still open, and those given up."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum

from storage.kinds import Connection


class GapState(enum.StrEnum):
    """Whether the numbers may still come."""

    OPEN = "open"
    ABANDONED = "abandoned"


@dataclasses.dataclass(frozen=True, slots=True)
class Gap:
    """Numbers ``first`` to ``last`` of a device, none of which came.

    ``since``: an open gap's device has lacked numbers since then; an abandoned one was given up then.
    """

    device: str
    state: GapState
    first: int
    last: int
    since: dt.datetime

    @property
    def missing(self) -> int:
        """How many numbers are missing."""
        return self.last - self.first + 1


async def list_gaps(
    connection: Connection,
    *,
    after: tuple[str, int] = ("", 0),
    limit: int = 100,
    device: str | None = None,
    state: GapState | None = None,
) -> list[Gap]:
    """Return gaps in the order of (device, first number), beginning after one: a keyset, never an offset."""
    rows = await connection.fetch(
        """
        WITH gap AS (
            SELECT device_id, 'open' AS state, missing_since AS since,
                   unnest(int8multirange(int8range(1, highest, '[]')) - received) AS numbers
            FROM alatau.sequence WHERE missing_since IS NOT NULL AND $3::text IS DISTINCT FROM 'abandoned'
            UNION ALL
            SELECT device_id, 'abandoned', abandoned_at, unnest(missing)
            FROM alatau.sequence_gap WHERE $3::text IS DISTINCT FROM 'open'
        )
        SELECT device.id, state, lower(numbers) AS first, upper(numbers) - 1 AS last, since
        FROM gap JOIN alatau.device USING (device_id)
        WHERE ($4::text IS NULL OR device.id = $4) AND (device.id, lower(numbers)) > ($1, $2)
        ORDER BY device.id, first LIMIT $5
        """,
        *after,
        None if state is None else state.value,
        device,
        limit,
    )
    return [Gap(row["id"], GapState(row["state"]), row["first"], row["last"], row["since"]) for row in rows]
