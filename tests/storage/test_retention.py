"""Retention on the real database: what goes, what stays whatever the policy says, and who may let it go."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.database import connect
from storage.errors import BusyError, PermanentError
from storage.retention import (
    EVERY_KIND,
    Gone,
    KeptTier,
    apply_retention,
    list_stored,
    load_policy,
    plan_retention,
    reset_policy,
    set_policy,
)
from storage.rollup_marks import begin_write
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

KIND = "noise"
DAY = dt.timedelta(days=1)
DEFAULTS = {
    (EVERY_KIND, KeptTier.RAW): 30 * DAY,
    (EVERY_KIND, KeptTier.MINUTES): 180 * DAY,
    (EVERY_KIND, KeptTier.HOUR): None,
    (EVERY_KIND, KeptTier.DAY): None,
}
MIDNIGHT = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOON = MIDNIGHT + DAY / 2


@pytest.fixture(scope="module")
async def module_city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    devices = [DeviceSpec("meter-1", KIND, "gate"), DeviceSpec("meter-2", KIND, "green")]
    async with open_city(database, catalogue, devices) as city:
        yield city


@pytest.fixture
async def city(module_city: City) -> City:
    """A city without readings, rollups and policies of its own."""
    tables = [f"reading.{KIND}"]
    tables += [f'rollup."{KIND}_{tier}{level}"' for tier in ("5m", "1h", "1d") for level in ("", "_district")]
    for table in (*tables, "alatau.rollup_progress", "alatau.rollup_dirty", "alatau.retention"):
        await module_city.owner.execute(f"TRUNCATE {table}")
    for (kind, tier), keep in DEFAULTS.items():
        await module_city.owner.execute("INSERT INTO alatau.retention VALUES ($1, $2, $3)", kind, tier, keep)
    return module_city


@pytest.fixture
async def maintenance(city: City) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(city.database.maintenance_url, application="test")
    yield connection
    await connection.close()


async def store(city: City, *days_ago: int, device: str = "meter-1") -> None:
    """Store one reading at noon of each day."""
    await city.write(KIND, [(device, NOON - days * DAY, {"laeq": 50.0}) for days in days_ago])


async def progress(city: City, clean_to: dt.datetime = MIDNIGHT, horizon: dt.datetime | None = None) -> None:
    await city.owner.execute(
        """
        INSERT INTO alatau.rollup_progress (kind, zone, logged_to, clean_to, horizon)
        VALUES ($1, 'Asia/Almaty', $2, $2, COALESCE($3, '-infinity'::timestamptz))
        """,
        KIND,
        clean_to,
        horizon,
    )


async def dirty(city: City, start: dt.datetime, stop: dt.datetime) -> None:
    await city.owner.execute(
        "INSERT INTO alatau.rollup_dirty (kind, device_id, start, stop) VALUES ($1, 1, $2, $3)",
        KIND,
        start,
        stop,
    )


async def days_kept(city: City) -> list[int]:
    """Return how many days ago the readings are that there are, oldest first."""
    rows = await city.owner.fetch("SELECT time FROM reading.noise ORDER BY time")
    return [(NOON - row["time"]) // DAY for row in rows]


async def horizon(city: City, tier: str = "") -> dt.datetime:
    moved: dt.datetime = await city.owner.fetchval(
        f"SELECT horizon{tier} FROM alatau.rollup_progress WHERE kind = $1",  # noqa: S608 - our own name
        KIND,
    )
    return moved


async def test_readings_older_than_they_are_kept_go_and_the_horizon_moves(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 40, 35, 32, 20, 1)
    await progress(city)
    gone = await apply_retention(maintenance, KIND, KeptTier.RAW)
    assert await days_kept(city) == [20, 1]
    assert [(one.start, one.stop) for one in gone] == [
        (MIDNIGHT - days * DAY, MIDNIGHT - (days - 1) * DAY) for days in (40, 35, 32)
    ]
    assert all(one.size > 0 for one in gone)
    assert await horizon(city) == MIDNIGHT - 31 * DAY
    assert await apply_retention(maintenance, KIND, KeptTier.RAW) == []
    assert await horizon(city) == MIDNIGHT - 31 * DAY


async def test_a_reading_that_is_still_young_enough_keeps_its_whole_chunk(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await city.write(KIND, [("meter-1", MIDNIGHT - 30 * DAY, {"laeq": 50.0})])
    await progress(city)
    assert await apply_retention(maintenance, KIND, KeptTier.RAW) == []
    assert len(await days_kept(city)) == 1


async def test_readings_stay_while_rollups_were_never_made(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 40)
    assert await apply_retention(maintenance, KIND, KeptTier.RAW) == []
    assert await days_kept(city) == [40]


async def test_readings_stay_until_the_rollups_have_come_so_far(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 50, 40)
    await progress(city, clean_to=NOON - 40 * DAY)
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1
    assert await days_kept(city) == [40]
    assert await horizon(city) == MIDNIGHT - 49 * DAY


async def test_readings_stay_while_a_change_of_them_is_not_in_the_rollups(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 60, 50, 40)
    await progress(city)
    await dirty(city, NOON - 50 * DAY, NOON - 50 * DAY + dt.timedelta(minutes=5))
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1
    assert await days_kept(city) == [50, 40]


async def test_what_came_late_below_the_horizon_goes_without_rollups(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 50, 40)
    await progress(city, clean_to=MIDNIGHT - 45 * DAY, horizon=MIDNIGHT - 45 * DAY)
    await dirty(city, NOON - 50 * DAY, NOON - 50 * DAY + dt.timedelta(minutes=5))
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1
    assert await days_kept(city) == [40]
    assert await horizon(city) == MIDNIGHT - 45 * DAY


async def test_the_plan_is_what_goes_with_its_rows_counted(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 40, 35, 20)
    await store(city, 35, device="meter-2")
    await progress(city)
    plan = await plan_retention(city.owner, KIND, KeptTier.RAW)
    assert [one.rows for one in plan] == [1, 2]
    assert await days_kept(city) == [40, 35, 35, 20]
    gone = await apply_retention(maintenance, KIND, KeptTier.RAW)
    assert [(one.place, one.start, one.stop, one.size) for one in gone] == [
        (one.place, one.start, one.stop, one.size) for one in plan
    ]


async def test_a_policy_of_its_own_goes_before_that_of_every_kind(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 40, 20, 10)
    await progress(city)
    await set_policy(city.owner, KIND, KeptTier.RAW, 15 * DAY)
    await apply_retention(maintenance, KIND, KeptTier.RAW)
    assert await days_kept(city) == [10]


async def test_what_is_kept_for_ever_stays(city: City, maintenance: asyncpg.Connection) -> None:
    await store(city, 300)
    await progress(city)
    await set_policy(city.owner, KIND, KeptTier.MINUTES, None)
    await set_policy(city.owner, KIND, KeptTier.RAW, None)
    assert await apply_retention(maintenance, KIND, KeptTier.RAW) == []
    await reset_policy(city.owner, KIND, KeptTier.RAW)
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1


async def store_rollups(city: City, tier: str, *days_ago: int) -> None:
    for days in days_ago:
        bucket = MIDNIGHT - days * DAY
        await city.owner.execute(
            f"INSERT INTO rollup.noise_{tier} (device_id, bucket) VALUES (1, $1)",  # noqa: S608 - our own name
            bucket,
        )
        await city.owner.execute(
            f"INSERT INTO rollup.noise_{tier}_district VALUES ('gate', false, $1)",  # noqa: S608 - our own name
            bucket,
        )


async def rollups_kept(city: City, tier: str) -> tuple[list[int], list[int]]:
    """Return how many days ago the rollups of devices and of districts are."""
    found = []
    for level in ("", "_district"):
        rows = await city.owner.fetch(
            f"SELECT bucket FROM rollup.noise_{tier}{level} ORDER BY bucket"  # noqa: S608 - our own name
        )
        found.append([(MIDNIGHT - row["bucket"]) // DAY for row in rows])
    return found[0], found[1]


async def test_rollups_of_five_minutes_go_with_those_of_the_districts(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store_rollups(city, "5m", 400, 200, 180, 100)
    await progress(city, horizon=MIDNIGHT - 30 * DAY)
    plan = await plan_retention(city.owner, KIND, KeptTier.MINUTES)
    gone = await apply_retention(maintenance, KIND, KeptTier.MINUTES)
    assert await rollups_kept(city, "5m") == ([180, 100], [180, 100])
    assert [(one.place, one.start, one.stop) for one in plan] == [
        (one.place, one.start, one.stop) for one in gone
    ]
    districts = [one for one in gone if one.start is None]
    assert [one.rows for one in districts] == [one.rows for one in plan if one.start is None] == [2]
    assert await horizon(city, "_5m") == max(one.stop for one in gone)
    assert await horizon(city) == MIDNIGHT - 30 * DAY


async def test_days_go_row_by_row_and_only_when_they_are_over(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await set_policy(city.owner, EVERY_KIND, KeptTier.HOUR, 365 * DAY)
    await set_policy(city.owner, EVERY_KIND, KeptTier.DAY, 365 * DAY)
    await store_rollups(city, "1d", 400, 368, 365, 10)
    await progress(city, horizon=MIDNIGHT - 30 * DAY)
    gone = await apply_retention(maintenance, KIND, KeptTier.DAY)
    assert await rollups_kept(city, "1d") == ([365, 10], [365, 10])
    assert [one.rows for one in gone] == [2, 2]
    assert await horizon(city, "_1d") > MIDNIGHT - 368 * DAY


async def test_rollups_stay_as_long_as_readings_that_they_may_be_made_again_of(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store_rollups(city, "5m", 400, 300)
    await progress(city, horizon=MIDNIGHT - 350 * DAY)
    await apply_retention(maintenance, KIND, KeptTier.MINUTES)
    assert await rollups_kept(city, "5m") == ([300], [300])


async def test_a_long_reader_of_what_would_go_is_waited_for_another_time(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 40)
    await progress(city)
    async with city.api.transaction():
        assert await city.api.fetchval("SELECT count(*) FROM reading.noise") == 1
        with pytest.raises(BusyError, match="raw of noise is being read"):
            await apply_retention(maintenance, KIND, KeptTier.RAW)
    assert await days_kept(city) == [40]
    assert len(await apply_retention(maintenance, KIND, KeptTier.RAW)) == 1


async def test_a_write_under_way_is_waited_for_and_what_it_notes_is_heeded(
    city: City, maintenance: asyncpg.Connection
) -> None:
    await store(city, 40)
    await progress(city)
    async with city.ingest.transaction():
        await begin_write(city.ingest)
        dropping = asyncio.create_task(apply_retention(maintenance, KIND, KeptTier.RAW), name="test.drop")
        async with asyncio.timeout(10):
            while not await city.owner.fetchval(  # noqa: ASYNC110 - the database tells nobody
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            ):
                await asyncio.sleep(0.01)
        await city.ingest.execute(
            "INSERT INTO alatau.rollup_dirty (kind, device_id, start, stop) VALUES ($1, 1, $2, $3)",
            KIND,
            NOON - 40 * DAY,
            NOON - 40 * DAY + dt.timedelta(minutes=5),
        )
    assert await dropping == []
    assert await days_kept(city) == [40]


@pytest.mark.parametrize(("kind", "tier"), [("no_such", KeptTier.RAW), ("no_such", KeptTier.DAY)])
async def test_a_kind_that_there_is_none_of_loses_nothing(
    city: City, maintenance: asyncpg.Connection, kind: str, tier: KeptTier
) -> None:
    nothing: list[Gone] = []
    assert await apply_retention(maintenance, kind, tier) == nothing


@pytest.mark.parametrize(
    ("kind", "tier", "keep", "said"),
    [
        (EVERY_KIND, KeptTier.RAW, 200 * DAY, "5m of .* would be kept for 180 days"),
        (EVERY_KIND, KeptTier.RAW, None, "raw, which is finer, for ever"),
        (KIND, KeptTier.MINUTES, 20 * DAY, "5m of noise would be kept for 20 days"),
        (EVERY_KIND, KeptTier.DAY, 300 * DAY, "1h, which is finer, for ever"),
        (EVERY_KIND, KeptTier.RAW, DAY, "at least 2 days"),
        (EVERY_KIND, KeptTier.DAY, 400_000 * DAY, "at most 1,000 years"),
    ],
)
async def test_a_policy_that_would_leave_a_hole_is_refused_and_changes_nothing(
    city: City, kind: str, tier: KeptTier, keep: dt.timedelta | None, said: str
) -> None:
    with pytest.raises(PermanentError, match=said):
        await set_policy(city.owner, kind, tier, keep)
    assert await load_policy(city.owner) == DEFAULTS


async def test_what_is_stored_is_said_of_each_tier(city: City) -> None:
    await store(city, 3, 2)
    await store_rollups(city, "1d", 3)
    await progress(city, horizon=MIDNIGHT - 30 * DAY)
    await set_policy(city.owner, KIND, KeptTier.RAW, 10 * DAY)
    await city.owner.execute(f"ANALYZE reading.{KIND}")
    raw, minutes, hour, day = await list_stored(city.owner, [KIND])
    assert [one.tier for one in (raw, minutes, hour, day)] == list(KeptTier)
    assert (raw.keep, raw.is_own, raw.rows) == (10 * DAY, True, 2)
    assert (raw.oldest, raw.horizon) == (MIDNIGHT - 3 * DAY, MIDNIGHT - 30 * DAY)
    assert raw.size > 0
    assert (minutes.keep, minutes.is_own, minutes.oldest, minutes.horizon) == (180 * DAY, False, None, None)
    assert (hour.keep, day.keep, day.oldest) == (None, None, MIDNIGHT - 3 * DAY)


FORBIDDEN = [
    "DELETE FROM reading.noise",
    "INSERT INTO reading.noise (time, received_at, device_id) VALUES (now(), now(), 1)",
    "SELECT public.drop_chunks('reading.noise', older_than => now())",
    "UPDATE alatau.retention SET keep = '2 days'",
    "SELECT * FROM alatau.api_key",
    "SELECT * FROM alatau.device_credential",
    "DELETE FROM alatau.device",
    "SELECT alatau.correct('x', now(), now(), '{}', 'x', 'x', '{}', 0, 0)",
    "CREATE TABLE alatau.mine ()",
]


@pytest.mark.parametrize("statement", FORBIDDEN, ids=lambda text: text[:40])
async def test_the_role_of_maintenance_may_do_no_more_than_its_work(
    maintenance: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await maintenance.execute(statement)


async def test_the_api_and_ingest_drop_nothing(city: City) -> None:
    for connection in (city.api, city.ingest):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await apply_retention(connection, KIND, KeptTier.RAW)
