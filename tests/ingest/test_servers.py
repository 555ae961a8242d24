"""What happens to the servers themselves: killed, stopped, restarted, stalled, full. Nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest

import ingest.session
from benchmarks.proxy import proxy
from ingest.options import SHARE
from ingest.service import Ingest
from stack.accounts import credentials, server_account
from stack.cluster import running_postmaster
from storage.database import INGEST_ROLE, connect
from tests.ingest.conftest import Rig
from tests.ingest.counting import (
    counted,
    expect_clean,
    finish,
    linked,
    published,
    victim,
)

_LIMIT = 17 * 1024**2
Fault = Callable[[Rig, Ingest], Awaitable[None]]


async def _acknowledged(rig: Rig, worker: Ingest, messages: int = 500) -> None:
    seen = worker.metrics.acknowledged._value.get()
    await rig.until(lambda: worker.metrics.acknowledged._value.get() >= seen + messages)


async def _backend(rig: Rig, worker: Ingest) -> int:
    """Return the process of the database that serves the worker's commits."""
    found = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()"
    return int(await rig.until_sql(found, worker.options.worker))


@contextlib.asynccontextmanager
async def _superuser(rig: Rig) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(rig.stack.postgres.superuser_url, application="test")
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _locked(rig: Rig) -> AsyncIterator[None]:
    """Keep everybody else from the table of readings."""
    connection = await connect(rig.database.owner_url, application="test-lock")
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE reading.air_quality IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def _backend_terminated(rig: Rig, worker: Ingest) -> None:
    async with _superuser(rig) as superuser:
        for _ in range(3):
            await superuser.execute("SELECT pg_terminate_backend($1)", await _backend(rig, worker))
            await _acknowledged(rig, worker)


async def _backend_killed(rig: Rig, worker: Ingest) -> None:
    """PostgreSQL then ends every session and recovers as from a crash."""
    os.kill(await _backend(rig, worker), signal.SIGKILL)
    await rig.until(rig.connection.is_closed)

    async def open_again() -> None:
        while True:
            with contextlib.suppress(asyncpg.PostgresError, OSError):
                rig.connection = await connect(rig.database.owner_url, application="test")
                return
            await asyncio.sleep(0.05)

    await asyncio.wait_for(open_again(), 20)
    await _acknowledged(rig, worker)


async def _backend_stopped(rig: Rig, worker: Ingest) -> None:
    backend = await _backend(rig, worker)
    os.kill(backend, signal.SIGSTOP)
    await rig.until(lambda: worker._pending.messages > 1000)
    os.kill(backend, signal.SIGCONT)
    await _acknowledged(rig, worker)


async def _broker_stopped(rig: Rig, worker: Ingest) -> None:
    os.kill(rig.stack.mosquitto.pid, signal.SIGSTOP)
    await asyncio.sleep(1)
    os.kill(rig.stack.mosquitto.pid, signal.SIGCONT)
    await _acknowledged(rig, worker)


async def _table_locked(rig: Rig, worker: Ingest) -> None:
    async with _locked(rig):
        await rig.until(lambda: worker._pending.messages > 1000)
    await _acknowledged(rig, worker)


async def _no_slot_left(rig: Rig, worker: Ingest) -> None:
    """The worker loses its connections, and there is no place for new ones of its role."""
    async with _superuser(rig) as superuser:
        await superuser.execute(f"ALTER ROLE {INGEST_ROLE} CONNECTION LIMIT 0")
        try:
            await superuser.execute("SELECT pg_terminate_backend($1)", await _backend(rig, worker))
            await rig.until(lambda: not worker.readiness()[0])
            with pytest.raises(asyncpg.TooManyConnectionsError):
                await connect(rig.database.ingest_url, application="test")
        finally:
            await superuser.execute(f"ALTER ROLE {INGEST_ROLE} CONNECTION LIMIT -1")
    await _acknowledged(rig, worker)


@contextlib.contextmanager
def _file_limit(process: int, size: int) -> Iterator[None]:
    """Let no file of a process, and of what it starts, grow beyond so many bytes; needs no root, as a quota."""
    _set_file_limit(process, str(size))
    try:
        yield
    finally:
        _set_file_limit(process, "unlimited")


def _set_file_limit(process: int, soft: str) -> None:
    # As the server's own user: root in a container may change the limits of its own processes only.
    account = credentials(server_account())
    command = ["prlimit", f"--pid={process}", f"--fsize={soft}:"]
    subprocess.run(command, check=True, cwd="/", **account)  # noqa: S603 - our own numbers


async def _disk_full(rig: Rig, worker: Ingest) -> None:
    """No table grows any more; a segment of the log, 16 MB, still may."""
    device = await rig.number_of(await rig.add_device())
    # One chunk that is at the limit: more of the hour that the readings are of.
    await rig.connection.execute(
        """
        INSERT INTO reading.air_quality (time, received_at, device_id, pm2_5)
        SELECT now() - interval '50 minutes' + n * interval '1 ms', now(), $1, 1
        FROM generate_series(1, 300000) AS n
        """,
        device,
    )
    postmaster = running_postmaster(rig.stack.postgres.data_dir)
    assert postmaster is not None
    with _file_limit(postmaster, _LIMIT):
        _set_file_limit(await _backend(rig, worker), str(_LIMIT))
        await rig.until(lambda: not worker.readiness()[0])
    await _acknowledged(rig, worker)


