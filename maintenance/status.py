"""The process's own small HTTP port: ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from maintenance.service import Maintenance


def status_app(maintenance: Maintenance) -> Starlette:
    """Return the application that answers for the process."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        is_ready, sentence = maintenance.readiness()
        body = {"ready": is_ready, "state": sentence}
        return JSONResponse(body, status_code=200 if is_ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(maintenance.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


class StatusServer(uvicorn.Server):
    """Uvicorn inside a process that handles its signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


def status_server(maintenance: Maintenance) -> StatusServer | None:
    """Return the server of the status port, or None when the options have no port."""
    options = maintenance.options
    if options.status_port is None:
        return None
    return StatusServer(
        uvicorn.Config(
            status_app(maintenance),
            host=options.status_host,
            port=options.status_port,
            log_config=None,
            access_log=False,
            lifespan="off",
        )
    )
