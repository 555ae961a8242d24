"""``api``: the HTTP server."""

from __future__ import annotations

import pathlib
import signal

import structlog
import typer

from api.app import create_app
from api.niceness import give_way
from api.options import ApiOptions, ClaimOptions, ExportOptions
from api.pmtiles import ArchiveError, open_archive
from broker.accounts import Service
from cli.connections import broker_admin, broker_ca, broker_url, claims_password, database_url
from cli.networks import webhook_networks
from cli.oidc import oidc_options
from cli.process import collect_seldom, configure_logs, configure_metrics
from cli.settings import Settings, load_settings
from cli.speeches import SPEECHES
from cli.transport import Transport
from ingest.explaining import Explainer
from sensors.topics import Topics
from storage.database import API_ROLE

log = structlog.get_logger("api")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(api)


def api() -> None:
    """Answer queries over HTTP: /api/v1, documentation at /docs.

    [dim]Examples:[/]
      alatau api
      ALATAU_TLS_CERTIFICATE=api.pem ALATAU_TLS_KEY=api.key ALATAU_API_HOST=0.0.0.0 alatau api
    """
    configure_logs()
    configure_metrics()
    settings = load_settings()
    transport = Transport.of_api(settings)
    told = settings.mqtt_public_url or broker_url(settings)
    ca = broker_ca(settings, told)
    options = ApiOptions(
        database_url=database_url(settings, API_ROLE),
        niceness=settings.api_niceness,
        topics=Topics(settings.topic_root),
        speeches=SPEECHES,
        mqtt_url=told,
        mqtt_ca=None if ca is None else str(ca),
        claims=_claims(settings),
        exports=ExportOptions(settings.exports),
        oidc=oidc_options(settings),
        webhook_networks=webhook_networks(settings),
        map_tiles=_base_map(settings),
    )
    # Who supervises it starts it again.
    app = create_app(
        options,
        accounts=broker_admin(settings),
        reader=Explainer(options.topics),
        on_failure=lambda: signal.raise_signal(signal.SIGTERM),
    )
    # The first request would wait for it, and all others with it.
    app.openapi()
    collect_seldom()
    give_way(settings.api_niceness)
    transport.serve(app)


def _base_map(settings: Settings) -> pathlib.Path | None:
    """Return the base map's file, and say what is wrong with it: the dashboard does without until it is mended."""
    path = settings.base_map
    if path is not None:
        try:
            open_archive(path)
        except ArchiveError as error:
            log.warning("the dashboard shows its drawn map", error=error.message, remedy=error.remedy)
    return path


def _claims(settings: Settings) -> ClaimOptions | None:
    password = claims_password(settings)
    if password is None:
        return None
    ca = broker_ca(settings)
    return ClaimOptions(broker_url(settings), Service.CLAIMS, password, None if ca is None else str(ca))
