"""The search for anomalies on a real database: rollups of three weeks in, findings out."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import numpy.typing as npt
import pytest

from alerts.finding import Finding, NotYetError
from alerts.watch import Watch
from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.readings import ReadingBatch
from sensors.times import DAY, SECOND, to_microseconds
from storage.copy import copy_stream, encode_readings, reading_columns
from storage.database import connect
from storage.devices import register_devices
from storage.kinds import SCHEMA
from storage.latest import flush_latest
from storage.refresh import move_bound, refresh
from tests.api.answers import NOW
from tests.cities import City, open_city
from tests.conftest import Database

KIND, INTERVAL = "noise", 1800 * SECOND
NOON = to_microseconds(NOW) // DAY * DAY + 12 * 3600 * SECOND
SPECS = [DeviceSpec(f"noise-{n}", KIND, "gate", interval="PT30M") for n in range(6)]
STUCK, SILENT, LOUD = SPECS[1].id, SPECS[2].id, SPECS[3].id
FAULTY = 5 * 3600 * SECOND  # before noon, when things began to go wrong


def course(device: int, time: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return a level of noise with its day, its night and its own accidents, (n, 3)."""
    day = 8 * np.sin(2 * np.pi * (time % DAY) / DAY)
    accident = np.random.default_rng(device).normal(0, 0.4, (len(time), 3))
    values: npt.NDArray[np.float64] = 60 + device + day[:, None] + np.array([0, 9, -7]) + accident
    return values.round(1)


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    """Three weeks of six noise monitors, of which three went wrong this morning."""
    async with open_city(database, catalogue, SPECS) as opened:
        kind = catalogue.kind_of[KIND]
        for number, spec in enumerate(SPECS):
            time = np.arange(NOON - 22 * DAY, NOON, INTERVAL)
            values = course(number, time)
            faulty = time >= NOON - FAULTY
            if spec.id == STUCK:
                values[faulty, 0] = 63.3
            elif spec.id == LOUD:
                values[faulty] += 25
            elif spec.id == SILENT:
                time, values = time[~faulty], values[~faulty]
            of_device = np.full(len(time), opened.number[spec.id], np.int32)
            batch = ReadingBatch(kind, of_device, time, time + SECOND, values)
            await opened.owner.copy_to_table(
                KIND,
                schema_name=SCHEMA,
                columns=reading_columns(batch),
                source=copy_stream(encode_readings(batch)),
                format="binary",
            )
            await flush_latest(opened.owner, [batch])
        await move_bound(opened.owner, [KIND], catalogue.city.timezone, NOON)
        while not (await refresh(opened.owner, kind)).is_done:
            pass
        yield opened


@pytest.fixture
async def connection(city: City) -> AsyncIterator[asyncpg.Connection]:
    """A connection with no more rights than the process has."""
    opened = await connect(city.database.alerts_url, application="test")
    yield opened
    await opened.close()


async def search(watch: Watch, connection: asyncpg.Connection, now: int = NOON) -> dict[str, Finding]:
    """Return what is found, as soon as anything can be said."""
    for _ in range(1000):
        try:
            return {one.fingerprint: one for one in await watch.find(connection, now)}
        except NotYetError:
            continue
    raise AssertionError("it never knew enough")


async def test_each_fault_is_found_once_with_what_is_usual_since_when_and_what_neighbours_show(
    city: City, connection: asyncpg.Connection
) -> None:
    found = await search(Watch(), connection)
    assert set(found) == {f"anomaly/stuck/{STUCK}", f"anomaly/silence/{SILENT}", f"anomaly/departure/{LOUD}"}
    loud = found[f"anomaly/departure/{LOUD}"]
    assert (loud.device, loud.kind, loud.district, loud.kind_of_rule) == (LOUD, KIND, "gate", "anomaly")
    assert loud.low is not None
    assert loud.high is not None
    assert loud.value is not None
    assert loud.low < loud.high < loud.value
    assert loud.value == pytest.approx(course(3, np.array([NOON]))[0, 0] + 25, abs=12)
    assert NOON - FAULTY <= loud.since <= NOON - FAULTY + 3600 * SECOND
    # The one that is stuck is so in one metric alone.
    assert loud.evidence["neighbours"] == {"count": 4, "unusual": int(loud.metric == "laeq")}
    assert sorted([loud.metric or "", *loud.evidence["also"]]) == ["la90", "laeq", "lamax"]  # type: ignore[misc]
    stuck = found[f"anomaly/stuck/{STUCK}"]
    assert stuck.metric == "laeq"
    assert stuck.value == pytest.approx(63.3)
    assert stuck.sentence.startswith(
        f"{STUCK} says exactly 63.3 dB for A-weighted equivalent level since 12:00;"
    )
    silent = found[f"anomaly/silence/{SILENT}"]
    assert silent.since == NOON - FAULTY - INTERVAL
    assert "has sent nothing since 11:30, for 5 hours." in silent.sentence


async def test_a_search_that_was_started_again_finds_the_same(
    city: City, connection: asyncpg.Connection
) -> None:
    first, again = await search(Watch(), connection), await search(Watch(), connection)
    assert first == again


async def test_learning_goes_in_pieces_and_nothing_is_said_before_it_is_done(
    city: City, connection: asyncpg.Connection
) -> None:
    ticks = itertools.count()
    watch = Watch(budget=0.5, monotonic=lambda: float(next(ticks)))
    with pytest.raises(NotYetError):
        await watch.find(connection, NOON)
    assert await search(watch, connection) == await search(Watch(), connection)


async def test_a_pass_searches_once_also_when_nothing_can_be_said(
    city: City, connection: asyncpg.Connection
) -> None:
    ticks = itertools.count()
    first, second = Watch(budget=0.5, monotonic=lambda: float(next(ticks))).finds().values()
    with pytest.raises(NotYetError):
        await first(connection, NOON)
    used = next(ticks)
    with pytest.raises(NotYetError):
        await second(connection, NOON)
    assert next(ticks) == used + 1, "it has learned again"


async def test_nothing_is_said_while_the_first_rollups_are_being_made(city: City) -> None:
    undone = city.owner.transaction()
    await undone.start()
    try:
        await city.owner.execute(
            "UPDATE alatau.rollup_progress SET clean_to = '-infinity' WHERE kind = $1", KIND
        )
        with pytest.raises(NotYetError, match="rollups"):
            await Watch().find(city.owner, NOON)
    finally:
        await undone.rollback()


async def test_a_device_that_comes_does_not_make_the_others_forgotten(
    city: City, connection: asyncpg.Connection, catalogue: Catalogue
) -> None:
    watch = Watch()
    before = await search(watch, connection)
    await register_devices(city.owner, [DeviceSpec("noise-0b", KIND, "golden")], catalogue)
    assert await search(watch, connection, NOON + SECOND) == before
