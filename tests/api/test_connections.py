"""Clients that are slow, large or many, on real sockets, against the server as it is run."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from api.app import ApiOptions, create_app
from api.serving import ConnectionLimits
from tests.api.answers import NOW
from tests.api.conftest import listen
from tests.api.test_departures import until
from tests.cities import City

pytestmark = pytest.mark.servers

IMPATIENT = ConnectionLimits(
    connections=4, per_address=3, head_seconds=0.2, head_bytes=4096, stalled_seconds=0.5
)
HEAD = b"GET /healthz HTTP/1.1\r\nHost: api\r\n"


class Api:
    """A running API, and what it counts."""

    def __init__(self, url: str, registry: CollectorRegistry) -> None:
        self.url = url
        self._registry = registry

    def connect(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        return _connection(self.url)

    async def connections(self) -> int:
        return int(self._registry.get_sample_value("alatau_api_connections") or 0)

    def refused(self, reason: str) -> Callable[[], Awaitable[int]]:
        async def count() -> int:
            value = self._registry.get_sample_value(
                "alatau_api_connections_refused_total", {"reason": reason}
            )
            return int(value or 0)

        return count


class Connection:
    """A client that writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def rest(self) -> bytes:
        """Return all that comes until the server ends the connection."""
        async with asyncio.timeout(10):
            return await self._reader.read()

    async def answer(self) -> bytes:
        """Return the head of an answer."""
        async with asyncio.timeout(10):
            return await self._reader.readuntil(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[Connection]:
    place = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def api(options: ApiOptions, key: str) -> AsyncIterator[Api]:
    registry = CollectorRegistry()
    app = create_app(options, registry=registry, clock=lambda: NOW)
    async with listen(app, IMPATIENT) as url:
        yield Api(url, registry)


async def test_a_connection_that_asks_nothing_is_ended_without_a_word(api: Api) -> None:
    async with api.connect() as client:
        assert await client.rest() == b""
    assert await api.refused("head_too_slow")() == 1


async def test_a_head_that_trickles_in_is_told_and_ended(api: Api) -> None:
    async with api.connect() as client:
        client.send(HEAD)
        trickle = asyncio.create_task(_trickle(client))
        answer = await client.rest()
        trickle.cancel()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:alatau:problem:too-slow" in answer
    await until(0, api.connections)


async def _trickle(client: Connection) -> None:
    for number in range(1000):
        client.send(f"X-{number}: y\r\n".encode())
        await asyncio.sleep(0.02)


async def test_what_still_comes_after_an_answer_is_not_waited_for(api: Api) -> None:
    async with api.connect() as client:
        client.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        trickle = asyncio.create_task(_trickle(client))
        await client.rest()
        trickle.cancel()
    await until(0, api.connections)


async def test_a_head_without_end_is_refused(api: Api) -> None:
    async with api.connect() as client:
        client.send(HEAD + b"X-Long: " + b"y" * 100_000)
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"4096 bytes" in answer
    assert await api.refused("head_too_large")() == 1


async def test_nothing_that_follows_a_body_is_taken_for_a_header(api: Api, key: str) -> None:
    in_parts = b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n"
    async with api.connect() as client:
        shown = f"X-API-Key: {key}\r\n".encode()
        client.send(b"GET /api/v1/kinds HTTP/1.1\r\nHost: api\r\n" + in_parts + shown + b"\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 401 ")
    async with api.connect() as client:
        client.send(b"GET /api/v1/kinds HTTP/1.1\r\nHost: api\r\n" + shown + in_parts + b"\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")


async def test_of_requests_that_are_sent_at_once_each_has_its_own_head(api: Api, key: str) -> None:
    shown = f"X-API-Key: {key}\r\n".encode()
    one = b"GET /api/v1/kinds HTTP/1.1\r\nHost: api\r\n"
    async with api.connect() as client:
        client.send((one + shown + b"\r\n") * 2 + one + b"Connection: close\r\n\r\n")
        statuses = [part[:3] for part in (await client.rest()).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"401"]


async def test_a_head_without_end_is_refused_while_another_request_is_answered(
    api: Api, city: City, key: str
) -> None:
    # The first waits for its table.
    async with city.owner.transaction():
        await city.owner.execute("LOCK TABLE alatau.latest IN ACCESS EXCLUSIVE MODE")
        async with api.connect() as client:
            client.send(
                f"GET /api/v1/latest HTTP/1.1\r\nHost: api\r\nX-API-Key: {key}\r\n\r\n".encode()
                + HEAD
                + b"X-Long: "
                + b"y" * 2_000_000
            )
            with contextlib.suppress(ConnectionResetError):
                assert await client.rest() == b""
        assert await api.refused("head_too_large")() == 1


async def test_one_address_has_so_many_connections_and_no_more(api: Api) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(api.connect()) for _ in range(4)]
        for client in clients[:3]:
            client.send(HEAD + b"\r\n")
            assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        clients[3].send(HEAD + b"\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await clients[3].rest() == b""
        await until(1, api.refused("too_many"))
    # Their places are free again.
    await until(0, api.connections)
    async with httpx2.AsyncClient() as another:
        assert (await another.get(f"{api.url}/healthz")).status_code == 200


async def test_a_body_that_trickles_in_is_told_and_ended(options: ApiOptions, key: str) -> None:
    app = create_app(dataclasses.replace(options, body_seconds=0.2), clock=lambda: NOW)
    async with listen(app) as url, _connection(url) as client:
        client.send(
            b"POST /api/v1/exports HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\nX-API-Key: " + key.encode() + b"\r\n\r\n{"
        )
        answer = await client.answer()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_who_takes_nothing_of_the_answer_holds_no_connection(api: Api) -> None:
    """The system ends it: where its own buffers are full, the server hears nothing more of a client."""
    place = urllib.parse.urlsplit(api.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.to_thread(client.connect, (place.hostname, place.port))
        client.sendall(b"GET /docs-assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: api\r\n\r\n")
        await until(1, api.connections)
        await until(0, api.connections)
