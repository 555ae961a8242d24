"""A small city in a database: devices, and a way to store readings as ingest does."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Sequence

import asyncpg
import numpy as np

from sensors.catalogue import Catalogue
from sensors.kinds import DeviceSpec
from sensors.readings import ReadingBatch
from sensors.times import to_microseconds
from storage.database import connect
from storage.devices import register_devices
from storage.latest import flush_latest
from storage.writer import Batch, write
from tests.conftest import Database

Row = tuple[str, dt.datetime, dict[str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class City:
    """Connections of each role, and the devices' numbers by id."""

    database: Database
    catalogue: Catalogue
    owner: asyncpg.Connection
    ingest: asyncpg.Connection
    api: asyncpg.Connection
    number: dict[str, int]

    async def write(self, kind: str, rows: Sequence[Row]) -> None:
        """Store readings (device, time, values) of one kind, received two seconds later."""
        described = self.catalogue.kind_of[kind]
        values = np.full((len(rows), len(described.columns)), np.nan)
        for row, (_, _, given) in enumerate(rows):
            for metric, value in given.items():
                values[row, described.index[metric]] = value
        time = np.array([to_microseconds(moment) for _, moment, _ in rows], dtype=np.int64)
        device = np.array([self.number[name] for name, _, _ in rows], dtype=np.int32)
        batch = ReadingBatch(described, device, time, time + 2_000_000, values)
        await write(self.ingest, Batch([batch]))
        await flush_latest(self.ingest, [batch])


@contextlib.asynccontextmanager
async def open_city(
    database: Database, catalogue: Catalogue, devices: Sequence[DeviceSpec]
) -> AsyncIterator[City]:
    """Register devices, and lend the connections."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_connection(url: str) -> asyncpg.Connection:
            connection = await connect(url, application="test")
            stack.push_async_callback(connection.close)
            return connection

        owner = await open_connection(database.owner_url)
        yield City(
            database=database,
            catalogue=catalogue,
            owner=owner,
            ingest=await open_connection(database.ingest_url),
            api=await open_connection(database.api_url),
            number=await register_devices(owner, devices, catalogue),
        )
