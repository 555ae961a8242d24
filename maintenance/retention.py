"""Lets go, once an hour, what the policy says: ``storage/retention.py``."""

from __future__ import annotations

import asyncpg
import structlog

from maintenance.loops import Loop, Periodic
from maintenance.metrics import MaintenanceMetrics
from maintenance.options import MaintenanceOptions
from storage.catalogue import load_catalogue
from storage.errors import BusyError
from storage.retention import Gone, KeptTier, apply_retention

_WITHIN_SECONDS = 1800.0
log = structlog.get_logger("maintenance.retention")


def retention_loop(options: MaintenanceOptions, metrics: MaintenanceMetrics) -> Loop:
    """Return the loop that applies the policy."""

    async def apply(connection: asyncpg.Connection) -> None:
        stored = await load_catalogue(connection)
        for kind in stored[1].kinds if stored else ():
            for tier in KeptTier:
                try:
                    gone = await apply_retention(connection, kind.name, tier)
                except BusyError as error:
                    log.info("waiting", error=str(error))
                else:
                    _note(gone, metrics)

    return Periodic(
        "retention", apply, options, metrics, every=options.retention_seconds, within=_WITHIN_SECONDS
    )


def _note(gone: list[Gone], metrics: MaintenanceMetrics) -> None:
    for one in gone:
        if one.start is not None:
            metrics.dropped_chunks.labels(one.tier.value).inc()
            metrics.dropped_bytes.labels(one.tier.value).inc(one.size)
    if gone:
        log.info(
            "dropped by the policy",
            kind=gone[0].kind,
            tier=gone[0].tier.value,
            chunks=sum(one.start is not None for one in gone),
            rows=sum(one.rows for one in gone),
            bytes=sum(one.size for one in gone),
            before=max(one.stop for one in gone).isoformat(),
        )
