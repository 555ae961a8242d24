"""How close the full path comes to its slowest stage: ``./alatau bench ingest``.

Stages, each alone: a QoS 1 subscriber that does nothing, on the same codec and broker; binary COPY of prepared
rows, one connection; psql's own COPY of the same bytes. Then the full path: published as fast as it is
acknowledged, every check on, acknowledged after commit.
"""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
import tempfile
import time

import mqtt5
import numpy as np
import uvloop

from benchmarks.load import Load
from benchmarks.report import Measure, Result, options
from benchmarks.rig import Publishing, cpu_of, cpu_of_database, fresh_database, servers, worker
from broker.accounts import Service
from cli.console import Steps, errors
from cli.local import LocalStack
from ingest.session import Session, SessionOptions
from sensors.catalogue import Catalogue
from sensors.readings import ReadingBatch
from sensors.topics import Channel, Topics
from storage.copy import copy_stream, encode_readings, reading_columns
from storage.database import INGEST_ROLE, connect
from storage.kinds import SCHEMA, table

_COPY_ROWS = 10_000  # rows in one COPY, about what one transaction of the full path holds


async def null_subscriber(stack: LocalStack, load: Load) -> float:
    """Return messages/s received and acknowledged by a subscriber that does nothing with them."""
    seen, done = 0, asyncio.Event()

    def sink(session: Session, packets: list[mqtt5.PublishPacket], _size: int) -> bool:
        nonlocal seen
        seen += len(packets)
        session.acknowledge([packet.packet_id for packet in packets if packet.packet_id])
        if seen >= load.count:
            done.set()
        return True

    account = Service.INGEST
    session_options = SessionOptions(
        "127.0.0.1",
        stack.ports.mqtt,
        account,
        stack.secrets.services[account],
        "bench-null",
        session_expiry_seconds=0,
    )
    session = await Session.open(session_options, [Topics().every(Channel.TELEMETRY)], sink)
    try:
        publishing = await Publishing.prepare(stack, load)
        publishing.go()
        started = time.monotonic()
        await done.wait()
        seconds = time.monotonic() - started
        await publishing.result()
    finally:
        await session.close()
    return load.count / seconds


