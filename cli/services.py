"""Each part as a process of its own: ``migrate``, ``ingest``, ``api``, ``simulate``."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import pathlib
import signal
import ssl
import threading
import urllib.parse
from typing import Annotated

import orjson
import structlog
import typer
import uvicorn

from api.app import create_app
from api.options import ApiOptions, ExportOptions
from broker.accounts import Service
from cli.connections import (
    broker_account,
    broker_admin,
    broker_ca,
    broker_url,
    database_errors,
    database_url,
    role_passwords,
    stack_secrets,
)
from cli.console import answers, errors
from cli.ingest_status import show_status
from cli.process import configure_logs, configure_metrics, run_until_stopped
from cli.settings import Settings, SettingsError, load_settings
from cli.workers import run_workers
from ingest.options import SHARE, IngestOptions
from ingest.service import Ingest
from ingest.session import SessionOptions
from ingest.status import status_server
from sensors.catalogue import build_catalogue, builtin_file, read_city_file
from sensors.fleet import plan_fleet
from sensors.times import parse_duration
from sensors.topics import Topics
from simulators.delivery import Level
from simulators.faults import parse_faults
from simulators.options import Progress, SimulateOptions
from simulators.run import run as simulate_city
from simulators.secrets import device_secret
from storage.api_keys import store_key
from storage.database import (
    API_ROLE,
    INGEST_ROLE,
    OWNER_ROLE,
    connect,
    prepare_database,
    read_edition,
    with_user,
)
from storage.kinds import Connection
from storage.migrations.run import upgrade


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (migrate, ingest, api, simulate):
        app.command(rich_help_panel="Services")(command)


def migrate() -> None:
    """Bring the database to this version: roles, tables, rights.

    With ALATAU_DATABASE_SUPERUSER_URL it first creates the roles, the database and the extension.

    [dim]Examples:[/]
      alatau migrate
      ALATAU_DATABASE_SUPERUSER_URL=postgresql://postgres:…@db/postgres alatau migrate
    """
    asyncio.run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    url = await _prepared_database(settings)
    with database_errors(url):
        await upgrade(url)
        connection = await connect(url, application="alatau-migrate")
        try:
            edition = await read_edition(connection)
            if settings.api_key:
                await _store_given_key(connection, settings.api_key)
        finally:
            await connection.close()
    answers.print(
        f"PostgreSQL {edition.postgresql}, TimescaleDB {edition.timescaledb} ({edition.licence}), "
        f"schema at revision {edition.revision}"
    )


async def _store_given_key(connection: Connection, key: str) -> None:
    try:
        await store_key(connection, key, "given to alatau migrate")
    except ValueError:
        raise SettingsError(
            "ALATAU_API_KEY is not one of ours; take the one that `alatau compose-env` prints"
        ) from None


async def _prepared_database(settings: Settings) -> str:
    """Return the owner's address of the database, which a superuser's address lets us create first."""
    superuser = settings.database_superuser_url
    if superuser is None:
        return database_url(settings, OWNER_ROLE)
    passwords = role_passwords(settings)
    database = urllib.parse.urlsplit(settings.database_url or "").path.strip("/") or "alatau"
    with database_errors(superuser):
        await prepare_database(superuser, database, passwords)
    return with_user(superuser, OWNER_ROLE, passwords[OWNER_ROLE], database)


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
        _ingest_options(settings, first)
        run_until_stopped(lambda stop: run_workers(settings, first, workers, stop))


def _ingest_options(settings: Settings, worker: int | None) -> IngestOptions:
    return IngestOptions(
        database_url=database_url(settings, INGEST_ROLE),
        session=_session(settings, worker or 0),
        share=None if worker is None else SHARE,
        topics=Topics(settings.topic_root),
        status_host=settings.ingest_host,
        status_port=settings.ingest_port,
    )


def _ingest(settings: Settings, worker: int | None) -> None:
    configure_logs()
    configure_metrics()
    structlog.contextvars.bind_contextvars(worker=worker or 0)
    service = Ingest(_ingest_options(settings, worker))

    async def work(stop: asyncio.Event) -> None:
        server = status_server(service)
        status = None if server is None else asyncio.create_task(server.serve(), name="ingest.status")
        try:
            await service.run(stop)
        finally:
            if server is not None and status is not None:
                server.should_exit = True
                await status

    _collect_seldom()
    run_until_stopped(work)


def _collect_seldom() -> None:
    """Let the collector of cycles run less often.

    What lives as long as the process need not be looked at again by each of its rounds, and what is made for a batch
    or an answer has no cycles. Its rounds were a quarter of the time of decoding, and doubled that of one large
    answer in twenty.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