FAULTS: list[Fault] = [
    _backend_terminated,
    _backend_killed,
    _backend_stopped,
    _broker_stopped,
    _table_locked,
    _no_slot_left,
    _disk_full,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
async def test_server_that_fails_costs_and_doubles_no_reading(
    rig: Rig, tmp_path: pathlib.Path, fault: Fault
) -> None:
    load, ledger = counted(200_000, faulty_every=100), tmp_path / "ledger"
    async with rig.worker() as worker, published(rig, load, ledger) as gateway:
        await _acknowledged(rig, worker, 100)
        await fault(rig, worker)
        await finish(gateway)
        await expect_clean(rig, load, ledger)
        assert worker.metrics.sessions_lost._value.get() == 0


async def test_database_that_dies_while_a_worker_starts_is_waited_for(rig: Rig) -> None:
    lock = await connect(rig.database.owner_url, application="test-lock")
    worker, stop = Ingest(rig.options()), asyncio.Event()
    task = asyncio.create_task(worker.run(stop), name="test.ingest")
    try:
        async with lock.transaction(), _superuser(rig) as superuser:
            await lock.execute("LOCK TABLE alatau.ingest_arrivals IN ACCESS EXCLUSIVE MODE")
            waits = (
                "SELECT pid FROM pg_locks WHERE relation = 'alatau.ingest_arrivals'::regclass AND NOT granted"
            )
            await superuser.execute("SELECT pg_terminate_backend($1)", await rig.until_sql(waits))
            await rig.until_sql(waits)
        await rig.until(lambda: worker.readiness()[0])
    finally:
        await lock.close()
        stop.set()
        await task


async def test_broker_that_restarts_keeps_all_and_takes_all(rig: Rig, tmp_path: pathlib.Path) -> None:
    """Also what comes before ingest is back: its subscription is in the saved session. The gateway sends again what
    had no acknowledgement, so that every reading has to state its time to be the same one."""
    load, ledger = counted(200_000, stamped=True), tmp_path / "ledger"
    async with rig.worker() as worker, published(rig, load, ledger) as gateway:
        for _ in range(3):
            await _acknowledged(rig, worker)
            await rig.stack.mosquitto.restart()
            await _acknowledged(rig, worker)
        counts = await finish(gateway)
        assert counts["connections"] == 4
        await expect_clean(rig, load, ledger)
        assert worker.metrics.sessions_lost._value.get() == 0


async def test_worker_that_was_one_of_a_share_receives_each_message_once(rig: Rig) -> None:
    """Two subscriptions in one session would bring two copies of each."""
    device, options = await rig.add_device(), rig.options()
    for share in (SHARE, None, SHARE, None):
        async with rig.worker(dataclasses.replace(options, share=share)) as worker:
            await asyncio.to_thread(device.publish, {"pm2_5": 1})
            await rig.until(lambda: worker.metrics.acknowledged._value.get() > 0)
            await asyncio.to_thread(device.publish, {"pm2_5": 2})
            await rig.until(lambda: worker.metrics.acknowledged._value.get() > 1)
            assert worker.metrics.received._value.get() == 2
    assert len(await rig.rows(device)) == 8


async def test_worker_that_is_stopped_for_a_while_goes_on(rig: Rig, tmp_path: pathlib.Path) -> None:
    load, ledger = counted(200_000, faulty_every=100), tmp_path / "ledger"
    with victim(rig, tmp_path) as worker:
        worker.start()
        await worker.until_ready()
        async with published(rig, load, ledger) as gateway:
            for _ in range(3):
                worker.signal(signal.SIGSTOP)
                await asyncio.sleep(0.5)
                worker.signal(signal.SIGCONT)
                await asyncio.sleep(0.2)
            await finish(gateway)
        await expect_clean(rig, load, ledger)
        assert await worker.terminate() == 0


async def test_broker_that_forgot_the_session_raises_the_alarm(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.stack.mosquitto.stop()
        (rig.stack._broker_options.data_dir / "mosquitto.db").unlink()
        await rig.stack.mosquitto.start()
        await rig.until(lambda: worker.metrics.sessions_lost._value.get() == 1)


async def test_late_acknowledgement_acknowledges_no_stranger(
    rig: Rig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is cut while a commit is under way: on the next one, packet ids mean other messages."""
    monkeypatch.setattr(ingest.session, "_KEEP_ALIVE_SECONDS", 2)
    load, ledger = counted(200_000), tmp_path / "ledger"
    async with (
        proxy(rig.stack.ports.mqtt) as link,
        rig.worker(linked(rig, mqtt_port=link.port)) as worker,
        published(rig, load, ledger) as gateway,
    ):
        for _ in range(3):
            async with _locked(rig):
                await rig.until(lambda: worker._pending.messages > 200)
                session = worker._session
                link.cut()
                await rig.until(lambda: worker._session is not None and not worker._session.is_open)
            await rig.until(lambda before=session: worker._session is not before)  # type: ignore[misc]
        await finish(gateway)
        await expect_clean(rig, load, ledger)
        # What was delivered again is acknowledged too: with nothing in flight, the broker has nothing left.
        await rig.until(lambda: worker.metrics.in_flight._value.get() == 0)
