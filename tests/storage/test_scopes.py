"""What the database itself lets a scope see, and what becomes of a connection that does not come back from one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.statuses import Said
from storage.api_keys import WHOLE, Scope
from storage.device_status import Heard, record_statuses
from storage.kinds import Connection
from storage.scopes import seen_through
from tests.cities import City, open_city
from tests.conftest import Database

pytestmark = pytest.mark.servers

DEVICES = (
    DeviceSpec("air-1", "air_quality", "gate"),
    DeviceSpec("air-2", "air_quality", "golden"),
    DeviceSpec("noise-1", "noise", "gate"),
)
_ALL = "SELECT id FROM alatau.device ORDER BY id"


@pytest.fixture(scope="module")
async def city(database: Database, catalogue: Catalogue) -> AsyncIterator[City]:
    async with open_city(database, catalogue, DEVICES) as city:
        yield city


async def seen(connection: Connection) -> list[str]:
    return [row["id"] for row in await connection.fetch(_ALL)]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(districts=("gate",)), ["air-1", "noise-1"]),
        (Scope(kinds=("air_quality",)), ["air-1", "air-2"]),
        (Scope(("gate",), ("air_quality",)), ["air-1"]),
        (Scope(("green", "golden"), ("air_quality", "noise")), ["air-2"]),
        (Scope(("ga'te\\",)), []),
        (WHOLE, ["air-1", "air-2", "noise-1"]),
    ],
)
async def test_a_scope_is_districts_and_kinds_and_ends_with_the_block(
    city: City, scope: Scope, expected: list[str]
) -> None:
    async with seen_through(city.api, scope, "caller"):
        assert await seen(city.api) == expected
        # The same statement, prepared by the other role.
        assert await seen(city.api) == expected
    assert await seen(city.api) == ["air-1", "air-2", "noise-1"]


async def test_a_scope_sees_the_statuses_of_its_own_devices(city: City) -> None:
    await record_statuses(city.ingest, [Heard(device.id, Said.ONLINE, 1) for device in DEVICES])
    ids = "SELECT array_agg(id ORDER BY id) FROM alatau.device_status JOIN alatau.device USING (device_id)"
    numbers = "SELECT count(*) FROM alatau.device_status"
    async with seen_through(city.api, Scope(districts=("gate",)), "caller"):
        assert await city.api.fetchval(ids) == ["air-1", "noise-1"]
        assert await city.api.fetchval(numbers) == 2
    assert await city.api.fetchval(numbers) == 3


async def test_who_names_no_scope_sees_nothing(city: City) -> None:
    await city.api.execute("SET ROLE alatau_scoped")
    try:
        assert await seen(city.api) == []
    finally:
        await city.api.execute("RESET ROLE")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM alatau.api_key",
        "SELECT * FROM alatau.user_account",
        "SELECT * FROM alatau.user_session",
        "SELECT * FROM alatau.audit",
        "SELECT * FROM alatau.device_credential",
        "SELECT alatau.end_rotations(1)",
        "DELETE FROM alatau.audit",
        "INSERT INTO reading.noise (time, received_at, device_id) VALUES (now(), now(), 1)",
        "UPDATE alatau.device SET district = 'gate'",
        "DROP POLICY in_scope ON alatau.device",
        "ALTER TABLE alatau.device DISABLE ROW LEVEL SECURITY",
        "SET ROLE alatau_owner",
    ],
)
async def test_a_scope_reads_and_no_more(city: City, statement: str) -> None:
    async with seen_through(city.api, WHOLE, "caller"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await city.api.execute(statement)


async def test_a_failed_transaction_leaves_no_scope_behind(database: Database, city: City) -> None:
    pool = await asyncpg.create_pool(database.api_url, min_size=1, max_size=1)
    async with pool:
        async with pool.acquire() as connection:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await fail_within(connection, begin="SELECT 1")
        async with pool.acquire() as connection:
            assert await seen(connection) == ["air-1", "air-2", "noise-1"]


async def test_a_connection_that_can_not_be_reset_is_closed(database: Database, city: City) -> None:
    connection = await asyncpg.connect(database.api_url)
    with pytest.raises(asyncpg.PostgresError):
        # A transaction that is left open and failed takes no reset.
        await fail_within(connection, begin="BEGIN")
    assert connection.is_closed()


async def fail_within(connection: Connection, begin: str) -> None:
    """Let a statement fail while the connection sees through a scope."""
    async with seen_through(connection, Scope(("gate",)), "caller"):
        await connection.execute(begin)
        await connection.execute("SELECT 1 / 0")
