"""Looking after the city: catalogue, devices, dead letters."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Collection
from typing import Annotated

import asyncpg
import typer
from rich.markup import escape
from rich.table import Table

from broker.secrets import generate_secret, hash_secret
from cli.connections import broker_admin, broker_url, owner_connection, stack_secrets
from cli.console import Steps, answers, errors
from cli.settings import Settings, SettingsError, load_settings
from ingest.replay import Replay
from sensors.catalogue import Catalogue, builtin_file, read_city_file
from sensors.checks import Reason
from sensors.errors import AlatauError, CatalogueError, did_you_mean
from sensors.fleet import plan_fleet
from sensors.kinds import DeviceSpec, Metric
from sensors.topics import Channel, Topics
from simulators.secrets import device_secret
from storage.catalogue import apply_city_file, load_catalogue
from storage.dead_letters import StoredLetter, find_letter, list_letters, waiting_letters
from storage.devices import Credential, find_device, list_devices, register_devices, replace_credential
from storage.kinds import Connection

_AT_ONCE = 1000
catalog = typer.Typer(no_args_is_help=True, help="Which kinds, metrics and districts there are.")
device = typer.Typer(no_args_is_help=True, help="Register and list devices.")
letters = typer.Typer(no_args_is_help=True, help="Refused messages: look, mend the cause, feed them again.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, group in (("catalog", catalog), ("device", device), ("dead-letters", letters)):
        app.add_typer(group, name=name, rich_help_panel="Administration")


async def load_applied(connection: Connection) -> Catalogue:
    """Return the catalogue in force. Raises CatalogueError when none is."""
    stored = await load_catalogue(connection)
    if stored is None:
        raise CatalogueError("no catalogue is applied; run: alatau catalog apply FILE")
    return stored[1]


@catalog.command("apply")
def catalog_apply(
    file: Annotated[
        pathlib.Path | None, typer.Argument(help="TOML or YAML; without it, Alatau City.")
    ] = None,
) -> None:
    """Add what a city file says. Repeating it changes nothing, and nothing is ever removed.

    [dim]Examples:[/]
      alatau catalog apply
      alatau catalog apply almaty.toml
    """
    asyncio.run(_catalog_apply(load_settings(), file))


async def _catalog_apply(settings: Settings, file: pathlib.Path | None) -> None:
    name = str(file) if file else "alatau.toml"
    content = read_city_file(file) if file else builtin_file("alatau")
    async with owner_connection(settings) as connection:
        applied = await apply_city_file(connection, content, name)
    state = "applied" if applied.is_new_version else "was in force already"
    answers.print(
        f"{name} {state}: catalogue version {applied.version}, "
        f"{applied.devices_added} devices added, {applied.devices_updated} updated",
        markup=False,
        soft_wrap=True,
    )


@device.command("add")
def device_add(
    device_id: Annotated[str | None, typer.Argument(metavar="ID", help="Its id, also its user name.")] = None,
    kind: Annotated[str, typer.Option(help="What it measures; see /api/v1/kinds.")] = "",
    district: Annotated[str, typer.Option(help="Where it stands; see /api/v1/districts.")] = "",
    position: Annotated[str | None, typer.Option(help="longitude,latitude in degrees.")] = None,
    interval: Annotated[
        str | None, typer.Option(help="Expected time between readings, such as PT1M.")
    ] = None,
    simulated: Annotated[int, typer.Option(min=0, help="Register so many simulated devices instead.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the simulated city.")] = 1,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Give simulated devices secrets of their own.")
    ] = False,
) -> None:
    """Register a device and print its secret, once.

    [dim]Examples:[/]
      alatau device add lamp-17 --kind street_light --district golden
      alatau device add air-9 --kind air_quality --district gate --position 76.95,43.48
      alatau device add --simulated 260
    """
    settings = load_settings()
    if simulated:
        asyncio.run(_add_simulated(settings, simulated, seed, with_secrets=credentials))
    elif device_id is None:
        raise SettingsError("which device? Run: alatau device add ID --kind KIND --district DISTRICT")
    else:
        spec = DeviceSpec(device_id, kind, district, _position(position), interval)
        asyncio.run(_add_device(settings, spec))


def _position(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        longitude, latitude = map(float, text.split(","))
    except ValueError:
        raise SettingsError(f"--position {text!r}: write longitude,latitude such as 76.95,43.48") from None
    return longitude, latitude


async def _add_device(settings: Settings, spec: DeviceSpec) -> None:
    secret, credential = _new_secret()
    admin = broker_admin(settings)
    async with owner_connection(settings) as connection:
        catalogue = await load_applied(connection)
        # Both or neither: a device that the broker does not know can't send, whatever we have stored.
        async with connection.transaction():
            added = await register_devices(connection, [spec], catalogue, {spec.id: credential})
            if not added:
                raise CatalogueError(
                    f"device {spec.id} is registered already; choose another id, "
                    f"or give it a new secret: alatau device secret {spec.id}"
                )
            if admin is not None:
                await admin.add_device(spec.id, secret)
    _print_secret(settings, spec.id, secret, catalogue.kind_of[spec.kind].metrics[0])


def _new_secret() -> tuple[str, Credential]:
    secret = generate_secret()
    hashed = hash_secret(secret)
    return secret, Credential(hashed.salt, hashed.hash, hashed.iterations)


def _print_secret(settings: Settings, device_id: str, secret: str, metric: Metric) -> None:
    answers.print(f"device  {device_id}\nsecret  {secret}   (shown once; only its hash is kept)")
    if broker_admin(settings) is None:
        errors.print("The broker was not told: set ALATAU_BROKER_ADMIN_PASSWORD, or restart it.")
    topic = Topics(settings.topic_root).of(device_id, Channel.TELEMETRY)
    answers.print(
        f"\nA reading of it:\n  mosquitto_pub -L '{broker_url(settings)}/{topic}' -u {device_id} -P '{secret}' "
        f"-V 5 -q 1 -m '{{\"{metric.name}\": {metric.minimum:g}}}'",
        soft_wrap=True,
    )


@device.command("secret")
def new_device_secret(device_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")]) -> None:
    """Give a registered device a new secret and print it, once. The old one stops working.

    [dim]Example:[/]
      alatau device secret lamp-17
    """
    asyncio.run(_new_device_secret(load_settings(), device_id))


async def _new_device_secret(settings: Settings, device_id: str) -> None:
    secret, credential = _new_secret()
    admin = broker_admin(settings)
    async with owner_connection(settings) as connection:
        catalogue = await load_applied(connection)
        found = await find_device(connection, device_id)
        if found is None:
            raise CatalogueError(f"no device {device_id} is registered; see: alatau device list")
        async with connection.transaction():
            await replace_credential(connection, found.device_id, credential)
            if admin is not None:
                await admin.add_device(device_id, secret)
    _print_secret(settings, device_id, secret, catalogue.kind_of[found.kind].metrics[0])


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
    hashed = {spec.id: hash_secret(device_secret(fleet_secret, spec.id)) for spec in fleet}
    return {device_id: Credential(one.salt, one.hash, one.iterations) for device_id, one in hashed.items()}


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
        table = Table("id", "kind", "district", "position", "every", "simulated", box=None)
        for one in found:
            place = f"{one.position[0]:.4f}, {one.position[1]:.4f}" if one.position else "-"
            table.add_row(
                one.id,
                one.kind,
                one.district,
                place,
                f"{one.interval_seconds:g} s",
                "yes" if one.simulated else "no",
            )
        answers.print(table)
        if len(found) == limit:
            answers.print(f"There may be more: --after {found[-1].id}")

    asyncio.run(show(load_settings()))


def _require(value: str | None, valid: Collection[str], what: str) -> None:
    if value is not None and value not in valid:
        raise CatalogueError(f'{what} "{value}" is not known; {did_you_mean(value, valid)}')


@letters.command("list")
def letters_list(
    reason: Annotated[Reason | None, typer.Option(help="Only this reason.")] = None,
    device_id: Annotated[str | None, typer.Option("--device", help="Only this device.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
) -> None:
    """List refused messages, newest first.

    [dim]Examples:[/]
      alatau dead-letters list
      alatau dead-letters list --reason unknown_metric --limit 100
    """

    async def show(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            await _require_device(connection, device_id)
            found = await list_letters(connection, limit=limit, reason=reason, device=device_id)
        table = Table("number", "arrived", "topic", "reason", "detail", "repeats", "replayed", box=None)
        for letter in found:
            table.add_row(
                str(letter.dead_letter_id),
                f"{letter.received_at:%Y-%m-%d %H:%M:%S}",
                # Whatever a device wrote there is no markup.
                escape(letter.topic),
                letter.reason,
                escape(letter.detail),
                f"{letter.repeats:,}",
                escape(letter.replay_verdict or ""),
            )
        answers.print(table if found else "No dead letters.")

    asyncio.run(show(load_settings()))


@letters.command("show")
def letters_show(number: Annotated[int, typer.Argument(help="Number of the letter.", max=2**63 - 1)]) -> None:
    """Show one refused message whole.

    [dim]Example:[/]
      alatau dead-letters show 17
    """

    async def show(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            letter = await _letter(connection, number)
        for name, value in (
            ("number", letter.dead_letter_id),
            ("arrived", letter.received_at.isoformat()),
            ("topic", letter.topic),
            ("device", letter.device or "not registered"),
            ("reason", letter.reason),
            ("detail", letter.detail),
            ("repeats", f"{letter.repeats:,}"),
            ("replayed", letter.replay_verdict or "no"),
        ):
            answers.print(f"{name:<9}{value}", markup=False, soft_wrap=True)
        answers.print(f"payload  {letter.payload!r}", markup=False, soft_wrap=True)

    asyncio.run(show(load_settings()))


@letters.command("replay")
def letters_replay(
    number: Annotated[
        int | None, typer.Argument(help="Number of the letter; else all that wait.", max=2**63 - 1)
    ] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only this reason.")] = None,
    device_id: Annotated[str | None, typer.Option("--device", help="Only this device.")] = None,
) -> None:
    """Feed refused messages again, after their cause was mended. A letter is fed as it arrived then.

    [dim]Examples:[/]
      alatau dead-letters replay 17
      alatau dead-letters replay --reason unknown_metric
    """

    async def replay(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            if number is not None:
                waiting = [number]
            else:
                await _require_device(connection, device_id)
                waiting = await waiting_letters(connection, reason=reason, device=device_id)
            if not waiting:
                answers.print("No dead letter waits.")
                return
            stored, refused = await _feed(settings, connection, waiting)
        answers.print(
            f"{len(waiting) - refused:,} accepted ({stored:,} readings stored), {refused:,} still refused"
        )

    asyncio.run(replay(load_settings()))


async def _require_device(connection: Connection, device_id: str | None) -> None:
    if device_id is not None and await find_device(connection, device_id) is None:
        raise CatalogueError(f"no device {device_id} is registered; see: alatau device list")


async def _letter(connection: Connection, number: int) -> StoredLetter:
    letter = await find_letter(connection, number)
    if letter is None:
        raise AlatauError(f"there is no dead letter {number}; see: alatau dead-letters list")
    return letter


async def _feed(settings: Settings, connection: asyncpg.Connection, waiting: list[int]) -> tuple[int, int]:
    """Feed letters, oldest first; return readings stored and letters refused again."""
    stored = refused = 0
    replay = await Replay.open(connection, Topics(settings.topic_root))
    with Steps(errors) as steps, steps.step("feeding dead letters again") as report:
        for done, number in enumerate(waiting, 1):
            verdict = await replay.feed(await _letter(connection, number))
            stored += verdict.stored
            refused += verdict.refused is not None
            report(f"{done:,} of {len(waiting):,}", done / len(waiting))
    return stored, refused
