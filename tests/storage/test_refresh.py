"""Rollups are what the readings say, whatever came when: held against sums over the readings themselves."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import itertools
import random
import statistics
import zoneinfo
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.sketch import RELATIVE_ERROR
from sensors.times import from_microseconds, to_microseconds
from storage.devices import update_devices
from storage.refresh import Refreshed, move_bound, refresh
from storage.rollup_progress import read_progress
from storage.rollup_tables import Level, Tier, rollup_table
from storage.rollups import read_rollup
from tests.cities import City, Row, open_city
from tests.conftest import Database

ZONE = zoneinfo.ZoneInfo("Asia/Almaty")
# Two days around the night that Almaty set its clocks back.
BEGIN = dt.datetime(2024, 2, 28, 19, tzinfo=dt.UTC)
DEVICES = [
    DeviceSpec("air-1", "air_quality", "gate"),
    DeviceSpec("air-2", "air_quality", "golden"),
    DeviceSpec("air-3", "air_quality", "golden", simulated=True),
    DeviceSpec("air-4", "air_quality", "golden"),
    DeviceSpec("air-5", "air_quality", "green"),
]
METRICS = ("pm2_5", "temperature")
KIND = "air_quality"
Key = tuple[object, dt.datetime]


@dataclasses.dataclass
class Watched:
    """A city whose readings are known: by device and time, as the first to state a metric said."""

    city: City
    readings: dict[tuple[str, dt.datetime], dict[str, float]] = dataclasses.field(default_factory=dict)

    async def write(self, rows: list[Row]) -> None:
        await self.city.write(KIND, rows)
        for device, time, values in rows:
            known = self.readings.setdefault((device, time), {})
            self.readings[device, time] = values | known

    async def refresh(self, until: dt.datetime) -> list[Refreshed]:
        """Refresh as often as it takes."""
        owner, kind = self.city.owner, self.city.catalogue.kind_of[KIND]
        await move_bound(owner, [KIND], ZONE.key, to_microseconds(until))
        passes: list[Refreshed] = []
        while not passes or passes[-1].clean_to < to_microseconds(until) or passes[-1].marks:
            passes.append(await refresh(owner, kind))
        return passes


@pytest.fixture
async def watched(local_stack: object, database: Database, catalogue: Catalogue) -> AsyncIterator[Watched]:
    async with open_city(database, catalogue, DEVICES) as city:
        if not city.number:
            rows = await city.owner.fetch("SELECT id, device_id FROM alatau.device")
            city.number.update({row["id"]: row["device_id"] for row in rows})
        for tier, level in itertools.product(Tier, Level):
            await city.owner.execute(f"TRUNCATE {rollup_table(catalogue.kind_of[KIND], tier, level)}")
        await city.owner.execute(
            f'TRUNCATE reading."{KIND}", alatau.rollup_progress, alatau.rollup_dirty, alatau.latest'
        )
        await city.owner.execute("UPDATE alatau.device SET district = 'green' WHERE id = 'air-5'")
        yield Watched(city)


def some(chance: random.Random, count: int, hours: float = 53) -> list[Row]:
    seconds = [chance.randrange(int(hours * 3600)) for _ in range(count)]
    seconds[: count // 5] = [second // 3600 * 3600 for second in seconds[: count // 5]]
    return [
        (
            chance.choice(DEVICES).id,
            BEGIN + dt.timedelta(seconds=second),
            {name: chance.randrange(-400, 800) / 8 for name in METRICS if chance.random() < 0.8}
            or {"pm2_5": 1.0},
        )
        for second in seconds
    ]


def bucket_of(tier: Tier, time: dt.datetime) -> dt.datetime:
    if tier is Tier.DAY:
        local = time.astimezone(ZONE)
        return dt.datetime.combine(local.date(), dt.time(), ZONE).astimezone(dt.UTC)
    minutes = time.minute - time.minute % 5 if tier is Tier.MINUTES else 0
    return time.replace(minute=minutes, second=0, microsecond=0)


async def assert_true(watched: Watched, clean_to: dt.datetime) -> None:
    """Hold every table against the readings."""
    city, kind = watched.city, watched.city.catalogue.kind_of[KIND]
    rows = await city.owner.fetch("SELECT id, device_id, district, simulated FROM alatau.device")
    where = {row["id"]: row for row in rows}
    districts = sorted({district.name for district in city.catalogue.districts})
    for tier, level in itertools.product(Tier, Level):
        expected: dict[tuple[int, dt.datetime, str], list[tuple[dt.datetime, int, float]]]
        expected = collections.defaultdict(list)
        end = bucket_of(tier, clean_to)
        for (device, time), given in watched.readings.items():
            member = where[device]["device_id"]
            if level is Level.DISTRICT:
                member = 2 * districts.index(where[device]["district"]) + where[device]["simulated"]
            for metric, value in given.items():
                if (bucket := bucket_of(tier, time)) < end:
                    expected[member, bucket, metric].append((time, where[device]["device_id"], value))
        async with city.owner.transaction(isolation="repeatable_read"):
            made = await read_rollup(
                city.owner,
                kind,
                tier,
                to_microseconds(BEGIN - dt.timedelta(days=3)),
                to_microseconds(BEGIN + dt.timedelta(days=9)),
                districts=districts if level is Level.DISTRICT else None,
            )
        found = {
            (int(device), from_microseconds(int(bucket)), metric): row
            for row, (device, bucket) in enumerate(zip(made.device, made.bucket, strict=True))
            for metric in kind.columns
            if made.metrics[metric].count[row]
        }
        assert found.keys() == expected.keys(), (tier, level)
        quantiles = {metric: made.metrics[metric].sketch.quantile(0.5) for metric in METRICS}
        for key, row in found.items():
            states, points = made.metrics[key[2]], sorted(expected[key])
            values = [value for _, _, value in points]
            assert states.count[row] == len(values)
            assert states.sum[row] == sum(values)
            assert (states.min[row], states.max[row]) == (min(values), max(values))
            assert (states.first[row], states.last[row]) == (values[0], values[-1])
            assert from_microseconds(int(states.first_at[row])) == points[0][0]
            assert from_microseconds(int(states.last_at[row])) == points[-1][0]
            spread = statistics.pvariance(values) * len(values)
            assert states.m2[row] == pytest.approx(spread, rel=1e-9, abs=1e-9)
            median = statistics.median(values)
            ranked = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1]
            error = RELATIVE_ERROR * max(map(abs, ranked)) + 1e-12
            assert quantiles[key[2]][row] == pytest.approx(median, abs=error)


UNTIL = BEGIN + dt.timedelta(hours=50, minutes=35)


@pytest.mark.servers
@pytest.mark.parametrize("seed", range(3))
async def test_every_tier_is_what_the_readings_say_whenever_they_came(watched: Watched, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    await watched.write(some(chance, 1500))
    await watched.refresh(BEGIN + dt.timedelta(hours=20, minutes=15))
    await assert_true(watched, BEGIN + dt.timedelta(hours=20, minutes=15))
    for _ in range(3):
        await watched.write(some(chance, 40))
        await watched.write(some(chance, 60, hours=1))
        await watched.refresh(UNTIL)
        await assert_true(watched, UNTIL)


@pytest.mark.servers
async def test_a_second_refresh_changes_nothing(watched: Watched) -> None:
    await watched.write(some(random.Random(4), 500))  # noqa: S311
    await watched.refresh(UNTIL)
    passes = await watched.refresh(UNTIL)
    assert [(one.marks, one.rows) for one in passes] == [(0, 0)]
    await assert_true(watched, UNTIL)


@pytest.mark.servers
async def test_a_refresh_that_is_killed_changes_nothing_and_is_made_up_for(watched: Watched) -> None:
    await watched.write(some(random.Random(5), 500))  # noqa: S311
    await watched.refresh(UNTIL)
    await watched.write(some(random.Random(6), 50))  # noqa: S311
    owner, kind = watched.city.owner, watched.city.catalogue.kind_of[KIND]
    # An error in the last statement of the transaction: everything before it had been done.
    await owner.execute("ALTER TABLE alatau.rollup_progress ADD CONSTRAINT stuck CHECK (false) NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError):
        await refresh(owner, kind)
    await owner.execute("ALTER TABLE alatau.rollup_progress DROP CONSTRAINT stuck")
    assert await owner.fetchval("SELECT count(*) FROM alatau.rollup_dirty") > 0
    await watched.refresh(UNTIL)
    await assert_true(watched, UNTIL)


@pytest.mark.servers
async def test_what_lies_before_the_horizon_stays_what_it_is(watched: Watched) -> None:
    await watched.write(some(random.Random(8), 800))  # noqa: S311
    await watched.refresh(UNTIL)
    owner, horizon = watched.city.owner, BEGIN + dt.timedelta(hours=5)
    await owner.execute("DELETE FROM reading.air_quality WHERE time < $1", horizon)
    await owner.execute("UPDATE alatau.rollup_progress SET horizon = $1", horizon)
    late: list[Row] = [("air-1", BEGIN + dt.timedelta(hours=2, seconds=1), {"pm2_5": 700.0})]
    await watched.city.write(KIND, late)
    await watched.write([("air-2", BEGIN + dt.timedelta(hours=6, seconds=1), {"pm2_5": 700.0})])
    await watched.refresh(UNTIL)
    await assert_true(watched, UNTIL)


@pytest.mark.servers
async def test_a_device_that_moves_takes_its_readings_to_its_new_district(watched: Watched) -> None:
    await watched.write(some(random.Random(10), 800))  # noqa: S311
    await watched.refresh(UNTIL)
    owner, moved = watched.city.owner, msgspec.structs.replace(DEVICES[4], district="golden")
    async with owner.transaction():
        await update_devices(owner, [moved], watched.city.catalogue)
    await watched.refresh(UNTIL)
    await assert_true(watched, UNTIL)


@pytest.mark.servers
async def test_a_write_under_way_is_waited_for_before_the_bound_moves(watched: Watched) -> None:
    city = watched.city
    await move_bound(city.owner, [KIND], ZONE.key, to_microseconds(BEGIN))
    async with city.ingest.transaction():
        await city.ingest.execute("SELECT alatau.begin_write()")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await move_bound(city.owner, [KIND], ZONE.key, to_microseconds(UNTIL))
    await move_bound(city.owner, [KIND], ZONE.key, to_microseconds(UNTIL))
    assert (await read_progress(city.owner))[KIND].logged_to == to_microseconds(UNTIL)


@pytest.mark.servers
async def test_what_is_written_before_any_refresh_is_not_noted(watched: Watched) -> None:
    await watched.write(some(random.Random(9), 20))  # noqa: S311
    assert await watched.city.owner.fetchval("SELECT count(*) FROM alatau.rollup_dirty") == 0
