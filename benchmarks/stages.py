"""Each stage of the full path alone: the broker, the database, psql as the database's yardstick, the generator."""

from __future__ import annotations

import asyncio
import pathlib
import re
import subprocess
import tempfile
import time

import mqtt5
import numpy as np

from benchmarks.load import Load
from benchmarks.rig import Publishing, running, scratch_database, session_options
from cli.local import LocalStack
from ingest.session import Session
from sensors.catalogue import build_catalogue, builtin_file
from sensors.readings import ReadingBatch
from sensors.topics import Channel, Topics
from stack.ports import accepts_connections, free_port
from storage.copy import copy_stream, encode_readings, reading_columns
from storage.database import INGEST_ROLE, connect
from storage.kinds import SCHEMA, table

_COPY_ROWS = 10_000  # rows in one COPY, about what one transaction of the full path holds
# The null subscriber acknowledges all that came in this time with one write, as a committing worker does.
_ACKNOWLEDGE_SECONDS = 0.005
_SECONDS = 300.0  # after which a stage is given up


class NullSubscriber:
    """Counts messages and acknowledges them in batches."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._pending: list[int] = []
        self.done = asyncio.Event()

    def take(self, session: Session, packets: list[mqtt5.PublishPacket], _size: int) -> bool:
        """Take what one read brought; see ``ingest.session.Sink``."""
        if not self._pending:
            loop = asyncio.get_running_loop()
            loop.call_later(_ACKNOWLEDGE_SECONDS, self._acknowledge, session)
        self._pending += [packet.packet_id for packet in packets if packet.packet_id]
        return True

    def _acknowledge(self, session: Session) -> None:
        pending, self._pending = self._pending, []
        session.acknowledge(pending)
        self._missing -= len(pending)
        if self._missing <= 0:
            self.done.set()


async def null_subscriber(stack: LocalStack, load: Load) -> float:
    """Return messages/s received and acknowledged by a subscriber that does nothing with them."""
    subscriber = NullSubscriber(load.count)
    filters = [Topics().every(Channel.TELEMETRY)]
    session = await Session.open(session_options(stack, "bench-null"), filters, subscriber.take)
    try:
        async with await Publishing.prepare(stack, load) as publishing, asyncio.timeout(_SECONDS):
            publishing.go()
            started = time.monotonic()
            await subscriber.done.wait()
            seconds = time.monotonic() - started
            await publishing.result()
    finally:
        await session.close()
    return load.count / seconds


async def generator_to_broker(stack: LocalStack, load: Load) -> float:
    """Return messages/s that the load generator alone publishes to the broker, with nobody subscribed."""
    return await _generate(stack, load, None)


async def generator_to_sink(stack: LocalStack, load: Load) -> float:
    """Return messages/s that the load generator publishes to a process that only acknowledges."""
    port = free_port()
    arguments = ["benchmarks.sink", "--port", str(port)]
    async with running(arguments, {}, port, lambda: accepts_connections(port)):
        return await _generate(stack, load, port)


async def _generate(stack: LocalStack, load: Load, port: int | None) -> float:
    async with await Publishing.prepare(stack, load, port) as publishing, asyncio.timeout(_SECONDS):
        publishing.go()
        counts = await publishing.result()
    return counts["acknowledged"] / counts["seconds"]


def prepared_rows(load: Load) -> list[ReadingBatch]:
    """Return the rows of a load as the full path would write them, ``_COPY_ROWS`` at a time."""
    kind = build_catalogue(builtin_file("alatau"), "alatau.toml").kind_of[load.kind]
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


async def copy_alone(stack: LocalStack, load: Load) -> float:
    """Return rows/s of binary COPY of prepared rows, a transaction each ``_COPY_ROWS``."""
    prepared = [(list(encode_readings(batch)), reading_columns(batch)) for batch in prepared_rows(load)]
    async with scratch_database(stack, load) as database, asyncio.timeout(_SECONDS):
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


async def psql_alone(stack: LocalStack, load: Load) -> float:
    """Return rows/s of psql's own COPY of the same bytes, a transaction each ``_COPY_ROWS``.

    The time is what psql itself states for each command: its start and its login are not in it.
    """
    with tempfile.TemporaryDirectory(prefix="alatau-bench-") as directory:
        lines = ["\\timing on"]
        for number, batch in enumerate(prepared_rows(load)):
            path = pathlib.Path(directory) / str(number)
            path.write_bytes(b"".join([part async for part in copy_stream(encode_readings(batch))]))
            columns = ", ".join(f'"{name}"' for name in reading_columns(batch))
            copy = f"\\copy {table(batch.kind)} ({columns}) FROM '{path}' WITH (FORMAT binary)"
            lines += ["BEGIN;", copy, "COMMIT;"]
        script = pathlib.Path(directory) / "script.sql"
        script.write_text("\n".join(lines))
        async with scratch_database(stack, load) as database:
            psql = stack.servers.postgres_bin / "psql"
            url = stack.database_url(INGEST_ROLE, database)
            command = [str(psql), "-X", "-v", "ON_ERROR_STOP=1", url, "-f", str(script)]
            output = await asyncio.to_thread(_output, command)
    milliseconds = [float(value) for value in re.findall(r"^Time: ([\d.]+) ms", output, re.MULTILINE)]
    if len(milliseconds) != len(lines) - 1:
        raise RuntimeError(f"psql said something else than the times of its commands:\n{output[:1000]}")
    return load.count / sum(milliseconds) * 1000


def _output(command: list[str]) -> str:
    return subprocess.check_output(command, text=True, timeout=_SECONDS)