def api() -> None:
    """Answer queries over HTTP: /api/v1, documentation at /docs.

    [dim]Examples:[/]
      alatau api
      ALATAU_API_HOST=0.0.0.0 ALATAU_API_PORT=80 alatau api
    """
    configure_logs()
    configure_metrics()
    settings = load_settings()
    ca = broker_ca(settings)
    options = ApiOptions(
        database_url=database_url(settings, API_ROLE),
        topics=Topics(settings.topic_root),
        mqtt_url=broker_url(settings),
        mqtt_ca=None if ca is None else str(ca),
        exports=ExportOptions(settings.exports),
    )
    # Who supervises it starts it again.
    app = create_app(
        options, accounts=broker_admin(settings), on_failure=lambda: signal.raise_signal(signal.SIGTERM)
    )
    _collect_seldom()
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


def simulate(
    devices: Annotated[int, typer.Option(min=1, help="How many devices the city has.")] = 260,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Readings a second of the whole city; else each device's own."),
    ] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="60 lets an hour pass in a minute.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed is another city.")] = 1,
    faults: Annotated[
        str, typer.Option(help='Faults and their share, such as "spike=0.01,malformed=0.001", or "all".')
    ] = "",
    truth: Annotated[
        pathlib.Path | None, typer.Option(help="Where to write each injected fault, one JSON line each.")
    ] = None,
    history: Annotated[
        str | None, typer.Option(help="First fill this span before now, such as PT24H, then go on live.")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after so many seconds.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections that share the devices.")] = 1,
    per_device: Annotated[
        bool, typer.Option("--per-device", help="One connection for each device, with its own secret.")
    ] = False,
    delivery: Annotated[
        Level,
        typer.Option(help="Whether a device keeps a reading until the broker has it, or until it is stored."),
    ] = Level.ACKNOWLEDGED,
    city: Annotated[pathlib.Path | None, typer.Option(help="City file; else Alatau City.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Progress as JSON lines.")] = False,
) -> None:
    """Publish as a whole simulated city would, until stopped. Its devices must be registered
    (`alatau device add --simulated 260`).

    [dim]Examples:[/]
      alatau simulate --devices 260
      alatau simulate --devices 20000 --rate 2000 --duration 600
      alatau simulate --delivery stored
      alatau simulate --faults spike=0.01,malformed=0.001 --truth truth.ndjson
    """
    settings = load_settings()
    name = str(city or "alatau.toml")
    catalogue = build_catalogue(read_city_file(city) if city else builtin_file("alatau"), name)
    username, password = broker_account(settings, Service.SIMULATOR)
    secrets = stack_secrets(settings)
    fleet_secret = secrets.fleet_secret if secrets else ""
    options = SimulateOptions(
        url=broker_url(settings),
        tls_ca=broker_ca(settings),
        username=username,
        password=password,
        topics=Topics(settings.topic_root),
        rate=rate,
        speed=speed,
        seed=seed,
        faults=parse_faults(faults) if faults else {},
        truth=truth,
        connections=connections,
        per_device=per_device,
        delivery=delivery,
        history=dt.timedelta(microseconds=_duration(history)) if history else None,
        duration=duration,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    simulate_city(
        options,
        catalogue,
        plan_fleet(catalogue, devices, seed),
        _print_json if as_json else _print_line,
        stop,
        secret_of=lambda device: device_secret(fleet_secret, device),
    )


def _duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--history: {error}") from None


def _print_json(progress: Progress) -> None:
    print(orjson.dumps(progress, default=dict).decode(), flush=True)  # noqa: T201 - lines for a program


def _print_line(progress: Progress) -> None:
    line = (
        f"{progress.phase:<8} published {progress.published:>10,}   acknowledged {progress.acknowledged:>10,}   "
        f"{progress.per_second:>8,.0f}/s   in flight {progress.in_flight:>5,}"
    )
    if progress.refused:
        line += f"   refused {progress.refused:,}"
    if progress.stored or progress.waiting:
        line += f"   stored {progress.stored:,}   waiting {progress.waiting:,}   resent {progress.resent:,}"
    errors.print(line, end="\r" if errors.is_terminal else "\n")
