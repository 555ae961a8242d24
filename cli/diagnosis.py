"""``doctor``: what is there, what is missing, what to do; ``down``: what to remove."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import pathlib
import shutil
import sys
from typing import Annotated

import typer
from rich.markup import escape

from api.pmtiles import ArchiveError, open_archive
from cli.certificates import certificate_store, supplied_certificate
from cli.connections import database_url, external_database
from cli.console import answers
from cli.ingest_http import http_port
from cli.locking import is_running, provisioned_prefix
from cli.settings import Settings, SettingsError, load_settings
from stack.accounts import server_account
from stack.checks import Check, run_checks
from stack.cluster import remove_data
from stack.errors import StackError
from stack.layout import place_data
from stack.locks import unused
from stack.ownership import remove
from stack.pki import Certificate
from storage.database import API_ROLE, connect, read_edition
from storage.errors import PermanentError, classify

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (doctor, down):
        app.command(rich_help_panel="The city on this machine")(command)


def doctor() -> None:
    """Check everything that `alatau up` needs, and say what to do about what is missing.

    [dim]Example:[/]
      ./alatau doctor
    """
    settings = load_settings()
    running = is_running(settings.root)
    # Our own servers hold their ports while they run.
    ports = {} if running else _ports(settings)
    checks = run_checks(os.environ, settings.root / "database", ports)
    checks.append(Check("city", "ok", "running" if running else "not running", ""))
    checks.extend(_certificate(settings))
    checks.extend(_base_map(settings))
    if running or external_database(settings):
        checks.append(asyncio.run(_database(settings)))
    for check in checks:
        answers.print(f"{_MARKS[check.state]} {check.name:<22} {escape(check.found)}", soft_wrap=True)
        if check.state != "ok" and check.remedy:
            answers.print(f"    [yellow]→ {escape(check.remedy)}[/]", soft_wrap=True)
    problems = sum(check.state == "problem" for check in checks)
    answers.print(f"\n{problems} problems" if problems else "\nReady for ./alatau up")
    sys.exit(1 if problems else 0)


def _ports(settings: Settings) -> dict[str, int]:
    return {
        "ALATAU_DATABASE_PORT": settings.database_port,
        "ALATAU_MQTT_PORT": settings.mqtt_port,
        "ALATAU_MQTTS_PORT": settings.mqtts_port,
        "ALATAU_MQTT_CERTIFICATES_PORT": settings.mqtt_certificates_port,
        "ALATAU_API_PORT": settings.api_port,
        "ALATAU_INGEST_PORT": settings.ingest_port,
        "ALATAU_INGEST_HTTP_PORT": http_port(settings),
        "ALATAU_MAINTENANCE_PORT": settings.maintenance_port,
        "ALATAU_ALERTS_PORT": settings.alerts_port,
    }


def _certificate(settings: Settings) -> list[Check]:
    """Look at the certificate of broker and API; one of ours `up` makes, and renews in time."""
    name, file = "certificate", certificate_store(settings).server_file
    try:
        if (supplied := supplied_certificate(settings)) is not None:
            supplied.read(dt.datetime.now(dt.UTC))
            file = supplied.certificate_file
        elif not file.exists():
            return []
        certificate = Certificate(file.read_bytes())
    except SettingsError as error:
        return [Check(name, "problem", str(error))]
    except StackError as error:
        return [Check(name, "problem", error.message, error.remedy)]
    return [Check(name, "ok", f"until {certificate.expires:%Y-%m-%d}, of {', '.join(certificate.names)}")]


def _base_map(settings: Settings) -> list[Check]:
    """Look at the operator's own base map; without it the dashboard shows a drawn one, so nothing else is stopped."""
    name, path = "base map", settings.base_map
    if path is None:
        return []
    try:
        archive = open_archive(path)
    except ArchiveError as error:
        return [Check(name, "warning", error.message, error.remedy)]
    return [Check(name, "ok", f"{path}, {archive.size / 1e6:.1f} MB, layers of {archive.schema}")]


async def _database(settings: Settings) -> Check:
    name = "database in use"
    try:
        connection = await connect(database_url(settings, API_ROLE), application="alatau-doctor")
        try:
            edition = await read_edition(connection)
        finally:
            await connection.close()
    except PermanentError as error:
        return Check(name, "problem", str(error), "run: alatau migrate")
    except Exception as error:
        if classify(error) is None:
            raise
        return Check(name, "problem", str(error), "start it, or correct ALATAU_DATABASE_URL")
    licence = {"apache": "Apache-2 edition", "timescale": "Community edition"}.get(
        edition.licence, edition.licence
    )
    found = f"PostgreSQL {edition.postgresql.split()[0]}, TimescaleDB {edition.timescaledb}, {licence}"
    if not edition.is_current:
        return Check(name, "problem", f"{found}, schema at {edition.revision}", "run: alatau migrate")
    return Check(name, "ok", found, "")


def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove data, secrets and provisioned servers.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Say whether the city runs; with --purge remove everything that `alatau up` made.

    A running city is stopped with Ctrl-C where it was started.

    [dim]Example:[/]
      ./alatau down --purge
    """
    settings = load_settings()
    if is_running(settings.root):
        raise StackError("the city is running", "Stop it first: Ctrl-C where `./alatau up` runs.")
    places = _places(settings.root)
    if not purge:
        answers.print("The city is not running. What it keeps:")
        for place in places:
            answers.print(f"  {place}", markup=False, soft_wrap=True)
        answers.print("Remove all of it with: ./alatau down --purge")
        return
    if not yes:
        typer.confirm("Remove all data, secrets and provisioned servers?", abort=True)
    _purge(settings.root)
    answers.print("Removed.")


def _database_and_broker(root: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    account = server_account()
    return place_data(root / "database", account).path, place_data(root / "broker", account).path


def _places(root: pathlib.Path) -> list[pathlib.Path]:
    return [place for place in (root, *_database_and_broker(root), provisioned_prefix()) if place.exists()]


def _purge(root: pathlib.Path) -> None:
    # Only a folder with our secrets or our own marks in it is ours to delete.
    database, broker = _database_and_broker(root)
    remove_data(database)
    remove(broker)
    prefix = provisioned_prefix()
    with unused(prefix) as free:
        if free:
            remove(prefix)
        else:
            answers.print(f"{prefix} stays: another city uses it.", soft_wrap=True)
    if root.exists() and (root / "secrets.json").exists():
        shutil.rmtree(root)
