"""The tables of rollups: for each kind, of each device and of each district, in three tiers.

A row holds the partial states (``sensors/states.py``) of every metric of the kind over one bucket.
"""

from __future__ import annotations

import enum
import zoneinfo

import numpy as np
import numpy.typing as npt

from sensors.kinds import Kind
from sensors.times import SECOND
from storage.buckets import boundaries, parse_step
from storage.kinds import Connection

SCHEMA = "rollup"


class Tier(enum.StrEnum):
    """The width of a bucket: 5 minutes or an hour of UTC, or a calendar day of the city's zone."""

    MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"


class Level(enum.StrEnum):
    """What a row is of: a device, or those devices of a district that are simulated, or are not."""

    DEVICE = "device"
    DISTRICT = "district"


MINUTES, HOUR = 300 * SECOND, 3600 * SECOND
# What is kept of each metric beside its count, as columns named after it.
NUMBERS = ("sum", "m2", "min", "max", "first", "last")
TIMES = ("first_at", "last_at")
KEYS = {Level.DEVICE: ("device_id",), Level.DISTRICT: ("district", "simulated")}
_KEY_TYPES = {"device_id": "int", "district": "text", "simulated": "boolean"}
# Some millions of rows in a chunk where there are many devices; what is never dropped needs no chunks.
_CHUNKS = {Tier.MINUTES: "7 days", Tier.HOUR: "90 days"}


def rollup_name(kind: Kind, tier: Tier, level: Level) -> str:
    """Return the name of a table within its schema."""
    return f"{kind.name}_{tier.value}" + ("" if level is Level.DEVICE else "_district")


def rollup_table(kind: Kind, tier: Tier, level: Level) -> str:
    """Return the quoted name of a table; kinds' names are validated by the catalogue."""
    return f'{SCHEMA}."{rollup_name(kind, tier, level)}"'


def state_columns(metric: str) -> list[tuple[str, str]]:
    """Return the columns of one metric's states and their types, in the order of the table."""
    return [
        (f"{metric}_count", "int"),
        *((f"{metric}_{name}", "float8") for name in NUMBERS),
        *((f"{metric}_{name}", "timestamptz") for name in TIMES),
        (f"{metric}_sketch", "bytea"),
    ]


async def ensure_rollups(connection: Connection, kind: Kind) -> None:
    """Create the kind's rollup tables, or add the columns of its new metrics. Never removes anything."""
    for tier in Tier:
        for level in Level:
            await _ensure_table(connection, kind, tier, level)


async def _ensure_table(connection: Connection, kind: Kind, tier: Tier, level: Level) -> None:
    name, keys = rollup_table(kind, tier, level), KEYS[level]
    typed = ", ".join(f"{key} {_KEY_TYPES[key]} NOT NULL" for key in keys)
    columns = [column for metric in kind.columns for column in state_columns(metric)]
    states = ", ".join(f'"{column}" {type_}' for column, type_ in columns)
    created = await connection.fetchval("SELECT to_regclass($1) IS NULL", name)
    if created:
        await connection.execute(f"CREATE TABLE {name} ({typed}, bucket timestamptz NOT NULL, {states})")
        if level is Level.DEVICE and tier in _CHUNKS:
            await connection.execute(
                """
                SELECT public.create_hypertable($1::regclass, public.by_range('bucket', $2::text::interval),
                                                create_default_indexes => false)
                """,
                name,
                _CHUNKS[tier],
            )
        index = rollup_name(kind, tier, level)
        await connection.execute(f'CREATE UNIQUE INDEX "{index}_once" ON {name} ({", ".join(keys)}, bucket)')
        if level is Level.DISTRICT:
            await connection.execute(
                "SELECT alatau.protect_districts($1::text::regclass, $2)", name, kind.name
            )
        # Rows lie in the order of their buckets, but for late ones: a few pages say where a range is.
        await connection.execute(f'CREATE INDEX "{index}_bucket" ON {name} USING brin (bucket)')
        return
    present = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0", name
    )
    known = {row["attname"] for row in present}
    for column, type_ in columns:
        if column not in known:
            await connection.execute(f'ALTER TABLE {name} ADD COLUMN "{column}" {type_}')


def edges_of(tier: Tier, start: int, stop: int, zone: zoneinfo.ZoneInfo) -> npt.NDArray[np.int64]:
    """Return the rising boundaries (Unix µs) of the tier's buckets that cover a range, not empty."""
    if tier is Tier.DAY:
        return np.array(boundaries(start, stop, parse_step("P1D"), zone), np.int64)
    width = MINUTES if tier is Tier.MINUTES else HOUR
    return np.arange(start - start % width, stop + -stop % width + 1, width, dtype=np.int64)


def floor_to(tier: Tier, time: int, zone: zoneinfo.ZoneInfo) -> int:
    """Return the beginning (Unix µs) of the tier's bucket that holds a time."""
    return int(edges_of(tier, time, time + 1, zone)[0])


def ceil_to(tier: Tier, time: int, zone: zoneinfo.ZoneInfo) -> int:
    """Return the first beginning of a bucket of the tier that is not before a time, Unix µs."""
    edges = edges_of(tier, time, time + 1, zone)
    return int(edges[0] if edges[0] == time else edges[1])
