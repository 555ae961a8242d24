"""A month of a city, loaded by COPY as ingest would have stored it: the data that questions are asked of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import asyncpg
import numpy as np
import numpy.typing as npt

from cli.local import LocalStack
from sensors.catalogue import Catalogue, build_catalogue, builtin_file
from sensors.kinds import DeviceSpec
from sensors.readings import ReadingBatch
from sensors.times import DAY, SECOND
from stack.progress import Report
from storage.copy import copy_stream, encode_readings, reading_columns
from storage.database import OWNER_ROLE, connect
from storage.devices import register_devices
from storage.kinds import SCHEMA, table
from storage.latest import flush_latest
from storage.refresh import move_bound, refresh
from storage.rollup_tables import MINUTES

KIND = "air_quality"
METRICS = 5
_MINUTE = 60 * SECOND
_SLICE = 10  # minutes in one COPY: rows lie in the order of time, as they would have come


@dataclasses.dataclass(frozen=True, slots=True)
class Month:
    """``devices`` send a reading of five metrics a minute for ``days`` before ``end`` (Unix µs), all in four
    districts."""

    devices: int
    days: int
    end: int
    seed: int = 1

    @property
    def start(self) -> int:
        """When it begins."""
        return self.end - self.days * DAY

    @property
    def readings(self) -> int:
        """How many readings it has."""
        return self.devices * self.days * 1440

    def device(self, number: int) -> str:
        """Return a device's id."""
        return f"month-{number:05d}"


def specs(month: Month, catalogue: Catalogue) -> list[DeviceSpec]:
    """Return the devices, in a lattice over each district."""
    districts = catalogue.districts
    side = int(np.ceil(np.sqrt(month.devices / len(districts))))
    made = []
    for number in range(month.devices):
        place, district = divmod(number, len(districts))
        longitudes, latitudes = zip(*districts[district].outline, strict=True)
        east, north = (place % side + 0.5) / side, (place // side + 0.5) / side
        position = (
            min(longitudes) + east * (max(longitudes) - min(longitudes)),
            min(latitudes) + north * (max(latitudes) - min(latitudes)),
        )
        made.append(DeviceSpec(month.device(number), KIND, districts[district].name, position, "PT1M"))
    return made


def slices(month: Month, numbers: npt.NDArray[np.int32], catalogue: Catalogue) -> Iterator[ReadingBatch]:
    """Yield the readings in the order of time: a daily rise and fall, and noise of each device's own."""
    kind, random = catalogue.kind_of[KIND], np.random.default_rng(month.seed)
    base = random.uniform(20, 80, (len(numbers), METRICS))
    for first in range(0, month.days * 1440, _SLICE):
        minute = np.tile(np.arange(first, first + _SLICE), len(numbers))
        device = np.repeat(np.arange(len(numbers)), _SLICE)
        time = month.start + minute * _MINUTE
        wave = 15 * np.sin(minute * (2 * np.pi / 1440))
        values = np.full((len(time), len(kind.columns)), np.nan)
        noise = random.normal(0, 3, (len(time), METRICS))
        values[:, :METRICS] = np.round(np.abs(base[device] + wave[:, None] + noise), 1)
        yield ReadingBatch(kind, numbers[device], time, time + SECOND, values)


async def load(stack: LocalStack, database: str, month: Month, report: Report) -> None:
    """Register the devices and store their readings."""
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    connection = await connect(stack.database_url(OWNER_ROLE, database), application="bench")
    try:
        number_of = await register_devices(connection, specs(month, catalogue), catalogue)
        numbers = np.array([number_of[month.device(n)] for n in range(month.devices)], np.int32)
        await connection.execute("SET synchronous_commit = off")
        done = 0
        for batch in slices(month, numbers, catalogue):
            await connection.copy_to_table(
                KIND,
                schema_name=SCHEMA,
                columns=reading_columns(batch),
                source=copy_stream(encode_readings(batch)),
                format="binary",
            )
            done += len(batch)
            report(f"{done:,} of {month.readings:,} readings", done / month.readings)
        await flush_latest(connection, [batch])
        await connection.execute(f"ANALYZE {table(catalogue.kind_of[KIND])}")
    finally:
        await connection.close()


async def make_rollups(connection: asyncpg.Connection, month: Month, report: Report) -> int:
    """Make all rollups; return how many rows of 5 minutes there are."""
    catalogue = build_catalogue(builtin_file("alatau"), "alatau.toml")
    kind, rows, until = catalogue.kind_of[KIND], 0, month.end - month.end % MINUTES
    await move_bound(connection, [KIND], catalogue.city.timezone, until)
    while True:
        made = await refresh(connection, kind)
        rows += made.rows
        report(f"{rows:,} rows of 5 minutes", (made.clean_to - month.start) / (until - month.start))
        if made.is_done:
            return rows