def prepared_rows(load: Load, catalogue: Catalogue) -> list[ReadingBatch]:
    """Return the rows of a load as the full path would write them, ``_COPY_ROWS`` at a time."""
    kind = catalogue.kind_of[load.kind]
    random = np.random.default_rng(load.seed)
    batches = []
    for first in range(0, load.count, _COPY_ROWS):
        number = np.arange(first, min(first + _COPY_ROWS, load.count))
        time_us = (load.start + number // load.devices * load.step) * 1000
        values = np.full((len(number), len(kind.columns)), np.nan)
        values[:, : load.metrics] = random.uniform(1, 100, (len(number), load.metrics))
        device = (number % load.devices + 1).astype(np.int32)
        batches.append(ReadingBatch(kind, device, time_us, time_us, values).sorted_unique())
    return batches


async def copy_alone(stack: LocalStack, load: Load, catalogue: Catalogue, database: str) -> float:
    """Return rows/s of binary COPY of prepared rows, a transaction each ``_COPY_ROWS``."""
    prepared = [
        (list(encode_readings(batch)), reading_columns(batch)) for batch in prepared_rows(load, catalogue)
    ]
    connection = await connect(stack.database_url(INGEST_ROLE, database), application="bench")
    try:
        started = time.monotonic()
        for bodies, columns in prepared:
            async with connection.transaction():
                await connection.copy_to_table(
                    load.kind,
                    schema_name=SCHEMA,
                    columns=columns,
                    source=copy_stream(iter(bodies)),
                    format="binary",
                )
        return load.count / (time.monotonic() - started)
    finally:
        await connection.close()


async def psql_alone(stack: LocalStack, load: Load, catalogue: Catalogue, database: str) -> float:
    """Return rows/s of psql's own COPY of the same bytes, a transaction each ``_COPY_ROWS``."""
    with tempfile.TemporaryDirectory(prefix="alatau-bench-") as directory:
        lines = []
        for number, batch in enumerate(prepared_rows(load, catalogue)):
            path = pathlib.Path(directory) / str(number)
            path.write_bytes(b"".join([part async for part in copy_stream(encode_readings(batch))]))
            columns = ", ".join(f'"{name}"' for name in reading_columns(batch))
            lines.append(f"\\copy {table(batch.kind)} ({columns}) FROM '{path}' WITH (FORMAT binary)")
        script = pathlib.Path(directory) / "script.sql"
        script.write_text("\n".join(lines))
        psql = stack.servers.postgres_bin / "psql"
        command: list[str | pathlib.Path] = [
            psql,
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            stack.database_url(INGEST_ROLE, database),
            "-f",
            script,
        ]
        started = time.monotonic()
        await asyncio.to_thread(subprocess.check_call, command)
        return load.count / (time.monotonic() - started)


async def full_path(stack: LocalStack, load: Load, database: str) -> dict[str, float]:
    """Return readings/s from the first publish to the last acknowledgement, and what each part cost."""
    async with worker(stack, stack.database_url(INGEST_ROLE, database)) as ingest:
        publishing = await Publishing.prepare(stack, load)
        broker_pid = stack.mosquitto.pid
        before = (ingest.cpu_seconds(), cpu_of(broker_pid), cpu_of_database(stack))
        publishing.go()
        started = time.monotonic()
        await publishing.result()
        while await asyncio.to_thread(ingest.acknowledged) < load.count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - started
        after = (ingest.cpu_seconds(), cpu_of(broker_pid), cpu_of_database(stack))
        used = [(late - early) / load.count * 1e6 for early, late in zip(before, after, strict=True)]
        return {
            "rate": load.count / seconds,
            "ingest": used[0],
            "broker": used[1],
            "database": used[2],
            "resident": ingest.resident_bytes() / 1e6,
        }


async def measure(stack: LocalStack, metrics: int, count: int, result: Result, steps: Steps) -> None:
    """Measure all stages and the full path for readings of so many metrics."""
    start = time.time_ns() // 1_000_000 - 24 * 3_600_000
    load = Load(count=count, devices=1000, metrics=metrics, start=start)
    with steps.step(f"{metrics} metrics: null subscriber"):
        null = await null_subscriber(stack, load)
    rates = {}
    for name, alone in (("COPY", copy_alone), ("psql", psql_alone)):
        with steps.step(f"{metrics} metrics: {name} alone"):
            database = f"{name.lower()}_{metrics}"
            catalogue = await fresh_database(stack, database, load)
            rates[name] = await alone(stack, load, catalogue, database)
    with steps.step(f"{metrics} metrics: full path"):
        await fresh_database(stack, f"full_{metrics}", load)
        full = await full_path(stack, load, f"full_{metrics}")
    slowest = min(null, rates["COPY"])
    per_point = (full["ingest"] + full["broker"] + full["database"]) / metrics
    title = f"{metrics} metrics"
    result.measures += [
        Measure(f"{title}: null QoS 1 subscriber", null, "messages/s", "the broker's ceiling"),
        Measure(f"{title}: binary COPY", rates["COPY"], "rows/s", "the database's ceiling, one connection"),
        Measure(
            f"{title}: COPY against psql",
            rates["COPY"] / rates["psql"],
            "ratio",
            "psql \\copy, same bytes",
            0.95,
        ),
        Measure(f"{title}: full path", full["rate"], "readings/s", ""),
        Measure(
            f"{title}: full path against its slowest stage",
            full["rate"] / slowest,
            "ratio",
            "stages above",
            0.8,
        ),
        Measure(
            f"{title}: ingest CPU",
            full["ingest"],
            "µs/reading",
            "",
            8 if metrics == 5 else None,
            at_least=False,
        ),
        Measure(f"{title}: broker CPU", full["broker"], "µs/reading"),
        Measure(f"{title}: database CPU", full["database"], "µs/reading"),
        Measure(
            f"{title}: whole path CPU",
            per_point,
            "core-µs/point",
            "",
            5 if metrics == 5 else 2.5,
            at_least=False,
        ),
        Measure(f"{title}: ingest resident memory", full["resident"], "MB"),
    ]


async def main() -> None:
    """Run the benchmark."""
    asked = options((__doc__ or "").partition("\n")[0])
    count = 50_000 if asked.quick else 600_000
    result = Result("ingest", {"readings": count, "devices": 1000, "quick": asked.quick})
    with Steps(errors) as steps:
        async with servers() as stack:
            for metrics in (5, 10):
                await measure(stack, metrics, count, result, steps)
    result.publish(asked.json)


if __name__ == "__main__":
    uvloop.run(main())
