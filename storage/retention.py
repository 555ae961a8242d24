"""How long readings and rollups are kept: the policy, what is stored, and what goes by the policy."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Sequence

import asyncpg

from storage.errors import BusyError, PermanentError
from storage.kinds import Connection

EVERY_KIND = "*"
# Less, and a day of the city would be dropped before its rollup is whole.
SHORTEST = dt.timedelta(days=2)
LONGEST = dt.timedelta(days=365_000)


class KeptTier(enum.StrEnum):
    """What is kept for a time of its own: readings, and rollups by the width of their buckets, finest first."""

    RAW = "raw"
    MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a tier of a kind, and how long it is kept; ``keep`` None is for ever.

    ``rows`` is the database's estimate. Nothing is older than ``oldest``, None where nothing is stored.
    ``horizon``: what was before it is gone, None where nothing is. ``is_own``: the kind has a policy of its own.
    """

    kind: str
    tier: KeptTier
    keep: dt.timedelta | None
    is_own: bool
    rows: int
    size: int  # bytes
    oldest: dt.datetime | None
    horizon: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Gone:
    """A chunk that goes, or (``start`` None) the rows before ``stop`` of a table without chunks.

    ``size`` in bytes, 0 for rows that leave their place to others.
    """

    kind: str
    tier: KeptTier
    place: str
    start: dt.datetime | None
    stop: dt.datetime
    rows: int
    size: int


# Of each tier that a kind has: its kind, its tier, its device table and its district table.
_TIERS = """
    SELECT kind, tier, n,
           CASE tier WHEN 'raw' THEN format('reading.%I', kind) ELSE format('rollup.%I', kind || '_' || tier) END
               AS place,
           CASE WHEN tier <> 'raw' THEN format('rollup.%I', kind || '_' || tier || '_district') END AS beside
    FROM unnest($1::text[]) AS kind
    CROSS JOIN unnest('{raw,5m,1h,1d}'::text[]) WITH ORDINALITY AS tiers (tier, n)
"""


async def list_stored(connection: Connection, kinds: Sequence[str]) -> list[Stored]:
    """Return what is stored of some kinds, tier by tier."""
    rows = await connection.fetch(
        f"""
        WITH tier AS ({_TIERS}), chunk AS (
            SELECT format('%I.%I', hypertable_schema, hypertable_name) AS place, min(range_start) AS oldest
            FROM timescaledb_information.chunks GROUP BY 1
        )
        SELECT t.kind, t.tier, p.keep, p.kind = t.kind AS is_own,
               (SELECT sum(public.approximate_row_count(one::regclass))
                FROM unnest(ARRAY[t.place, t.beside]) AS one WHERE to_regclass(one) IS NOT NULL)::bigint AS rows,
               (SELECT sum(COALESCE(public.hypertable_size(one::regclass), pg_total_relation_size(one::regclass)))
                FROM unnest(ARRAY[t.place, t.beside]) AS one WHERE to_regclass(one) IS NOT NULL)::bigint AS size,
               chunk.oldest,
               CASE t.tier WHEN 'raw' THEN r.horizon WHEN '5m' THEN r.horizon_5m WHEN '1h' THEN r.horizon_1h
                           ELSE r.horizon_1d END AS horizon
        FROM tier t
        LEFT JOIN chunk ON chunk.place = t.place
        LEFT JOIN alatau.rollup_progress r ON r.kind = t.kind
        CROSS JOIN LATERAL (
            SELECT kind, keep FROM alatau.retention WHERE kind IN (t.kind, '*') AND tier = t.tier
            ORDER BY kind = '*' LIMIT 1) p
        WHERE to_regclass(t.place) IS NOT NULL
        ORDER BY t.kind, t.n
        """,
        list(kinds),
    )
    return [
        Stored(
            kind=row["kind"],
            tier=KeptTier(row["tier"]),
            keep=row["keep"],
            is_own=row["is_own"],
            rows=row["rows"],
            size=row["size"],
            oldest=row["oldest"] or await _oldest_bucket(connection, row["kind"], KeptTier(row["tier"])),
            horizon=None if row["horizon"] in (None, _NEVER) else row["horizon"],
        )
        for row in rows
    ]


# What asyncpg makes of '-infinity', the one time that it gives no zone.
_NEVER = dt.datetime.min  # noqa: DTZ901


