"""Reads that last: more readings than the buffers between hold, and what the database does meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import asyncpg
import numpy as np

from sensors.readings import ReadingBatch
from sensors.times import to_microseconds
from storage.writer import Batch, write
from tests.api.answers import NOW
from tests.cities import City

_PART = 50_000


async def write_many(city: City, rows: int) -> None:
    """Store so many readings of weather-1, ten a second from two days ago; a multiple of 50,000."""
    kind = city.catalogue.kind_of["weather"]
    rng = np.random.default_rng(1)
    device = np.full(_PART, city.number["weather-1"], np.int32)
    start = to_microseconds(NOW - dt.timedelta(days=2))
    for first in range(0, rows, _PART):
        time = start + np.arange(first, first + _PART, dtype=np.int64) * 100_000
        values = rng.normal(10, 5, (_PART, len(kind.columns)))
        await write(city.ingest, Batch([ReadingBatch(kind, device, time, time, values)]))


async def count_reads(superuser: asyncpg.Connection, city: City, waiting_for: str = "%") -> int:
    """Return how many tables of readings are being read of the city's database."""
    found = await superuser.fetchval(
        """
        SELECT count(*) FROM pg_stat_activity
        WHERE query ILIKE '%lateral%' AND state = 'active' AND datname = $1 AND pid <> pg_backend_pid()
              AND COALESCE(wait_event, '') LIKE $2
        """,
        city.database.api_url.rpartition("/")[2],
        waiting_for,
    )
    return int(found)


async def until_true(question: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is; neither the database nor the API tells anybody."""
    async with asyncio.timeout(30):
        while not await question():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
