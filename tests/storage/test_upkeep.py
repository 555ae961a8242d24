"""Retention and corrections along with the rollups that are really made: together they keep answers true."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.corrections import Correction, Delete, Rescale, correct
from storage.database import connect
from storage.refresh import move_bound, refresh
from storage.retention import KeptTier, apply_retention
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

KIND, ZONE = "noise", "Asia/Almaty"  # whose days begin at 19:00 UTC
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
MIDNIGHT = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
Table = dict[tuple[object, dt.datetime], tuple[int, float]]


@pytest.fixture
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    """Two devices of a district with a reading each hour, from 33 to 27 days ago, and rollups of them."""
    devices = [DeviceSpec("meter-1", KIND, "gate"), DeviceSpec("meter-2", KIND, "gate")]
    async with open_city(database, catalogue, devices) as city:
        rows = await city.owner.fetch("SELECT id, device_id FROM alatau.device")
        city.number.update({row["id"]: row["device_id"] for row in rows})
        await city.owner.execute("TRUNCATE reading.noise, alatau.rollup_progress, alatau.rollup_dirty")
        for tier in ("5m", "1h", "1d"):
            await city.owner.execute(f"TRUNCATE rollup.noise_{tier}, rollup.noise_{tier}_district")
        times = [MIDNIGHT - 33 * DAY + n * HOUR for n in range(6 * 24)]
        values = [(name, time, {"laeq": 50.0}) for name in ("meter-1", "meter-2") for time in times]
        await city.write(KIND, values)
        await make_rollups(city)
        yield city


@pytest.fixture
async def maintenance(city: City) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(city.database.maintenance_url, application="test")
    yield connection
    await connection.close()


async def make_rollups(city: City) -> None:
    """Refresh as often as it takes."""
    await move_bound(city.owner, [KIND], ZONE, to_microseconds(MIDNIGHT))
    while not (await refresh(city.owner, city.catalogue.kind_of[KIND])).is_done:
        pass


async def rollups(city: City, tier: str, level: str = "") -> Table:
    """Return count and sum of laeq by member and bucket."""
    member = "district" if level else "device_id"
    rows = await city.owner.fetch(
        f"SELECT {member} AS member, bucket, laeq_count, laeq_sum FROM rollup.noise_{tier}{level}"  # noqa: S608
    )
    return {(row["member"], row["bucket"]): (row["laeq_count"], row["laeq_sum"]) for row in rows}


async def everything(city: City) -> list[Table]:
    return [await rollups(city, tier, level) for tier in ("5m", "1h", "1d") for level in ("", "_district")]


async def test_rollups_stay_what_they_are_when_their_readings_go(
    city: City, maintenance: asyncpg.Connection
) -> None:
    before = await everything(city)
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 3
    for tier in (KeptTier.MINUTES, KeptTier.HOUR, KeptTier.DAY):
        assert await apply_retention(maintenance, KIND, tier) == []
    await make_rollups(city)
    assert await everything(city) == before


async def test_the_day_at_the_horizon_takes_late_readings_and_loses_none(
    city: City, maintenance: asyncpg.Connection
) -> None:
    """Of that local day the first five hours of readings are gone."""
    await apply_retention(maintenance, KIND, KeptTier.RAW)
    horizon, day = MIDNIGHT - 30 * DAY, MIDNIGHT - 30 * DAY - 5 * HOUR
    await city.write(KIND, [("meter-1", horizon + dt.timedelta(minutes=90), {"laeq": 60.0})])
    await make_rollups(city)
    device = city.number["meter-1"]
    assert (await rollups(city, "1d"))[device, day] == (25, 24 * 50 + 60)
    assert (await rollups(city, "1d", "_district"))["gate", day] == (49, 48 * 50 + 60)
    assert (await rollups(city, "1h"))[device, horizon + HOUR] == (2, 110)


async def test_what_comes_late_below_the_horizon_changes_no_rollup_and_goes(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await apply_retention(maintenance, KIND, KeptTier.RAW)
    before = await everything(city)
    await city.write(KIND, [("meter-1", MIDNIGHT - 32 * DAY, {"laeq": 60.0})])
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1
    await make_rollups(city)
    assert await everything(city) == before


async def test_a_correction_is_in_the_rollups_before_its_readings_can_go(
    city: City, maintenance: asyncpg.Connection
) -> None:
    kind, device = city.catalogue.kind_of[KIND], city.number["meter-1"]
    start, end = MIDNIGHT - 32 * DAY + 2 * HOUR, MIDNIGHT - 32 * DAY + 4 * HOUR
    range_ = "meter-1", to_microseconds(start), to_microseconds(end)
    await correct(city.api, kind, Correction(*range_, Rescale("laeq", offset=7.0), "tester", "test"))
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1  # the day before
    await make_rollups(city)
    assert (await rollups(city, "1h"))[device, start] == (1, 57)
    day = MIDNIGHT - 33 * DAY + 19 * HOUR
    assert (await rollups(city, "1d"))[device, day] == (24, 24 * 50 + 14)
    assert (await rollups(city, "1d", "_district"))["gate", day] == (48, 48 * 50 + 14)
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 2


async def test_readings_that_were_deleted_are_in_no_rollup(city: City) -> None:
    kind, device = city.catalogue.kind_of[KIND], city.number["meter-1"]
    range_ = "meter-1", to_microseconds(MIDNIGHT - 32 * DAY), to_microseconds(MIDNIGHT - 31 * DAY)
    done = await correct(city.api, kind, Correction(*range_, Delete(), "tester", "test"))
    assert done.deleted == 24
    await make_rollups(city)
    hours = await rollups(city, "1h")
    assert sorted(
        bucket for member, bucket in hours if member == device and bucket < MIDNIGHT - 31 * DAY
    ) == [MIDNIGHT - 33 * DAY + n * HOUR for n in range(24)]
    day = MIDNIGHT - 33 * DAY + 19 * HOUR
    assert (await rollups(city, "1d"))[device, day] == (5, 250)
    assert (await rollups(city, "1d", "_district"))["gate", day] == (29, 29 * 50)
