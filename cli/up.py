"""``up``: the whole city in the foreground, from a fresh machine to a first reading."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import pathlib
import shlex
import urllib.parse
from typing import Annotated, Any

import orjson
import typer
from rich.panel import Panel

from cli.city import FIRST_ADMIN, SAMPLE_DEVICE, City, CityOptions
from cli.console import Steps, answers, errors
from cli.locking import only_one, provisioned_prefix
from cli.process import run_until_stopped
from cli.secrets import write_private
from cli.settings import Settings, load_settings
from sensors.topics import Channel, Topics
from stack.errors import StackError
from stack.locks import in_use
from stack.servers import ensure_servers


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="The city on this machine")(up)


def up(
    city: Annotated[
        pathlib.Path | None, typer.Option(help="City file, TOML or YAML; else Alatau City.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="How many devices are simulated.")] = 260,
    no_simulate: Annotated[bool, typer.Option("--no-simulate", help="Leave the city empty.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as one JSON object.")] = False,
) -> None:
    """Start the whole city: database, broker, ingest, API, and a simulated fleet. Ctrl-C stops it.

    The first start provisions the servers and simulates the last 24 hours; later ones take seconds and keep
    the data. What is printed is also in .alatau/env, to be sourced.

    [dim]Examples:[/]
      ./alatau up
      ./alatau up --no-simulate
      ALATAU_API_PORT=8080 ./alatau up --devices 1040
    """
    settings = load_settings()
    options = CityOptions(city_file=city, simulated=0 if no_simulate else devices)
    run_until_stopped(lambda stop: _up(settings, options, stop, as_json=as_json))


async def _up(settings: Settings, options: CityOptions, stop: asyncio.Event, *, as_json: bool) -> None:
    try:
        # Nobody's purge takes the programs away from under a running city.
        with only_one(settings.root), in_use(provisioned_prefix()):
            await _run(settings, options, stop, as_json=as_json)
    except OSError as error:
        raise StackError(
            f"{error.strerror or error}: {error.filename or settings.root}", _remedy(error)
        ) from error
    errors.print("stopped; the data is kept")


async def _run(settings: Settings, options: CityOptions, stop: asyncio.Event, *, as_json: bool) -> None:
    city: City | None = None
    try:
        with Steps(errors) as steps:
            with steps.step("servers") as report:
                servers = await asyncio.to_thread(
                    ensure_servers, os.environ, report, data_dir=settings.root / "database"
                )
            city = City(settings, options, servers, say=_say)
            for note in city.notes:
                _say(note)
            await _unless_stopped(city.start(steps), stop)
        if not stop.is_set():
            environment = city.environment()
            write_environment(settings.root, environment)
            # Last, because it is printed and kept nowhere: what fails before leaves it to be made by the next start.
            password = await city.add_first_admin()
            _print_ready(city, environment, password, as_json=as_json)
            await stop.wait()
    finally:
        if city is not None:
            errors.print("stopping …")
            await city.stop()


def _say(text: str) -> None:
    # Quoted log lines hold brackets that are no markup.
    errors.print(text, markup=False, soft_wrap=True)


async def _unless_stopped(work: Any, stop: asyncio.Event) -> None:
    """Await ``work``, or cancel it when ``stop`` comes first."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        stopped.cancel()


def _remedy(error: OSError) -> str:
    if error.errno == 28:
        return "The disk is full: free some space, or set ALATAU_DATA_DIR to a folder on another disk."
    return "Run `./alatau doctor`; it says what is missing."


def write_environment(root: pathlib.Path, environment: dict[str, str]) -> None:
    """Write what a shell may source to ``env`` in the data directory; only its owner can read it."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    text = "\n".join(["# Written by `alatau up`; source it in a shell.", *lines, ""])
    write_private(root / "env", text.encode())


def first_reading_command(city: City) -> str:
    """Return a line that sends a reading of the sample device with the client that comes with the broker."""
    topic = Topics(city.settings.topic_root).of(SAMPLE_DEVICE, Channel.TELEMETRY)
    url = urllib.parse.urlsplit(city.reach.mqtt_url)
    place = f"-h {url.hostname} -p {url.port or (8883 if url.scheme == 'mqtts' else 1883)}"
    if url.scheme == "mqtts":
        authority = city.reach.mqtt_ca
        place += f" --cafile {shlex.quote(str(authority))}" if authority else " --tls-use-os-certs"
    client = city.servers.mosquitto_pub
    secret = city.local.secrets.sample_device_secret
    return (
        f"{client} {place} -V 5 -q 1 -i {SAMPLE_DEVICE} -u {SAMPLE_DEVICE} -P {secret} "
        f'-t {topic} -m \'{{"pm2_5": 12.5, "temperature": -3.1}}\''
    )


def _how_to_sign_in(password: str | None) -> str:
    if password is None:
        return ""
    return (
        f"\n         as {FIRST_ADMIN} with the password [bold]{password}[/]\n"
        "         (shown this once; only its hash is kept)"
    )


def _print_ready(city: City, environment: dict[str, str], password: str | None, *, as_json: bool) -> None:
    reading = first_reading_command(city)
    url, key = environment["ALATAU_API_URL"], environment["ALATAU_API_KEY"]
    if as_json:
        ready = {**environment, "first_reading": reading}
        if password is not None:
            ready["admin_password"] = password
        answers.print(orjson.dumps(ready).decode(), soft_wrap=True, markup=False)
        return
    authority = (
        f" --cacert {shlex.quote(environment['ALATAU_API_CA'])}" if "ALATAU_API_CA" in environment else ""
    )
    query = (
        f"curl{authority} -H 'X-API-Key: {key}' \\\n"
        f"  '{url}/api/v1/series?metric=pm2_5&group_by=district&step=PT5M&start=-PT1H'"
    )
    answers.print(
        Panel.fit(
            f"[bold]{city.title} is running[/]   {dt.datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}\n\n"
            f"City     [link={url}/ui]{url}/ui[/]\n"
            f"API      [link={url}/docs]{url}/docs[/]\n"
            f"API key  {key}\n"
            f"Settings source {city.settings.data_dir}/env\n"
            f"Sign in  [link={url}/sign-in]{url}/sign-in[/]{_how_to_sign_in(password)}",
            border_style="green",
        )
    )
    for title, command in (("Send a reading:", reading), ("Ask for one:", query)):
        answers.print(f"\n[bold]{title}[/]")
        answers.print(command, soft_wrap=True, markup=False)
    answers.print("\nCtrl-C stops everything and keeps the data.")
