"""``alert``: the process that keeps alerts."""

from __future__ import annotations

from typing import Annotated

import typer

from alerts.delivery_metrics import DeliveryMetrics
from alerts.metrics import AlertMetrics
from alerts.options import AlertOptions
from alerts.service import Alerts
from alerts.watch import Watch
from cli.alert_table import show_alerts
from cli.connections import database_url
from cli.delivering import Delivering, Ways
from cli.process import configure_logs, configure_metrics, run_until_stopped
from cli.settings import load_settings
from cli.status import Status, run_with_server, status_server
from storage.database import ALERTS_ROLE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(alert)


def alert(
    status: Annotated[bool, typer.Option("--status", help="Show what is wrong now, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: as a JSON array.")] = False,
) -> None:
    """Look every ten seconds what is wrong in the city, and keep the alerts of it and tell of them, until stopped.

    [dim]Examples:[/]
      alatau alert
      alatau alert --status
      ALATAU_ALERTS_PORT=8191 alatau alert
    """
    settings = load_settings()
    if status:
        show_alerts(settings, as_json=as_json)
        return
    if as_json:
        raise typer.BadParameter("--json goes with --status")
    configure_logs()
    configure_metrics()
    url = database_url(settings, ALERTS_ROLE)
    metrics = AlertMetrics()
    delivering = Delivering(Ways.of(settings), url, DeliveryMetrics(metrics.registry))
    service = Alerts(AlertOptions(url), metrics, finds=Watch().finds(), beside=[delivering])
    server = status_server(status_of(service), settings.alerts_host, settings.alerts_port)
    run_until_stopped(lambda stop: run_with_server(service.run, stop, server))


def status_of(service: Alerts) -> Status:
    """Return what the process says of itself."""

    def readiness() -> dict[str, object]:
        is_ready, sentence = service.readiness()
        return {"ready": is_ready, "state": sentence}

    return Status(service.metrics.registry, readiness)
