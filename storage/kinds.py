"""A kind's hypertable: idempotent DDL from the catalogue, and the one place that names its identifiers."""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeAlias

import asyncpg

from sensors.kinds import Kind

SCHEMA = "reading"
# The chunks that are written to should fit in a quarter of memory: a day of 1,000 readings/s of ten metrics,
# with its index, is about 14 GB; a larger city sets less.
CHUNK_INTERVAL = dt.timedelta(days=1)
# In quotes, because only the stubs make the proxy generic.
Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy[Any]"


def table(kind: Kind) -> str:
    """Return the quoted name of a kind's table; kinds' names are validated by the catalogue."""
    return f'{SCHEMA}."{kind.name}"'


async def ensure_kind(
    connection: Connection, kind: Kind, chunk_interval: dt.timedelta = CHUNK_INTERVAL
) -> None:
    """Create the kind's hypertable, or add the columns of its new metrics. Never removes anything."""
    await connection.execute(
        f"""
        CREATE TABLE IF NOT EXISTS {table(kind)} (
            time timestamptz NOT NULL, received_at timestamptz NOT NULL, device_id int NOT NULL)
        """
    )
    # No default index on time: the unique one below serves, and each index costs on every row.
    await connection.execute(
        """
        SELECT public.create_hypertable($1::regclass, public.by_range('time', $2::interval),
                                        create_default_indexes => false, if_not_exists => true)
        """,
        table(kind),
        chunk_interval,
    )
    await connection.execute(
        f'CREATE UNIQUE INDEX IF NOT EXISTS "{kind.name}_once" ON {table(kind)} (device_id, time)'
    )
    for metric in kind.columns:
        await connection.execute(f'ALTER TABLE {table(kind)} ADD COLUMN IF NOT EXISTS "{metric}" float8')
