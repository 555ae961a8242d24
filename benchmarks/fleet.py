"""What a large fleet costs: registering it, and the broker that has its accounts."""

from __future__ import annotations

import asyncio
import csv
import pathlib
import tempfile
import time
from collections.abc import Sequence

import asyncpg

from benchmarks.pings import pings
from benchmarks.report import Measure
from benchmarks.rig import resident_of
from broker.drift import Deviation, compare
from broker.secrets import generate_secret
from cli.account_restarts import AccountRestarts, tell_by_restart
from cli.device_files import Verdict, add_from_file
from cli.local import LocalStack
from sensors.catalogue import build_catalogue, builtin_file
from stack.progress import Report, silent
from storage.broker_restarts import is_broker_kept
from storage.database import connect
from storage.devices import hold_accounts

_ONE_BY_ONE = 5


async def fleet(stack: LocalStack, small: int, some: int, many: int, report: Report) -> list[Measure]:
    """Register ``small`` at a running broker, beside none and beside ``some``; then fill the table up to ``many``."""
    broker = "at a running broker"
    report(f"{small:,} {broker}", 0.0)
    await _start_again(stack)
    measures = await _tell(stack, small, f"fleet: {small:,} {broker}")
    report(f"{some:,} in the table", 0.1)
    await _fill(stack, "some", some)
    restart = await _by_restart(stack, some)
    report(f"{small:,} {broker} beside {some:,}", 0.2)
    measures += await _tell(stack, small, f"fleet: {small:,} beside {some:,}")
    report(f"{many:,} in the table", 0.5)
    seconds = await _fill(stack, "many", many - some)
    bulk = Measure(
        "fleet: into the table", (many - some) / seconds, "devices/s", "alatau device add --from", 500
    )
    report(f"a broker with {many:,}", 0.8)
    started = time.perf_counter()
    await _start_again(stack)
    title = f"fleet: broker with {many:,}"
    start = Measure(f"{title}: stopped and started", time.perf_counter() - started, "s", "new files included")
    memory = Measure(f"{title}: resident memory", resident_of(stack.mosquitto.pid) / 1e6, "MB")
    report("one at a time", 0.9)
    return [
        bulk,
        *measures,
        restart,
        start,
        memory,
        *await _one_by_one(stack, title),
        await _compared(stack, title),
    ]


async def _start_again(stack: LocalStack) -> None:
    await stack.mosquitto.stop()
    await stack.start_broker()


async def _by_restart(stack: LocalStack, count: int) -> Measure:
    """Have the running broker learn the accounts of the table as ``up`` does: from the request until it knows all."""

    async def open_connection() -> asyncpg.Connection:
        return await connect(stack.owner_url, application="bench")

    restarts = AccountRestarts(
        open_connection,
        stack.admin,
        lambda: _start_again(stack),
        lambda _said: None,
        is_worth=lambda new, _accounts: new > 0,
    )
    connection = await open_connection()
    keeper = asyncio.create_task(restarts.run(), name="bench.restarts")
    try:
        async with stack.admin as admin:
            await admin.count_accounts()  # connected
            while not await is_broker_kept(connection):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)
            started = time.perf_counter()
            if not await tell_by_restart(connection, admin):
                raise RuntimeError("the broker was not started again with the accounts of the table")
            seconds = time.perf_counter() - started
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await connection.close()
    return Measure(f"fleet: {count:,} at a running broker, by a restart", seconds, "s", "until it knows all")


async def _tell(stack: LocalStack, count: int, title: str) -> list[Measure]:
    """Register devices at the broker as it runs, and ping it meanwhile. The table knows nothing of these."""
    new = [(f"bench-told-{number}", generate_secret()) for number in range(count)]
    async with stack.admin as admin:
        await admin.count_accounts()  # connected
        with pings(stack) as asked:
            started = time.perf_counter()
            await admin.add_devices(new)
            seconds = time.perf_counter() - started
    return [
        Measure(f"{title}: rate", count / seconds, "devices/s"),
        Measure(f"{title}: longest ping", asked.longest, "s", "every 5 ms"),
        Measure(f"{title}: ping, 99th percentile", asked.late, "s", "every 5 ms"),
    ]


async def _fill(stack: LocalStack, name: str, count: int) -> float:
    """Register devices in the table as the command does, by a file; return the seconds."""
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / "devices.csv"
        with file.open("w", newline="", encoding="utf-8") as target:
            writer = csv.writer(target)
            writer.writerow(("id", "kind", "district"))
            writer.writerows((f"bench-{name}-{number:06d}", "air_quality", "gate") for number in range(count))
        connection = await connect(stack.owner_url, application="bench")
        try:
            catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
            started = time.perf_counter()
            done = await add_from_file(
                connection, None, catalogue, file, file.with_suffix(".secrets.csv"), silent
            )
            seconds = time.perf_counter() - started
        finally:
            await connection.close()
    if done.counts[Verdict.REGISTERED] != count:
        raise RuntimeError(f"not all of {count:,} devices were registered: {done.counts}")
    return seconds


async def _one_by_one(stack: LocalStack, title: str) -> Sequence[Measure]:
    async with stack.admin as admin:
        accounts = await admin.count_accounts()
        with pings(stack) as asked:
            started = time.perf_counter()
            for number in range(_ONE_BY_ONE):
                await admin.add_device(f"bench-single-{number}", generate_secret())
            seconds = (time.perf_counter() - started) / _ONE_BY_ONE
            for number in range(_ONE_BY_ONE):  # the table has none of them
                await admin.delete_device(f"bench-single-{number}")
    return [
        Measure(f"{title}: one more device", seconds, "s", f"mean of {_ONE_BY_ONE}"),
        Measure(f"{title}: longest ping meanwhile", asked.longest, "s", "every 5 ms"),
        Measure(f"{title}: one command, for each account", seconds / accounts * 1e6, "µs"),
    ]


async def _compared(stack: LocalStack, title: str) -> Measure:
    """Compare the accounts with the table as the API does at its start."""
    connection = await connect(stack.owner_url, application="bench")
    try:
        async with stack.admin as admin, connection.transaction():
            await admin.count_accounts()  # connected
            started = time.perf_counter()
            drift = compare(await hold_accounts(connection), await admin.list_devices())
            seconds = time.perf_counter() - started
    finally:
        await connection.close()
    if wrong := {deviation.value: len(drift[deviation]) for deviation in Deviation if drift[deviation]}:
        raise RuntimeError(f"the broker's accounts are not those of the table: {wrong}")
    return Measure(f"{title}: compared with the table", seconds, "s", "as the API does at its start")
