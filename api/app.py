"""The application: its parts, put together."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry

from api import (
    city,
    dead_letters,
    devices,
    gaps,
    health,
    heatmap,
    latest,
    problems,
    quality,
    readings,
    series,
    top,
)
from api.access import require_key
from api.database import Database
from api.edge import Edge
from api.keys import KeyCache
from api.options import ApiOptions, DeviceAccounts
from api.services import Clock, Services
from api.snapshot import CatalogueWatch
from api.telemetry import ApiMetrics
from storage.migrations import HEAD

__all__ = ["ApiOptions", "DeviceAccounts", "create_app"]

VERSION = "1"

_DESCRIPTION = """
The telemetry of a digital city. Every path below `/api/v1` needs an API key. Times are RFC 3339, ranges are
half-open, units are UCUM codes, lists continue at `next`. Errors are RFC 9457 problems that say what to do.
"""
_PROBLEM = {
    "description": "A problem (RFC 9457)",
    "content": {
        problems.MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "instance"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "instance": {"type": "string"},
                    "request_id": {"type": "string"},
                    "nearest": {"type": "string"},
                    "valid": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
    },
}


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def create_app(
    options: ApiOptions,
    *,
    accounts: DeviceAccounts | None = None,
    registry: CollectorRegistry | None = None,
    clock: Clock = _utc_now,
) -> FastAPI:
    """Return the application; its lifespan opens and closes the database.

    Without ``accounts`` devices can't be registered. The database may be away: requests then are refused
    with 503 until it is there.
    """
    database = Database(options)
    metrics = ApiMetrics(registry or CollectorRegistry(), lambda: database.in_use, options.pool_size)
    services = Services(
        options=options,
        database=database,
        snapshot=CatalogueWatch(options),
        keys=KeyCache(options.key_cache_size, options.key_cache_seconds, time.monotonic),
        accounts=accounts,
        clock=clock,
        revision=HEAD,
    )
    app = FastAPIOffline(
        title="Alatau",
        version=VERSION,
        description=_DESCRIPTION,
        redoc_url=None,
        static_url="/docs-assets",
        # Swagger UI otherwise asks a server of its makers to validate the description.
        swagger_ui_parameters={"validatorUrl": None},
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.metrics = metrics
    problems.install(app)
    app.add_middleware(Edge, metrics=metrics)
    app.include_router(health.router)
    for module in (city, devices, latest, readings, series, top, heatmap, quality, dead_letters, gaps):
        app.include_router(
            module.router,
            dependencies=[Depends(require_key), Depends(problems.refuse_unknown_parameters)],
            responses={401: _PROBLEM, 422: _PROBLEM, 503: _PROBLEM},
        )
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(services.database.run(), name="api.database"),
            group.create_task(services.snapshot.run(), name="api.snapshot"),
        ]
        try:
            # One attempt each, whatever comes of it: the first requests then usually find all in place.
            await services.database.attempted.wait()
            await services.snapshot.attempted.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await services.database.close()
