"""``retention``: shown, set, and carried out, or only listed."""

from __future__ import annotations

import datetime as dt

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from tests.cities import open_city
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers

TODAY = dt.datetime.now(dt.UTC).replace(hour=12, minute=0, second=0, microsecond=0)


async def test_readings_that_are_too_old_are_listed_and_then_go(
    alatau: Alatau, database: Database, catalogue: Catalogue, connection: asyncpg.Connection
) -> None:
    old, new = TODAY - dt.timedelta(days=40), TODAY - dt.timedelta(days=3)
    async with open_city(database, catalogue, [DeviceSpec("meter-1", "noise", "gate")]) as city:
        await city.write("noise", [("meter-1", time, {"laeq": 50.0}) for time in (old, new)])
    assert alatau("retention", "run", "--dry-run").out == "Nothing is older than it is kept."
    await connection.execute(
        "INSERT INTO alatau.rollup_progress (kind, zone, logged_to, clean_to) VALUES ('noise', 'UTC', $1, $1)",
        TODAY,
    )

    listed = alatau("retention", "run", "--dry-run")
    assert listed.code == 0
    assert "noise raw _timescaledb_internal._hyper_" in listed.out
    assert f"{old:%Y-%m-%d} 00:00 {old + dt.timedelta(days=1):%Y-%m-%d} 00:00 1 " in listed.out
    assert "Would go: 1 chunks, 1 rows, " in listed.out
    assert await connection.fetchval("SELECT count(*) FROM reading.noise") == 2

    assert "Gone: 1 chunks, " in alatau("retention", "run").out
    assert await connection.fetchval("SELECT min(time) FROM reading.noise") == new
    assert alatau("retention", "run").out == "Nothing is older than it is kept."
    shown = alatau("retention").out
    assert f"{new:%Y-%m-%d} 00:00 {old + dt.timedelta(days=1):%Y-%m-%d} 00:00 " in shown


def test_the_policy_is_shown_of_each_kind_and_tier(alatau: Alatau) -> None:
    shown = alatau("retention").out
    assert "kind tier kept for rows size oldest gone before" in shown
    for line in ("weather raw 30 days * 0 ", "weather 5m 180 days * 0 ", "weather 1d ever * 0 "):
        assert line in shown


def test_a_kind_is_given_a_policy_of_its_own_and_loses_it(alatau: Alatau) -> None:
    result = alatau("retention", "set", "river_level", "raw", "P90D")
    assert result.out == "raw of river_level is kept for 90 days"
    assert "river_level raw 90 days 0 " in alatau("retention").out
    assert (
        alatau("retention", "set", "river_level", "5m", "forever").out == "5m of river_level is kept for ever"
    )
    assert "river_level 5m ever 0 " in alatau("retention").out
    for tier in ("raw", "5m"):
        assert "as of every other kind" in alatau("retention", "set", "river_level", tier, "default").out
    assert "river_level raw 30 days * 0 " in alatau("retention").out


def test_every_kind_without_a_policy_of_its_own_is_given_one(alatau: Alatau) -> None:
    try:
        result = alatau("retention", "set", "*", "raw", "P45D")
        assert result.out == "raw of every kind without a policy of its own is kept for 45 days"
        assert "weather raw 45 days * 0 " in alatau("retention").out
    finally:
        assert alatau("retention", "set", "*", "raw", "P30D").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wether", "raw", "P3D"], 'kind "wether" is not known; did you mean "weather"?'),
        (["weather", "raw", "30 days"], "is not ISO 8601"),
        (["weather", "raw", "P1D"], "keep at least 2 days"),
        (["weather", "raw", "P200D"], "5m of weather would be kept for 180 days"),
        (["*", "raw", "default"], "say how long"),
    ],
    ids=str,
)
def test_a_policy_that_can_not_be_is_refused(alatau: Alatau, words: list[str], said: str) -> None:
    before = alatau("retention").out
    result = alatau("retention", "set", *words)
    assert result.code == 1
    assert said in result.errors
    assert alatau("retention").out == before
