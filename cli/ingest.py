"""``ingest``: one worker, or several."""

from __future__ import annotations

import ssl
import urllib.parse
from typing import Annotated

import structlog
import typer

from broker.accounts import Service
from cli.connections import broker_account, broker_ca, broker_url, database_url
from cli.ingest_http import taking_http, transport_for_devices
from cli.ingest_status import show_status
from cli.process import collect_seldom, configure_logs, configure_metrics, run_until_stopped
from cli.settings import Settings, load_settings
from cli.status import Status, run_with_server, status_server
from cli.transport import HandshakeLoop
from cli.workers import run_workers
from ingest.decoders.table import FORMATS
from ingest.options import SHARE, IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from sensors.topics import Topics
from storage.database import INGEST_ROLE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(ingest)


def ingest(
    worker: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="This worker's number, where there are several; each needs its own, and keeps it over restarts.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Run so many, numbered from --worker on; ports count up likewise."),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show what running workers do.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: as one JSON object.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="With --status: again each second.")] = False,
) -> None:
    """Receive readings from the broker and store them; acknowledge each only after its commit.

    [dim]Examples:[/]
      alatau ingest
      alatau ingest --workers 2
      alatau ingest --status --watch
      ALATAU_INGEST_PORT=8011 alatau ingest --worker 1
      ALATAU_INGEST_HTTP_PORT=8092 alatau ingest
    """
    settings = load_settings()
    if status:
        show_status(settings, workers, as_json=as_json, watch=watch)
    elif as_json or watch:
        raise typer.BadParameter("--json and --watch go with --status")
    elif workers is None or workers == 1:
        _ingest(settings, worker)
    else:
        configure_logs()
        first = worker or 0
        # What is wrong with the settings is said once, and not by each worker again and again.
        ingest_options(settings, first)
        transport_for_devices(settings, first)
        run_until_stopped(lambda stop: run_workers(settings, first, workers, stop))


def ingest_options(settings: Settings, worker: int | None) -> IngestOptions:
    """Return what a worker of these settings is told. Raises SettingsError."""
    return IngestOptions(
        database_url=database_url(settings, INGEST_ROLE),
        session=_session(settings, worker or 0),
        share=None if worker is None else SHARE,
        topics=Topics(settings.topic_root),
        formats=() if worker else FORMATS,
        docs=settings.docs_url,
    )


def _ingest(settings: Settings, worker: int | None) -> None:
    configure_logs()
    configure_metrics()
    structlog.contextvars.bind_contextvars(worker=worker or 0)
    service = Ingest(ingest_options(settings, worker))
    server = status_server(status_of(service), settings.ingest_host, settings.ingest_port)
    transport = transport_for_devices(settings, worker or 0)
    run = service.run if transport is None else taking_http(service, transport)
    collect_seldom()
    run_until_stopped(lambda stop: run_with_server(run, stop, server), HandshakeLoop)


def status_of(service: Ingest) -> Status:
    """Return what a worker says of itself."""

    def readiness() -> dict[str, object]:
        is_ready, sentence, state = service.readiness()
        return {"ready": is_ready, "status": state, "state": sentence, "worker": service.options.worker}

    return Status(service.metrics.registry, readiness)


def _session(settings: Settings, worker: int) -> SessionOptions:
    parts = urllib.parse.urlsplit(broker_url(settings))
    username, password = broker_account(settings, Service.INGEST)
    is_tls = parts.scheme == "mqtts"
    return SessionOptions(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or (8883 if is_tls else 1883),
        username=username,
        password=password,
        client_id=f"alatau-ingest-{worker}",
        tls=ssl.create_default_context(cafile=broker_ca(settings)) if is_tls else None,
    )
