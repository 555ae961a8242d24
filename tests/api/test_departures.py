"""Clients that go away, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import httpx2
import orjson
import pytest
from prometheus_client import CollectorRegistry

from api.app import ApiOptions, create_app
from tests.api.answers import NOW
from tests.api.conftest import listen
from tests.api.test_devices import Accounts, body
from tests.cities import City


async def until(expected: int, count: Callable[[], Awaitable[int]]) -> None:
    """Wait until there are so many; the database and the server tell nobody."""
    async with asyncio.timeout(10):
        while await count() != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def waiting(superuser: asyncpg.Connection, city: City) -> int:
    """Return how many queries of the API wait for a lock."""
    found = await superuser.fetchval(
        """
        SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'alatau-api' AND wait_event_type = 'Lock' AND state = 'active' AND datname = $1
        """,
        city.database.api_url.rpartition("/")[2],
    )
    return int(found)


@contextlib.asynccontextmanager
async def asking(url: str, method: str, path: str, key: str, content: bytes = b"") -> AsyncIterator[None]:
    """Send a request; at the end of the block the client is gone, whether there was an answer or not."""
    place = urllib.parse.urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    head = (
        f"{method} /api/v1/{path} HTTP/1.1\r\nHost: api\r\nX-API-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    yield
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("devices", "alatau.device"),
        ("devices/air-1", "alatau.device"),
        # Read by COPY, which is another way through the driver.
        ("series?metric=pm2_5&kind=air_quality", "reading.air_quality"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_query_of_a_client_that_went_away_is_cancelled(
    options: ApiOptions,
    key: str,
    city: City,
    superuser: asyncpg.Connection,
    method: str,
    path: str,
    table: str,
) -> None:
    registry = CollectorRegistry()
    app = create_app(options, registry=registry, clock=lambda: NOW)
    async with listen(app) as url:
        async with city.owner.transaction():
            await city.owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            async with asking(url, method, path, key):
                await until(1, lambda: waiting(superuser, city))
            await until(0, lambda: waiting(superuser, city))
        await until(0, lambda: _connections(registry))
        async with httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key}) as client:
            assert (await client.get(f"/api/v1/{path}")).status_code == 200
            metrics = (await client.get("/metrics")).text
    assert f'method="{method}"' in metrics
    assert 'status="499"' in metrics


async def test_what_changes_something_is_done_to_its_end(
    options: ApiOptions, key: str, city: City, superuser: asyncpg.Connection
) -> None:
    accounts = Accounts()
    async with listen(create_app(options, accounts=accounts, clock=lambda: NOW)) as url:
        async with city.owner.transaction():
            await city.owner.execute("LOCK TABLE alatau.device IN ACCESS EXCLUSIVE MODE")
            async with asking(url, "POST", "devices", key, orjson.dumps(body("left-behind-1"))):
                await until(1, lambda: waiting(superuser, city))
        await until(1, lambda: _registered(city, "left-behind-1"))
    assert set(accounts.added) == {"left-behind-1"}


async def _connections(registry: CollectorRegistry) -> int:
    return int(registry.get_sample_value("alatau_api_database_connections_used") or 0)


async def _registered(city: City, device: str) -> int:
    return int(await city.owner.fetchval("SELECT count(*) FROM alatau.device WHERE id = $1", device))
