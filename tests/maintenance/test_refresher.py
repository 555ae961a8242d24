"""The loop that keeps rollups true, on the real database, with its own role."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
import zoneinfo
from collections.abc import AsyncIterator

import pytest

from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from maintenance.refresher import Refresher
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.buckets import boundaries, parse_step
from storage.database import connect
from storage.rollup_progress import read_progress
from storage.rollup_tables import Level, Tier, rollup_table
from storage.selection import Selection
from storage.series import answer_series
from storage.series_query import Aggregate, GroupBy, SeriesQuery
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

NOON = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)
DEVICES = [DeviceSpec(f"air-{number}", "air_quality", "gate") for number in range(1, 6)]


@pytest.fixture(scope="module")
async def opened(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        yield city


@pytest.fixture
async def city(opened: City) -> City:
    """A city without a reading, and without rollups."""
    kind = opened.catalogue.kind_of["air_quality"]
    names = [rollup_table(kind, tier, level) for tier in Tier for level in Level]
    await opened.owner.execute(
        f"TRUNCATE {', '.join(names)}, reading.air_quality, alatau.rollup_progress, alatau.rollup_dirty"
    )
    return opened


def refresher(city: City, now: dt.datetime) -> tuple[Refresher, MaintenanceMetrics]:
    metrics = MaintenanceMetrics()
    options = MaintenanceOptions(city.database.maintenance_url)
    return Refresher(options, metrics, lambda: to_microseconds(now)), metrics


async def sums(city: City) -> tuple[list[int], list[float], tuple[str, ...]]:
    """Return count and sum of each hour of the day, and where they came from."""
    start, end = (to_microseconds(NOON + dt.timedelta(hours=hours)) for hours in (-24, 1))
    answer = await answer_series(
        city.api,
        SeriesQuery(
            metrics=("pm2_5",),
            aggregates=frozenset({Aggregate.SUM}),
            start=start,
            end=end,
            boundaries=boundaries(start, end, parse_step("PT1H"), zoneinfo.ZoneInfo("UTC")),
            group_by=GroupBy.NONE,
            kinds=(city.catalogue.kind_of["air_quality"],),
            selection=Selection(),
        ),
    )
    if not answer.series:
        return [], [], answer.sources
    (series,) = answer.series
    return series.count.tolist(), series.values[Aggregate.SUM].tolist(), answer.sources


async def test_it_follows_the_readings_and_says_how_far_it_is_behind(city: City) -> None:
    refreshed, metrics = refresher(city, NOON + dt.timedelta(minutes=5, seconds=20))
    connection = await connect(city.database.maintenance_url, application="test")
    try:
        await city.write("air_quality", [("air-1", NOON - dt.timedelta(hours=2), {"pm2_5": 4.0})])
        while not await refreshed.once(connection):
            pass
    finally:
        await connection.close()
    progress = (await read_progress(city.owner))["air_quality"]
    assert progress.clean_to == to_microseconds(NOON + dt.timedelta(minutes=5))
    behind = metrics.registry.get_sample_value(
        "alatau_maintenance_rollup_behind_seconds", {"kind": "air_quality"}
    )
    assert behind == 20
    counts, _, sources = await sums(city)
    assert sum(counts) == 1
    assert sources == ("1h", "5m", "raw")


async def test_answers_are_exact_at_every_moment_while_readings_come_late_and_rollups_are_made(
    city: City,
) -> None:
    chance, stored = random.Random(11), list[float]()  # noqa: S311
    refreshed, _ = refresher(city, NOON + dt.timedelta(minutes=40))
    connection = await connect(city.database.maintenance_url, application="test")
    stop = asyncio.Event()

    async def keep_refreshing() -> None:
        while not stop.is_set():
            await refreshed.once(connection)
            await asyncio.sleep(0)

    task = asyncio.create_task(keep_refreshing(), name="test.refreshing")
    try:
        for number in range(40):
            moments = chance.sample(range(1, 23 * 3600), 30)
            values = [chance.randrange(1, 800) / 8 for _ in moments]
            await city.write(
                "air_quality",
                [
                    (
                        chance.choice(DEVICES).id,
                        # Microseconds of its own, so that no two are one reading.
                        NOON - dt.timedelta(seconds=moment, microseconds=number * 100 + place),
                        {"pm2_5": value},
                    )
                    for place, (moment, value) in enumerate(zip(moments, values, strict=True))
                ],
            )
            stored += values
            counts, totals, _ = await sums(city)
            assert (sum(counts), sum(total for total in totals if not math.isnan(total))) == (
                len(stored),
                sum(stored),
            )
    finally:
        stop.set()
        await task
        await connection.close()
