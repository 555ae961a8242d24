"""What the search for anomalies reads: devices, five-minute states of a kind, hours of a metric; whole columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import from_microseconds
from storage.columns import read_columns
from storage.kinds import Connection
from storage.rollup_tables import Level, Tier, rollup_table

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """Devices that are not disabled, by id: ``seen`` is the time of the newest reading, ``interval`` in µs."""

    number: Ints  # (d,) alatau.device.device_id
    id: tuple[str, ...]
    kind: tuple[str, ...]
    district: tuple[str, ...]
    interval: Ints
    seen: Ints  # (d,) Unix µs, 0 where nothing ever came

    @property
    def every(self) -> tuple[int, ...]:
        """Return the intervals, comparable."""
        return tuple(self.interval.tolist())

    def only(self, kinds: Collection[str]) -> Watched:
        """Return those of some kinds."""
        kept = [place for place, kind in enumerate(self.kind) if kind in kinds]
        return Watched(
            self.number[kept],
            tuple(self.id[place] for place in kept),
            tuple(self.kind[place] for place in kept),
            tuple(self.district[place] for place in kept),
            self.interval[kept],
            self.seen[kept],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class States:
    """Rows of rollups of one metric, in no order: ``device`` is alatau.device.device_id, ``bucket`` in Unix µs.

    ``count`` is how many readings had the metric; the others say nothing where that is 0.
    """

    device: Ints
    bucket: Ints
    count: Ints
    mean: Floats
    m2: Floats
    low: Floats
    high: Floats
    first: Floats
    first_at: Ints
    last: Floats
    last_at: Ints


async def read_watched(connection: Connection) -> Watched:
    """Return the devices of which anything is expected."""
    rows = await connection.fetch(
        """
        SELECT d.device_id, d.id, d.kind, d.district, round(1e6 * d.interval_seconds)::bigint AS interval,
               COALESCE(round(1e6 * extract(epoch FROM l.time)), 0)::bigint AS seen
        FROM alatau.device d LEFT JOIN alatau.latest l USING (device_id)
        WHERE d.disabled_at IS NULL ORDER BY d.id
        """
    )
    return Watched(
        np.array([row["device_id"] for row in rows], np.int64),
        tuple(row["id"] for row in rows),
        tuple(row["kind"] for row in rows),
        tuple(row["district"] for row in rows),
        np.array([row["interval"] for row in rows], np.int64),
        np.array([row["seen"] for row in rows], np.int64),
    )


async def read_states(
    connection: Connection, kind: Kind, tier: Tier, metrics: tuple[str, ...], start: int, stop: int
) -> list[States]:
    """Return the rows of each metric whose buckets begin from ``start`` to before ``stop``, Unix µs."""
    selected, types = ["device_id", "bucket"], ["int4", "timestamptz"]
    for metric in metrics:
        selected.append(f'COALESCE("{metric}_count", 0)')
        selected.append(f'COALESCE("{metric}_sum" / NULLIF("{metric}_count", 0), 0)')
        selected += [f'COALESCE("{metric}_{name}", 0)' for name in ("m2", "min", "max", "first", "last")]
        selected += [f"COALESCE(\"{metric}_{name}\", 'epoch')" for name in ("first_at", "last_at")]
        types += ["int4", *["float8"] * 6, *["timestamptz"] * 2]
    device, bucket, *columns = await read_columns(
        connection,
        f"""
        SELECT {", ".join(selected)} FROM {rollup_table(kind, tier, Level.DEVICE)}
        WHERE bucket >= $1::timestamptz AND bucket < $2::timestamptz
        """,
        [from_microseconds(start), from_microseconds(stop)],
        types,
    )
    result = []
    for place in range(0, len(columns), 9):
        count, mean, m2, low, high, first, last, first_at, last_at = columns[place : place + 9]
        result.append(States(device, bucket, count, mean, m2, low, high, first, first_at, last, last_at))
    return result


async def count_earlier(connection: Connection, fingerprints: Sequence[str], since: int) -> dict[str, int]:
    """Return how many alerts of each fingerprint are over that began after ``since``, Unix µs."""
    rows = await connection.fetch(
        """
        SELECT fingerprint, count(*) AS times FROM alatau.alert
        WHERE fingerprint = ANY($1::text[]) AND state = 'resolved' AND since >= $2 GROUP BY fingerprint
        """,
        fingerprints,
        from_microseconds(since),
    )
    return {row["fingerprint"]: row["times"] for row in rows}
