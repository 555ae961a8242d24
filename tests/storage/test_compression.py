"""Compression: which editions have it, and that its statements are of the form that TimescaleDB knows.

The tests' own servers are of the Apache-2 edition, which knows the statements and refuses them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from storage.compression import can_compress, compress_oldest
from storage.database import Edition, connect, read_edition
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

WEEK = dt.timedelta(days=7)
# functionality or function "…" is not supported under the current "apache" license
REFUSED = r'not supported under the current "apache" license'


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    """A city with a reading of ten days ago, and one of now."""
    now = dt.datetime.now(dt.UTC)
    async with open_city(database, catalogue, [DeviceSpec("meter-1", "noise", "gate")]) as city:
        times = (now - dt.timedelta(days=10), now)
        await city.write("noise", [("meter-1", time, {"laeq": 50.0}) for time in times])
        yield city


@pytest.fixture
async def maintenance(city: City) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(city.database.maintenance_url, application="test")
    yield connection
    await connection.close()


@pytest.mark.parametrize(("licence", "expected"), [("apache", False), ("timescale", True)])
def test_the_community_edition_compresses_and_the_other_does_not(licence: str, expected: object) -> None:
    assert can_compress(Edition("17.6", "2.19.3", licence, None)) is expected


async def test_our_own_servers_do_not(city: City) -> None:
    assert not can_compress(await read_edition(city.owner))


async def test_what_is_written_to_still_is_left_alone(maintenance: asyncpg.Connection) -> None:
    assert await compress_oldest(maintenance, "noise", 2 * WEEK) is None
    assert await compress_oldest(maintenance, "weather", WEEK) is None
    assert await compress_oldest(maintenance, "no_such", WEEK) is None


async def test_the_columnstore_is_switched_on_by_a_statement_that_there_is(
    maintenance: asyncpg.Connection,
) -> None:
    with pytest.raises(asyncpg.FeatureNotSupportedError, match=REFUSED) as refused:
        await compress_oldest(maintenance, "noise", WEEK)
    assert "enable_columnstore = true" in str(refused.value.context)


async def test_a_chunk_is_converted_by_a_procedure_that_there_is(city: City) -> None:
    chunk = await city.owner.fetchval("SELECT public.show_chunks('reading.noise')::text LIMIT 1")
    with pytest.raises(asyncpg.FeatureNotSupportedError, match=REFUSED):
        await city.owner.execute(f"CALL public.convert_to_columnstore('{chunk}'::regclass)")


async def test_others_may_not_compress(city: City) -> None:
    for connection in (city.api, city.ingest):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await compress_oldest(connection, "noise", WEEK)
