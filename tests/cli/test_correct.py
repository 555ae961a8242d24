"""``correct``: readings deleted or amended by an operator, on record."""

from __future__ import annotations

import datetime as dt
import getpass
import itertools

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.corrections import list_corrections
from tests.cities import open_city
from tests.cli.command import Alatau
from tests.conftest import Database

pytestmark = pytest.mark.servers

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
RANGE = ("--start", "2026-03-01T00:00:00Z", "--end", "2026-03-01T00:03:00Z", "--why", "the lamp was cleaned")
_numbers = itertools.count(1)


@pytest.fixture
async def meter(database: Database, catalogue: Catalogue) -> str:
    """A device of its own with five readings, a minute apart, laeq 50 to 54."""
    name = f"meter-{next(_numbers)}"
    async with open_city(database, catalogue, [DeviceSpec(name, "noise", "gate")]) as city:
        rows = [(name, START + dt.timedelta(minutes=n), {"laeq": 50.0 + n, "lamax": 70.0}) for n in range(5)]
        await city.write("noise", rows)
    return name


async def values(connection: asyncpg.Connection, device: str) -> list[float | None]:
    rows = await connection.fetch(
        "SELECT laeq FROM reading.noise JOIN alatau.device USING (device_id) WHERE id = $1 ORDER BY time",
        device,
    )
    return [row["laeq"] for row in rows]


async def test_readings_are_deleted_after_a_trial(
    alatau: Alatau, connection: asyncpg.Connection, meter: str
) -> None:
    tried = alatau("correct", "delete", meter, *RANGE, "--dry-run")
    assert (tried.code, tried.out) == (0, "Would be: 0 readings changed, 3 deleted")
    assert len(await values(connection, meter)) == 5
    made = alatau("correct", "delete", meter, *RANGE)
    (found,) = await list_corrections(connection, device=meter)
    assert made.out == f"Correction {found.number}: 0 readings changed, 3 deleted"
    assert (found.who, found.why) == (getpass.getuser(), "the lamp was cleaned")
    assert await values(connection, meter) == [53, 54]
    assert alatau("correct", "delete", meter, *RANGE).out == "Nothing to change."


async def test_values_of_one_metric_are_deleted(
    alatau: Alatau, connection: asyncpg.Connection, meter: str
) -> None:
    made = alatau("correct", "delete", meter, *RANGE, "--metric", "laeq")
    assert "3 readings changed, 0 deleted" in made.out
    assert await values(connection, meter) == [None, None, None, 53, 54]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "40"], [40, 40, 40, 53, 54]),
        (["--offset", "-1.5"], [48.5, 49.5, 50.5, 53, 54]),
        (["--scale", "2", "--offset", "1"], [101, 103, 105, 53, 54]),
        (["--scale", "10", "--force"], [500, 510, 520, 53, 54]),
    ],
    ids=str,
)
async def test_values_are_amended(
    alatau: Alatau, connection: asyncpg.Connection, meter: str, words: list[str], expected: list[float]
) -> None:
    made = alatau("correct", "amend", meter, *RANGE, "--metric", "laeq", *words)
    assert "3 readings changed" in made.out
    assert await values(connection, meter) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "leaq", "--set", "1"], 'noise has no metric "leaq"; did you mean "laeq"?'),
        (["--metric", "laeq"], "give either --set, or --scale"),
        (["--metric", "laeq", "--set", "1", "--scale", "2"], "give either --set, or --scale"),
        (["--metric", "laeq", "--set", "inf"], "take finite numbers"),
        (["--metric", "laeq", "--set", "999"], "outside of the plausible 0 to 160"),
        (["--metric", "laeq", "--set", "1", "--why", " "], "--why: say the reason"),
        (["--metric", "laeq", "--set", "1", "--end", "2026-02-01T00:00:00Z"], "is not before end"),
    ],
    ids=str,
)
async def test_what_can_not_be_is_refused(
    alatau: Alatau, connection: asyncpg.Connection, meter: str, words: list[str], said: str
) -> None:
    result = alatau("correct", "amend", meter, *RANGE, *words)
    assert result.code == 1
    assert said in result.errors
    assert await values(connection, meter) == [50, 51, 52, 53, 54]


def test_a_device_that_there_is_none_of_is_said(alatau: Alatau) -> None:
    result = alatau("correct", "delete", "meter-99", *RANGE)
    assert result.code == 1
    assert "no device meter-99 is registered" in result.errors
