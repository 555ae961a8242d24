"""Where ingest takes telemetry over HTTP: a port of its own, for devices to reach, which that of its status is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from cli.settings import Settings
from cli.status import StatusServer, run_with_server
from cli.transport import Transport
from ingest.http.app import Reception, create_app
from ingest.service import Ingest
from stack.ports import require_free

_PORT = 8092
PURPOSE = "telemetry over HTTP (ALATAU_INGEST_HTTP_PORT)"


def http_port(settings: Settings) -> int:
    """Return the port under ``up``; elsewhere there is none unless it is set."""
    return settings.ingest_http_port or _PORT


def transport_for_devices(settings: Settings, worker: int) -> Transport | None:
    """Return how a worker listens for devices; None where it does not: of several workers the first does.

    Raises SettingsError, and StackError when the port is taken.
    """
    if settings.ingest_http_port is None or worker != 0:
        return None
    transport = Transport.of_devices(settings, settings.ingest_http_port)
    require_free(transport.port, PURPOSE, transport.host)
    return transport


def taking_http(
    service: Ingest, transport: Transport
) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
    """Return what runs a worker and its port for devices, until it is stopped."""

    async def run(stop: asyncio.Event) -> None:
        reception = Reception(service)
        server = StatusServer(transport.configuration(create_app(service, reception)))
        try:
            async with transport.renewing():
                # While the worker drains, devices are told to come again.
                await run_with_server(service.run, stop, server)
        finally:
            reception.close()

    return run