async def _oldest_bucket(connection: Connection, kind: str, tier: KeptTier) -> dt.datetime | None:
    """Return the oldest bucket of a table without chunks; kinds' names are validated by the catalogue."""
    if tier is not KeptTier.DAY:
        return None
    oldest: dt.datetime | None = await connection.fetchval(
        f'SELECT min(bucket) FROM rollup."{kind}_{tier.value}"'
    )
    return oldest


async def load_policy(connection: Connection) -> dict[tuple[str, KeptTier], dt.timedelta | None]:
    """Return how long is kept what, by kind (``*`` for every other) and tier; None is for ever."""
    rows = await connection.fetch("SELECT kind, tier, keep FROM alatau.retention")
    return {(row["kind"], KeptTier(row["tier"])): row["keep"] for row in rows}


async def set_policy(
    connection: asyncpg.Connection, kind: str, tier: KeptTier, keep: dt.timedelta | None
) -> None:
    """Keep a tier of a kind, or of every kind without a policy of its own, for so long; None is for ever.

    Raises PermanentError where a coarser tier would be gone before a finer one.
    """
    if keep is not None and not SHORTEST <= keep <= LONGEST:
        raise PermanentError(f"keep at least {SHORTEST.days} days and at most 1,000 years, or for ever")
    async with connection.transaction():
        await connection.execute(
            """
            INSERT INTO alatau.retention (kind, tier, keep) VALUES ($1, $2, $3)
            ON CONFLICT (kind, tier) DO UPDATE SET keep = EXCLUDED.keep
            """,
            kind,
            tier.value,
            keep,
        )
        await _require_order(connection)


async def reset_policy(connection: asyncpg.Connection, kind: str, tier: KeptTier) -> None:
    """Let a kind's tier be kept like that of every other. Raises PermanentError as ``set_policy``."""
    async with connection.transaction():
        await connection.execute(
            "DELETE FROM alatau.retention WHERE kind = $1 AND tier = $2 AND kind <> '*'", kind, tier.value
        )
        await _require_order(connection)


async def _require_order(connection: asyncpg.Connection) -> None:
    policy = await load_policy(connection)
    for kind in {kind for kind, _ in policy}:
        kept = [policy.get((kind, tier), policy[EVERY_KIND, tier]) for tier in KeptTier]
        for tier, shorter, longer in zip(list(KeptTier)[1:], kept, kept[1:], strict=False):
            if longer is not None and (shorter is None or longer < shorter):
                finer = list(KeptTier)[list(KeptTier).index(tier) - 1]
                raise PermanentError(
                    f"{tier.value} of {kind} would be kept for {_days(longer)}, "
                    f"and {finer.value}, which is finer, for {_days(shorter)}; keep {tier.value} as long, "
                    "or change the other first"
                )


def _days(keep: dt.timedelta | None) -> str:
    return "ever" if keep is None else f"{keep / dt.timedelta(days=1):g} days"


async def plan_retention(connection: Connection, kind: str, tier: KeptTier) -> list[Gone]:
    """Return what would go now, its rows counted."""
    planned = await connection.fetch(
        "SELECT place, start, stop FROM alatau.retention_plan($1, $2)", kind, tier.value
    )
    found = []
    for row in planned:
        # Places are quoted by the database itself.
        if row["start"] is None:
            rows, size = (
                await connection.fetchval(
                    f"SELECT count(*) FROM {row['place']} WHERE bucket < $1", row["stop"]
                ),
                0,
            )
        else:
            rows = await connection.fetchval(f"SELECT count(*) FROM {row['place']}")
            size = await connection.fetchval(
                "SELECT pg_total_relation_size($1::text::regclass)", row["place"]
            )
        if row["start"] is not None or rows:
            found.append(Gone(kind, tier, row["place"], row["start"], row["stop"], rows, size))
    return found


async def apply_retention(connection: Connection, kind: str, tier: KeptTier) -> list[Gone]:
    """Let go what the policy says, in one transaction, and return it; the rows of chunks are estimates.

    Raises BusyError where somebody reads what would go, for longer than two seconds.
    """
    try:
        rows = await connection.fetch("SELECT * FROM alatau.apply_retention($1, $2)", kind, tier.value)
    except asyncpg.LockNotAvailableError as error:
        raise BusyError(f"{tier.value} of {kind} is being read; it goes the next time") from error
    return [
        Gone(kind, tier, row["place"], row["start"], row["stop"], row["gone"], row["bytes"]) for row in rows
    ]
