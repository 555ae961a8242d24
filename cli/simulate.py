"""``simulate``: a city that speaks the wire."""

from __future__ import annotations

import datetime as dt
import pathlib
import signal
import threading
from typing import Annotated

import orjson
import typer

from broker.accounts import Service
from cli.connections import broker_account, broker_ca, broker_url, stack_secrets
from cli.console import errors
from cli.settings import SettingsError, load_settings
from sensors.catalogue import build_catalogue, builtin_file, read_city_file
from sensors.fleet import plan_fleet
from sensors.times import parse_duration
from sensors.topics import Topics
from simulators.delivery import Level
from simulators.faults import parse_faults
from simulators.options import Progress, SimulateOptions
from simulators.run import run as simulate_city
from simulators.secrets import device_secret


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Services")(simulate)


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
