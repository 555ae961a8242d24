"""A service's own small HTTP port: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """What a service says of itself: its metrics, and the body of ``/readyz``, where ``ready`` decides between 200 and
    503."""

    registry: CollectorRegistry
    readiness: Callable[[], Mapping[str, object]]


def status_app(status: Status) -> Starlette:
    """Return the application that answers for a service."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        body = dict(status.readiness())
        return JSONResponse(body, status_code=200 if body["ready"] else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(status.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


class StatusServer(uvicorn.Server):
    """Uvicorn inside a process that handles its signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


def status_server(status: Status, host: str, port: int) -> StatusServer:
    """Return the server of a status port."""
    return StatusServer(
        uvicorn.Config(
            status_app(status), host=host, port=port, log_config=None, access_log=False, lifespan="off"
        )
    )


async def run_with_server(
    run: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event, server: StatusServer
) -> None:
    """Run a service until ``stop``, with a server beside it that ends after it."""
    serving = asyncio.create_task(server.serve(), name="server")
    try:
        await run(stop)
    finally:
        server.should_exit = True
        await serving
