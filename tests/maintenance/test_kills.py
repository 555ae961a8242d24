"""Whenever it is killed, maintenance leaves rollups that are right: a real process, killed for real."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
import pathlib
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from maintenance.refresher import Refresher
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.database import connect
from storage.rollup_tables import Level, Tier, rollup_table
from tests.cities import City, Row, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

PROJECT = pathlib.Path(__file__).parents[2]
KILLS = 8
NOW = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)
PAST = dt.timedelta(days=3)
METRICS = {"air_quality": ("pm2_5", "temperature"), "weather": ("temperature", "humidity")}
DEVICES = [
    DeviceSpec(f"{kind}-{number}", kind, district, simulated=number == 3)
    for kind in METRICS
    for number, district in enumerate(("gate", "golden", "golden", "golden"))
]


@pytest.fixture
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        yield city


def some(chance: random.Random, kind: str, count: int, since: dt.timedelta) -> list[Row]:
    """Make readings on whole minutes, so that some complete or repeat others."""
    ids = [device.id for device in DEVICES if device.kind == kind]
    return [
        (
            chance.choice(ids),
            NOW - dt.timedelta(minutes=chance.randrange(since // dt.timedelta(minutes=1))),
            {metric: chance.randrange(-80, 320) / 8 for metric in chance.sample(METRICS[kind], 1)},
        )
        for _ in range(count)
    ]


async def write_some(city: City, chance: random.Random) -> None:
    for kind in METRICS:
        await city.write(kind, some(chance, kind, 20, dt.timedelta(minutes=30)))
        await city.write(kind, some(chance, kind, 60, PAST))


async def start(city: City) -> asyncio.subprocess.Process:
    """Start ``alatau maintain`` as an operator does, and wait until it works."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "maintain"),
        cwd=PROJECT,
        env={**os.environ, "ALATAU_DATABASE_URL": city.database.maintenance_url},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b'"maintaining"' not in (line := await process.stderr.readline()):
            assert line, "it ended"
    return process


async def until_done(city: City) -> None:
    async with asyncio.timeout(30):
        while not await city.owner.fetchval(  # noqa: ASYNC110 - the database tells nobody
            """
            SELECT bool_and(clean_to = logged_to) AND NOT EXISTS (SELECT FROM alatau.rollup_dirty)
            FROM alatau.rollup_progress
            """
        ):
            await asyncio.sleep(0.05)


async def refresh_all(city: City) -> None:
    """Refresh until all is done, up to the bound that there is."""
    refresher = Refresher(
        MaintenanceOptions(city.database.maintenance_url),
        MaintenanceMetrics(),
        lambda: to_microseconds(NOW - PAST),
    )
    connection = await connect(city.database.maintenance_url, application="test")
    try:
        while not await refresher.once(connection):
            pass
    finally:
        await connection.close()


async def rollups(city: City) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table of the kinds that there are readings of."""
    kinds = [city.catalogue.kind_of[kind] for kind in METRICS]
    tables = itertools.starmap(rollup_table, itertools.product(kinds, Tier, Level))
    found = {}
    for name in tables:
        rows = await city.owner.fetch(f"SELECT * FROM {name} ORDER BY 1, 2, 3")  # noqa: S608 - our own name
        found[name] = [tuple(row) for row in rows]
    return found


async def test_kills_at_any_moment_leave_the_rollups_that_are_made_from_scratch(city: City) -> None:
    chance = random.Random(20)  # noqa: S311
    for kind in METRICS:
        await city.write(kind, some(chance, kind, 4000, PAST))
    for _ in range(KILLS):
        process = await start(city)
        async with asyncio.TaskGroup() as group:
            group.create_task(write_some(city, chance), name="test.writing")
            await asyncio.sleep(chance.uniform(0, 0.6))
            process.kill()
        await process.wait()
    last = await start(city)
    await until_done(city)
    last.terminate()
    assert await last.wait() == 0

    # Where the last one has moved the bound since, that is for the next one to make.
    await city.owner.execute("UPDATE alatau.rollup_progress SET logged_to = clean_to")
    left = await rollups(city)
    assert all(left.values())
    for _ in range(2):
        await refresh_all(city)
        assert await rollups(city) == left

    await city.owner.execute(f"TRUNCATE {', '.join(left)}")
    await city.owner.execute("UPDATE alatau.rollup_progress SET clean_to = '-infinity'")
    await refresh_all(city)
    assert await rollups(city) == left
