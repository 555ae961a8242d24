"""Corrections on the real database: what they change, what they note, what they refuse, and what stays on record."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import math
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.times import to_microseconds
from storage.corrections import (
    Action,
    Corrected,
    Correction,
    Delete,
    HorizonError,
    ImplausibleError,
    Replace,
    Rescale,
    correct,
    data_version,
    list_corrections,
    try_correction,
)
from storage.devices import register_devices
from storage.latest import heal_latest
from storage.rollup_marks import begin_write
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def module_city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, []) as city:
        yield city


@pytest.fixture
async def city(module_city: City) -> City:
    """A city without rollups."""
    await module_city.owner.execute("TRUNCATE alatau.rollup_progress, alatau.rollup_dirty")
    return module_city


@pytest.fixture
async def meter(city: City, catalogue: Catalogue) -> str:
    """A device of its own with a reading each minute of ten, laeq 50 to 59 and lamax 70."""
    name = f"meter-{next(_numbers)}"
    city.number.update(await register_devices(city.owner, [DeviceSpec(name, "noise", "gate")], catalogue))
    rows = [(name, START + n * MINUTE, {"laeq": 50.0 + n, "lamax": 70.0}) for n in range(10)]
    await city.write("noise", rows)
    return name


def correction(
    device: str, action: Action, first: int = 0, end: int = 10, *, is_forced: bool = False
) -> Correction:
    """Return a correction of a range of minutes."""
    return Correction(
        device,
        to_microseconds(START + first * MINUTE),
        to_microseconds(START + end * MINUTE),
        action,
        who="tester",
        why="because",
        is_forced=is_forced,
    )


async def make(city: City, wanted: Correction) -> Corrected:
    """Make it as the API does."""
    return await correct(city.api, city.catalogue.kind_of["noise"], wanted)


async def values(city: City, device: str, metric: str = "laeq") -> list[float | None]:
    rows = await city.owner.fetch(
        f"SELECT {metric} AS value FROM reading.noise WHERE device_id = $1 ORDER BY time",  # noqa: S608
        city.number[device],
    )
    return [row["value"] for row in rows]


async def latest(city: City, device: str) -> tuple[dt.datetime, list[float]] | None:
    row = await city.owner.fetchrow(
        "SELECT time, values FROM alatau.latest WHERE device_id = $1", city.number[device]
    )
    return None if row is None else (row["time"], row["values"])


async def marks(city: City) -> list[tuple[int, dt.datetime, dt.datetime]]:
    rows = await city.owner.fetch("SELECT device_id, start, stop FROM alatau.rollup_dirty ORDER BY start")
    return [(row["device_id"], row["start"], row["stop"]) for row in rows]


async def progress(city: City, logged_to: dt.datetime, horizon: dt.datetime | None = None) -> None:
    await city.owner.execute(
        """
        INSERT INTO alatau.rollup_progress (kind, zone, logged_to, horizon)
        VALUES ('noise', 'Asia/Almaty', $1, COALESCE($2, '-infinity'::timestamptz))
        """,
        logged_to,
        horizon,
    )


async def test_readings_of_a_range_are_deleted(city: City, meter: str) -> None:
    done = await make(city, correction(meter, Delete(), 2, 5))
    assert (done.changed, done.deleted) == (0, 3)
    assert await values(city, meter) == [50, 51, 55, 56, 57, 58, 59]


async def test_only_the_device_s_own_readings_are(city: City, meter: str, catalogue: Catalogue) -> None:
    other = f"{meter}-other"
    city.number.update(await register_devices(city.owner, [DeviceSpec(other, "noise", "gate")], catalogue))
    await city.write("noise", [(other, START, {"laeq": 40.0})])
    await make(city, correction(meter, Delete()))
    assert await values(city, meter) == []
    assert await values(city, other) == [40]


async def test_values_of_a_metric_are_deleted_and_the_others_stay(city: City, meter: str) -> None:
    done = await make(city, correction(meter, Delete("laeq"), 8))
    assert (done.changed, done.deleted) == (2, 0)
    assert await values(city, meter) == [*range(50, 58), None, None]
    assert await values(city, meter, "lamax") == [70] * 10


async def test_a_reading_left_without_any_value_goes_too(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete("lamax"), 0, 6))
    done = await make(city, correction(meter, Delete("laeq"), 4, 8))
    assert (done.changed, done.deleted) == (2, 2)
    assert await values(city, meter) == [50, 51, 52, 53, None, None, 58, 59]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Replace("laeq", 45.0), [45.0] * 10),
        (Rescale("laeq", offset=-1.5), [48.5 + n for n in range(10)]),
        (Rescale("laeq", scale=2.0), [100.0 + 2 * n for n in range(10)]),
        (Rescale("laeq", scale=2.0, offset=-50.0), [50.0 + 2 * n for n in range(10)]),
    ],
    ids=str,
)
async def test_values_are_amended(city: City, meter: str, action: Action, expected: list[float]) -> None:
    done = await make(city, correction(meter, action))
    assert done.deleted == 0
    assert done.changed == sum(a != b for a, b in zip(expected, range(50, 60), strict=True))
    assert await values(city, meter) == expected


async def test_where_there_was_no_value_there_still_is_none(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete("laeq"), 0, 5))
    done = await make(city, correction(meter, Replace("laeq", 10.0)))
    assert done.changed == 5
    assert await values(city, meter) == [*[None] * 5, *[10] * 5]


async def test_a_correction_is_on_record_with_who_and_why(city: City, meter: str) -> None:
    done = await make(city, correction(meter, Rescale("laeq", 1.5, -20.0), 1, 3))
    (found,) = await list_corrections(city.api, device=meter)
    assert found.number == done.number
    assert (found.who, found.why, found.kind) == ("tester", "because", "noise")
    assert (found.start, found.end) == (START + MINUTE, START + 3 * MINUTE)
    assert found.action == {"amend": "laeq", "scale": 1.5, "offset": -20.0}
    assert (found.changed, found.deleted) == (2, 0)
    assert abs(dt.datetime.now(dt.UTC) - found.at) < dt.timedelta(minutes=5)


async def test_what_changes_nothing_is_not_on_record(city: City, meter: str) -> None:
    wanted = correction(meter, Replace("lamax", 70.0))
    assert await make(city, wanted) == Corrected(None, 0, 0)
    assert await make(city, correction(meter, Delete("la90"))) == Corrected(None, 0, 0)
    assert await make(city, correction(meter, Delete(), 100, 200)) == Corrected(None, 0, 0)
    assert await list_corrections(city.api, device=meter) == []


async def test_a_trial_says_what_would_be_and_changes_nothing(city: City, meter: str) -> None:
    before = await latest(city, meter)
    await progress(city, START + 60 * MINUTE)
    tried = await try_correction(
        city.api, city.catalogue.kind_of["noise"], correction(meter, Delete("laeq"), 8)
    )
    assert (tried.changed, tried.deleted) == (2, 0)
    assert await values(city, meter) == list(range(50, 60))
    assert await list_corrections(city.api, device=meter) == []
    assert str(await latest(city, meter)) == str(before)  # which holds NaN
    assert await marks(city) == []


# -- rollups ----------------------------------------------------------------------------------


async def test_the_buckets_that_were_touched_are_noted_as_few_ranges(city: City, meter: str) -> None:
    await city.write("noise", [(meter, START + n * MINUTE, {"laeq": 50.0}) for n in (31, 42, 48)])
    await progress(city, START + 60 * MINUTE)
    await make(city, correction(meter, Delete("laeq"), 3, 60))
    device = city.number[meter]
    assert await marks(city) == [
        (device, START, START + 10 * MINUTE),
        (device, START + 30 * MINUTE, START + 35 * MINUTE),
        (device, START + 40 * MINUTE, START + 50 * MINUTE),
    ]


@pytest.mark.parametrize("action", [Delete(), Delete("laeq"), Replace("laeq", 1.0)], ids=str)
async def test_only_what_rollups_have_looked_at_is_noted(city: City, meter: str, action: Action) -> None:
    await progress(city, START + 5 * MINUTE)
    await make(city, correction(meter, action, 2, 10))
    assert await marks(city) == [(city.number[meter], START, START + 5 * MINUTE)]


async def test_without_rollups_nothing_is_noted(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete()))
    assert await marks(city) == []


async def test_what_begins_before_the_horizon_is_refused_with_where_to_begin(city: City, meter: str) -> None:
    await progress(city, START + 60 * MINUTE, horizon=START + 5 * MINUTE)
    with pytest.raises(HorizonError, match="begin at 2026-03-01T00:05:00Z or later"):
        await make(city, correction(meter, Delete(), 4))
    assert len(await values(city, meter)) == 10
    assert (await make(city, correction(meter, Delete(), 5))).deleted == 5


# -- plausible values -------------------------------------------------------------------------


async def test_values_that_are_not_plausible_are_refused_and_counted(city: City, meter: str) -> None:
    with pytest.raises(ImplausibleError, match=r"6 values would lie outside .* 0 to 160 \(150 to 177\)"):
        await make(city, correction(meter, Rescale("laeq", 3.0), 0, 10))
    assert await values(city, meter) == list(range(50, 60))
    with pytest.raises(ImplausibleError, match="outside"):
        await make(city, correction(meter, Replace("laeq", -1.0)))


async def test_values_that_are_not_plausible_can_be_forced(city: City, meter: str) -> None:
    await make(city, correction(meter, Replace("laeq", 500.0), is_forced=True))
    assert await values(city, meter) == [500] * 10


async def test_a_value_beyond_all_numbers_is_refused(city: City, meter: str) -> None:
    with pytest.raises(ImplausibleError, match="smaller scale"):
        await make(city, correction(meter, Rescale("laeq", 1e308), is_forced=True))


# -- latest values ----------------------------------------------------------------------------


async def test_the_latest_values_are_those_of_what_is_left(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete(), 7))
    found = await latest(city, meter)
    assert found is not None
    assert found[0] == START + 6 * MINUTE
    assert found[1][:2] == [56, 70]
    assert math.isnan(found[1][2])


async def test_the_latest_value_of_one_metric_heals_alone(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete("laeq"), 5))
    found = await latest(city, meter)
    assert found is not None
    assert found[0] == START + 9 * MINUTE
    assert found[1][:2] == [54, 70]


async def test_the_latest_value_is_amended_with_the_reading(city: City, meter: str) -> None:
    await make(city, correction(meter, Rescale("laeq", offset=1.0), 9))
    found = await latest(city, meter)
    assert found is not None
    assert found[1][0] == 60


async def test_a_device_without_readings_has_no_latest_values(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete()))
    assert await latest(city, meter) is None
    kind = city.catalogue.kind_of["noise"]
    await heal_latest(city.ingest, kind)
    assert await latest(city, meter) is None


async def test_latest_values_of_readings_that_retention_let_go_stay(city: City, meter: str) -> None:
    """lamax is of a reading that is gone; a correction of what came later does not touch it."""
    await city.write("noise", [(meter, START + 20 * MINUTE, {"laeq": 30.0})])
    await city.owner.execute(
        "DELETE FROM reading.noise WHERE device_id = $1 AND time < $2",
        city.number[meter],
        START + 10 * MINUTE,
    )
    await make(city, correction(meter, Delete(), 15, 30))
    found = await latest(city, meter)
    assert found is not None
    assert found[0] == START + 9 * MINUTE
    assert math.isnan(found[1][0])
    assert found[1][1] == 70


async def test_a_newer_reading_goes_before_a_corrected_latest_value(city: City, meter: str) -> None:
    await make(city, correction(meter, Delete(), 5))
    await city.write("noise", [(meter, START + 30 * MINUTE, {"laeq": 33.0})])
    found = await latest(city, meter)
    assert found is not None
    assert found[0] == START + 30 * MINUTE
    assert found[1][:2] == [33, 70]


# -- versions ---------------------------------------------------------------------------------


async def test_a_version_rises_with_corrections_of_the_range_and_with_no_other(
    city: City, meter: str
) -> None:
    kind, weather = (city.catalogue.kind_of[name] for name in ("noise", "weather"))
    hour = to_microseconds(START), to_microseconds(START + 60 * MINUTE)
    later = hour[1], hour[1] + 3_600_000_000
    before = await data_version(city.api, kind, *hour), await data_version(city.api, kind, *later)
    done = await make(city, correction(meter, Delete("laeq"), 2, 4))
    assert done.number is not None
    assert await data_version(city.api, kind, *hour) == done.number > before[0]
    assert await data_version(city.api, kind, *later) == before[1]
    assert await data_version(city.api, weather, *hour) == 0
    at = to_microseconds(START + 4 * MINUTE)
    assert await data_version(city.api, kind, at, at + 1) < done.number


async def test_two_corrections_at_once_are_made_one_after_the_other(city: City, meter: str) -> None:
    """So that a version that was seen is not below one that comes later."""
    kind = city.catalogue.kind_of["noise"]
    transaction = city.owner.transaction()
    await transaction.start()
    first = await correct(city.owner, kind, correction(meter, Delete(), 0, 1))
    second = asyncio.create_task(make(city, correction(meter, Delete(), 5, 6)), name="test.second")
    async with asyncio.timeout(10):
        while not await city.ingest.fetchval(  # noqa: ASYNC110 - the database tells nobody
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        ):
            await asyncio.sleep(0.01)
    await transaction.commit()
    assert first.number is not None
    assert (await second).number == first.number + 1


async def test_a_correction_and_a_write_are_under_way_at_the_same_time(city: City, meter: str) -> None:
    async with city.ingest.transaction():
        await begin_write(city.ingest)
        assert (await make(city, correction(meter, Delete(), 0, 1))).deleted == 1


async def test_corrections_are_listed_newest_first_page_by_page(city: City, meter: str) -> None:
    numbers = [(await make(city, correction(meter, Delete(), n, n + 1))).number for n in range(3)]
    first = await list_corrections(city.api, device=meter, limit=2)
    rest = await list_corrections(city.api, device=meter, limit=2, before=first[-1].number)
    assert [one.number for one in [*first, *rest]] == numbers[::-1]
    assert await list_corrections(city.api, device=meter, kind="weather") == []


# -- rights -----------------------------------------------------------------------------------

BY_HAND = "SELECT * FROM alatau.correct($1, now() - interval '9 years', now(), $2, 'x', 'x', $3, NULL, NULL)"


@pytest.mark.parametrize(
    ("action", "columns"),
    [
        ({}, ["laeq"]),
        ({"delete": "no_such"}, ["laeq"]),
        ({"amend": None, "set": 1}, ["laeq"]),
        ({"amend": "device_id", "set": 1}, ["laeq", "device_id"]),
        ({"amend": "laeq", "set": 1}, ["laeq", "received_at"]),
    ],
    ids=str,
)
async def test_what_is_no_correction_is_refused_by_the_database_itself(
    city: City, meter: str, action: dict[str, object], columns: list[str]
) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await city.api.execute(BY_HAND, meter, action, columns)
    assert len(await values(city, meter)) == 10


async def test_ingest_corrects_nothing(city: City, meter: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await correct(city.ingest, city.catalogue.kind_of["noise"], correction(meter, Delete()))


@pytest.mark.parametrize(
    "statement", ["DELETE FROM alatau.correction", "UPDATE alatau.correction SET why = 'other'"]
)
async def test_the_api_does_not_change_the_record(city: City, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await city.api.execute(statement)
