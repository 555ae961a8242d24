"""``maintain``: the process that keeps the stored data fit to be asked."""

from __future__ import annotations

import typer

from cli.connections import database_url
from cli.process import configure_logs, configure_metrics, run_until_stopped
from cli.settings import load_settings
from cli.status import Status, run_with_server, status_server
from maintenance.options import MaintenanceOptions
from maintenance.service import Maintenance
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
    service = Maintenance(MaintenanceOptions(database_url(settings, MAINTENANCE_ROLE)))
    server = status_server(status_of(service), settings.maintenance_host, settings.maintenance_port)
    run_until_stopped(lambda stop: run_with_server(service.run, stop, server))


def status_of(service: Maintenance) -> Status:
    """Return what maintenance says of itself."""

    def readiness() -> dict[str, object]:
        is_ready, sentence = service.readiness()
        return {"ready": is_ready, "state": sentence}

    return Status(service.metrics.registry, readiness)
