"""Readings as a table: of any number of devices of one kind."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import numpy as np

from api.parameters import require_device_ids, require_devices, require_known
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.tables import Batch, Column, Labels, Table, Type
from sensors.catalogue import Catalogue
from sensors.kinds import Kind
from storage.kinds import Connection
from storage.reading_stream import Extract, stream_readings
from storage.selection import Devices, Selection, select_devices

_BEFORE = (
    Column("device", Type.LABEL),
    Column("district", Type.LABEL),
    Column("longitude", Type.NUMBER, "deg"),
    Column("latitude", Type.NUMBER, "deg"),
    Column("time", Type.TIME),
    Column("received_at", Type.TIME),
)


async def select_one_kind(
    connection: Connection, catalogue: Catalogue, selection: Selection
) -> tuple[Kind, Devices]:
    """Return the selected devices and their kind, by their ids. Raises a problem where that is not one kind."""
    require_known("kind", selection.kinds, catalogue.kind_of)
    require_known("district", selection.districts, catalogue.district_of)
    require_device_ids(selection.devices)
    # Devices that are named are of the kind that is named, or it is said that they are not.
    asked = dataclasses.replace(selection, kinds=()) if selection.devices else selection
    devices = await select_devices(connection, asked) if asked.kinds or asked.devices else None
    if devices is None or len(devices) < len(asked.devices):
        await require_devices(connection, asked.devices)
    if asked.devices and not devices:
        raise invalid_parameter(
            "device",
            f"{', '.join(asked.devices)[:80]}: none of the others that are asked for; leave them out",
        )
    kinds = sorted({*selection.kinds, *(devices.kind.tolist() if devices else ())})
    if len(kinds) == 1 and devices is not None:
        return catalogue.kind_of[kinds[0]], devices
    found = f"these devices are of {' and '.join(kinds)}" if kinds else "name it, or devices that are there"
    raise invalid_parameter(
        "kind", f"a table is of one kind; {found}", valid=kinds or sorted(catalogue.kind_of)
    )


def readings_table(kind: Kind, batches: AsyncGenerator[Batch, None]) -> Table:
    """Return the table of batches that ``reading_batches`` yields."""
    metrics = [Column(metric.name, Type.NUMBER, metric.unit) for metric in kind.metrics]
    return Table(f"readings-{kind.name}", (*_BEFORE, *metrics), batches, ("longitude", "latitude"))


async def reading_batches(
    connection: Connection, extract: Extract, limit: int
) -> AsyncGenerator[Batch, None]:
    """Yield an extract's readings as batches of ``readings_table``. Raises a problem where it has more than
    ``limit``."""
    devices = extract.devices
    ids = devices.id.tolist()
    districts, district = np.unique(devices.district, return_inverse=True)
    rows = 0
    found = stream_readings(connection, extract, limit + 1)
    try:
        async for batch in found:
            rows += len(batch.time)
            if rows > limit:
                raise too_many_rows(limit)
            yield [
                Labels(batch.device, ids),
                Labels(district[batch.device].astype(np.int32), districts.tolist()),
                devices.longitude[batch.device],
                devices.latitude[batch.device],
                batch.time,
                batch.received,
                *batch.values,
            ]
    finally:
        await found.aclose()


def too_many_rows(limit: int) -> ProblemError:
    """Return the problem of an extract that has more rows than it may."""
    return ProblemError(
        ProblemType.TOO_LARGE,
        f"there are more than {limit:,} readings; ask for a shorter range, for a district or for devices, or let a "
        "file be made: POST /api/v1/exports",
        parameter="start",
    )
