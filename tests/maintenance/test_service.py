"""The process: its loops go on, whatever the database does, and its status says how they fare."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest

from cli.maintenance import status_of
from cli.status import status_app
from maintenance.loops import Job, Periodic
from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from maintenance.service import Maintenance
from stack.ports import free_port
from storage.errors import PermanentError, RetryableError
from tests.conftest import Database

pytestmark = pytest.mark.servers


@contextlib.asynccontextmanager
async def running(service: Maintenance) -> AsyncIterator[httpx2.AsyncClient]:
    """Run a service, and lend a client of its status."""
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop), name="test.maintenance")
    transport = httpx2.ASGITransport(app=status_app(status_of(service)))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://maintenance") as client:
            yield client
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def until(service: Maintenance, *, ready: bool) -> None:
    async with asyncio.timeout(15):
        while service.readiness().is_ready is not ready:  # noqa: ASYNC110 - readiness is a question, not an event
            await asyncio.sleep(0.01)


def options_of(url: str) -> MaintenanceOptions:
    return MaintenanceOptions(url, retry_seconds=0.02, watch_seconds=0.02)


def periodic(url: str, metrics: MaintenanceMetrics, job: Job, *, within: float = 10) -> Periodic:
    return Periodic("test", job, options_of(url), metrics, every=0.01, within=within)


def service_with(url: str, job: Job, *, within: float = 10) -> Maintenance:
    metrics = MaintenanceMetrics()
    return Maintenance(options_of(url), metrics, [periodic(url, metrics, job, within=within)])


def counted(service: Maintenance, name: str) -> float:
    return (
        service.metrics.registry.get_sample_value(f"alatau_maintenance_{name}_total", {"loop": "test"}) or 0
    )


async def test_it_is_ready_once_the_database_answers(database: Database) -> None:
    service = Maintenance(options_of(database.maintenance_url))
    assert not service.readiness().is_ready
    async with running(service) as client:
        await until(service, ready=True)
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert "alatau_maintenance_database_available 1.0" in (await client.get("/metrics")).text


async def test_a_database_that_is_away_is_said_and_waited_for() -> None:
    service = Maintenance(options_of(f"postgresql://u:secret@127.0.0.1:{free_port()}/x"))
    async with running(service) as client:
        async with asyncio.timeout(10):
            while "away" not in service.readiness().sentence:  # noqa: ASYNC110 - a question, not an event
                await asyncio.sleep(0.01)
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "the database is away" in answer.json()["state"]
    assert "secret" not in answer.text


async def test_a_loop_whose_connection_is_killed_goes_on_with_another(database: Database) -> None:
    pids: list[int] = []

    async def job(connection: asyncpg.Connection) -> None:
        pids.append(await connection.fetchval("SELECT pg_backend_pid()"))
        if len(pids) == 1:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    service = service_with(database.maintenance_url, job)
    async with running(service), asyncio.timeout(10):
        while counted(service, "rounds") < 2:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.01)
    assert counted(service, "failures") == 1
    assert len(set(pids)) == len(pids)


async def test_a_loop_that_fails_is_named_until_it_succeeds(database: Database) -> None:
    mended = asyncio.Event()

    async def job(_: asyncpg.Connection) -> None:
        if not mended.is_set():
            raise PermanentError("no such thing")

    service = service_with(database.maintenance_url, job)
    async with running(service):
        async with asyncio.timeout(10):
            while service.readiness().sentence != "test: no such thing":  # noqa: ASYNC110 - a question
                await asyncio.sleep(0.01)
        mended.set()
        await until(service, ready=True)


async def test_a_job_that_takes_too_long_is_ended_and_begun_again(database: Database) -> None:
    begun = 0

    async def job(connection: asyncpg.Connection) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            await connection.execute("SELECT pg_sleep(600)")

    service = service_with(database.maintenance_url, job, within=0.2)
    async with running(service), asyncio.timeout(10):
        while counted(service, "rounds") < 1:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.01)
    assert counted(service, "failures") >= 1


async def test_what_is_no_error_of_the_database_ends_the_process(database: Database) -> None:
    async def job(_: asyncpg.Connection) -> None:
        raise ZeroDivisionError

    service = service_with(database.maintenance_url, job)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(10):
            await service.run(asyncio.Event())
    assert caught.group_contains(ZeroDivisionError)


async def test_errors_that_pass_and_errors_that_stay_are_both_tried_again(database: Database) -> None:
    errors: list[Exception] = [RetryableError("once"), PermanentError("twice"), OSError("thrice")]

    async def job(_: asyncpg.Connection) -> None:
        if errors:
            raise errors.pop()

    service = service_with(database.maintenance_url, job)
    async with running(service), asyncio.timeout(10):
        while counted(service, "rounds") < 1:  # noqa: ASYNC110 - a counter tells nobody
            await asyncio.sleep(0.01)
    assert counted(service, "failures") == 3
