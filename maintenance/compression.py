"""Compresses readings that are no longer written to, where the edition of TimescaleDB can."""

from __future__ import annotations

import asyncpg
import structlog

from maintenance.loops import Loop, Periodic
from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from storage.catalogue import load_catalogue
from storage.compression import can_compress, compress_oldest
from storage.database import read_edition
from storage.errors import BusyError

# A first round may have months before it; what it has compressed stays so.
_WITHIN_SECONDS = 6 * 3600.0
log = structlog.get_logger("maintenance.compression")


def compression_loop(options: MaintenanceOptions, metrics: MaintenanceMetrics) -> Loop:
    """Return the loop that compresses chunk by chunk, each in a transaction of its own."""

    async def compress(connection: asyncpg.Connection) -> None:
        if not can_compress(await read_edition(connection)):
            return
        stored = await load_catalogue(connection)
        for kind in stored[1].kinds if stored else ():
            try:
                while chunk := await compress_oldest(connection, kind.name, options.compress_after):
                    metrics.compressed_chunks.inc()
                    log.info("compressed", kind=kind.name, chunk=chunk)
            except BusyError as error:
                log.info("waiting", error=str(error))

    return Periodic(
        "compression", compress, options, metrics, every=options.compression_seconds, within=_WITHIN_SECONDS
    )
