"""``maintain``: the process that keeps the stored data fit to be asked."""

from __future__ import annotations

import asyncio

import typer

from cli.connections import database_url
from cli.process import configure_logs, configure_metrics, run_until_stopped
from cli.settings import load_settings
from maintenance.options import MaintenanceOptions
from maintenance.service import Maintenance
from maintenance.status import status_server
from storage.database import MAINTENANCE_ROLE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(maintain)


def maintain() -> None:
    """Keep the stored data fit to be asked, until stopped: what has to be done again and again is done here.

    [dim]Examples:[/]
      alatau maintain
      ALATAU_MAINTENANCE_PORT=8190 alatau maintain
    """
    configure_logs()
    configure_metrics()
    settings = load_settings()
    service = Maintenance(
        MaintenanceOptions(
            database_url=database_url(settings, MAINTENANCE_ROLE),
            status_host=settings.maintenance_host,
            status_port=settings.maintenance_port,
        )
    )

    async def work(stop: asyncio.Event) -> None:
        server = status_server(service)
        status = None if server is None else asyncio.create_task(server.serve(), name="maintenance.status")
        try:
            await service.run(stop)
        finally:
            if server is not None and status is not None:
                server.should_exit = True
                await status

    run_until_stopped(work)
