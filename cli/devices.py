"""Devices: registering one or many, listing them."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import Collection
from typing import Annotated, TextIO

import typer
from rich.table import Table

from broker.secrets import generate_secret
from broker.snippets import Account, Language
from cli.account_restarts import tell_by_restart
from cli.administration import load_applied
from cli.connections import owner_connection, stack_secrets
from cli.console import Steps, answers, errors
from cli.correct import user_name
from cli.device_accounts import SnippetLanguage, new_private_file, print_account, told_broker
from cli.device_changes import add_to
from cli.device_files import Verdict, add_from_file
from cli.secrets import credential_of
from cli.settings import Settings, SettingsError, load_settings
from cli.watch import add_to as add_watch
from sensors.errors import CatalogueError, did_you_mean
from sensors.fleet import plan_fleet
from sensors.kinds import DeviceSpec
from sensors.times import SECOND, parse_duration
from simulators.secrets import device_secret
from storage.audit import Event, record
from storage.devices import (
    Credential,
    list_devices,
    register_devices,
)

_AT_ONCE = 1000
device = typer.Typer(
    no_args_is_help=True, help="Register devices, list them, watch one, keep one out, delete one."
)
add_to(device)
add_watch(device)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(device, name="device", rich_help_panel="Administration")


@device.command("add")
def device_add(
    device_id: Annotated[str | None, typer.Argument(metavar="ID", help="Its id, also its user name.")] = None,
    kind: Annotated[str, typer.Option(help="What it measures; see /api/v1/kinds.")] = "",
    district: Annotated[str, typer.Option(help="Where it stands; see /api/v1/districts.")] = "",
    position: Annotated[str | None, typer.Option(help="longitude,latitude in degrees.")] = None,
    interval: Annotated[
        str | None, typer.Option(help="Expected time between readings, such as PT1M.")
    ] = None,
    from_: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--from",
            help="Register all of a CSV file: id, kind, district; longitude, latitude, interval, installed.",
        ),
    ] = None,
    output: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A new file for the program of --snippet; with --from, for what became of each, and its secret.",
        ),
    ] = None,
    simulated: Annotated[int, typer.Option(min=0, help="Register so many simulated devices instead.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the simulated city.")] = 1,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Give simulated devices secrets of their own.")
    ] = False,
    language: SnippetLanguage = Language.SHELL,
) -> None:
    """Register a device and print its secret, once; or many, and write their secrets to a file.

    [dim]Examples:[/]
      alatau device add lamp-17 --kind street_light --district golden
      alatau device add air-9 --kind air_quality --district gate --position 76.95,43.48
      alatau device add air-10 --kind air_quality --district gate --snippet micropython -o main.py
      alatau device add --from devices.csv
      alatau device add --simulated 260
    """
    settings = load_settings()
    if from_ is not None:
        asyncio.run(_add_from(settings, from_, output or from_.with_suffix(".secrets.csv")))
    elif simulated:
        asyncio.run(_add_simulated(settings, simulated, seed, with_secrets=credentials))
    elif device_id is None:
        raise SettingsError("which device? Run: alatau device add ID --kind KIND --district DISTRICT")
    else:
        spec = DeviceSpec(device_id, kind, district, _position(position), interval)
        with new_private_file(output) if output else contextlib.nullcontext() as file:
            asyncio.run(_add_device(settings, spec, language, file))


async def _add_from(settings: Settings, file: pathlib.Path, output: pathlib.Path) -> None:
    async with owner_connection(settings) as connection, told_broker(settings) as admin:
        catalogue = await load_applied(connection)
        with Steps(errors) as steps, steps.step(f"registering the devices of {file}") as report:
            done = await add_from_file(connection, admin, catalogue, file, output, report)
            is_restarted = False
            if admin is not None and not done.is_told:
                report("the broker is started again with them", None)
                is_restarted = await tell_by_restart(connection, admin)
    counts = ", ".join(f"{done.counts[verdict]:,} {verdict.value}" for verdict in Verdict)
    answers.print(
        f"{counts}; {output} says what became of each, and has the secrets", markup=False, soft_wrap=True
    )
    if is_restarted:
        answers.print("The broker was started again with their accounts.")
    elif admin is not None and not done.is_told:
        errors.print(
            "So many accounts would hold the broker up, which writes all of them after each: "
            "it learns these when it is started next."
        )
    if done.counts[Verdict.REFUSED]:
        raise typer.Exit(1)


def _position(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        longitude, latitude = map(float, text.split(","))
    except ValueError:
        raise SettingsError(f"--position {text!r}: write longitude,latitude such as 76.95,43.48") from None
    return longitude, latitude


async def _add_device(settings: Settings, spec: DeviceSpec, language: Language, file: TextIO | None) -> None:
    secret = generate_secret()
    async with owner_connection(settings) as connection, told_broker(settings) as admin:
        catalogue = await load_applied(connection)
        # Both or neither: a device that the broker does not know can't send, whatever we have stored.
        async with connection.transaction():
            added = await register_devices(connection, [spec], catalogue, {spec.id: credential_of(secret)})
            if not added:
                raise CatalogueError(
                    f"device {spec.id} is registered already; choose another id, "
                    f"or give it a new secret: alatau device secret {spec.id}"
                )
            await record(connection, [Event(user_name(), "register device", subject=spec.id)])
            if admin is not None:
                await admin.add_device(spec.id, secret)
        kind = catalogue.kind_of[spec.kind]
        interval = parse_duration(spec.interval) / SECOND if spec.interval else kind.interval_seconds
        print_account(settings, Account(spec.id, spec.id, secret, kind, interval), language, file)


async def _add_simulated(settings: Settings, count: int, seed: int, *, with_secrets: bool) -> None:
    secrets = stack_secrets(settings)
    if with_secrets and secrets is None:
        raise SettingsError("--credentials needs the local stack's fleet secret; run `./alatau up` first")
    async with owner_connection(settings) as connection:
        catalogue = await load_applied(connection)
        fleet = plan_fleet(catalogue, count, seed)
        added = 0
        with Steps(errors) as steps, steps.step(f"registering {count:,} simulated devices") as report:
            for start in range(0, len(fleet), _AT_ONCE):
                part = fleet[start : start + _AT_ONCE]
                given = _credentials(part, secrets.fleet_secret) if with_secrets and secrets else None
                added += len(await register_devices(connection, part, catalogue, given))
                report(f"{start + len(part):,}", (start + len(part)) / len(fleet))
    answers.print(f"{added:,} simulated devices added, {count - added:,} were there already")
    if with_secrets:
        answers.print("The broker learns their secrets when it is started next.")


def _credentials(fleet: list[DeviceSpec], fleet_secret: str) -> dict[str, Credential]:
    return {spec.id: credential_of(device_secret(fleet_secret, spec.id)) for spec in fleet}


@device.command("list")
def device_list(
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    district: Annotated[str | None, typer.Option(help="Only this district.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    after: Annotated[str, typer.Option(help="Begin after this id.")] = "",
) -> None:
    """List devices in the order of their ids.

    [dim]Examples:[/]
      alatau device list --kind air_quality
      alatau device list --after sim-noise-gate-0005 --limit 20
    """

    async def show(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            catalogue = await load_applied(connection)
            _require(kind, catalogue.kind_of, "kind")
            _require(district, catalogue.district_of, "district")
            found = await list_devices(connection, after=after, limit=limit, kind=kind, district=district)
        table = Table("id", "kind", "district", "position", "every", "simulated", "disabled", box=None)
        for one in found:
            place = f"{one.position[0]:.4f}, {one.position[1]:.4f}" if one.position else "-"
            table.add_row(
                one.id,
                one.kind,
                one.district,
                place,
                f"{one.interval_seconds:g} s",
                "yes" if one.simulated else "no",
                f"{one.disabled_at:%Y-%m-%d}" if one.disabled_at else "no",
            )
        answers.print(table)
        if len(found) == limit:
            answers.print(f"There may be more: --after {found[-1].id}")

    asyncio.run(show(load_settings()))


def _require(value: str | None, valid: Collection[str], what: str) -> None:
    if value is not None and value not in valid:
        raise CatalogueError(f'{what} "{value}" is not known; {did_you_mean(value, valid)}')
