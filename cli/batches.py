"""Batches of devices that register themselves: making one, listing them, revoking one."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Annotated

import typer
from rich.table import Table

from broker.secrets import generate_secret
from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.device_accounts import told_broker
from cli.secrets import credential_of
from cli.settings import Settings, SettingsError, load_settings
from sensors.claims import BATCH_NAME, MOST_PLACES, batch_users, parse_life
from sensors.errors import CatalogueError, did_you_mean
from storage.audit import Event, record
from storage.claims import add_batch, find_batch, list_batches, revoke_batch

batch = typer.Typer(
    no_args_is_help=True, help="Batches of devices that register themselves: add, list, revoke."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(batch, name="batch", rich_help_panel="Administration")


@batch.command("add")
def add(
    name: Name,
    kind: Annotated[str, typer.Option(help="What its devices measure; see /api/v1/kinds.")],
    district: Annotated[str, typer.Option(help="Where they stand; see /api/v1/districts.")],
    count: Annotated[int, typer.Option(min=1, max=MOST_PLACES, help="How many may be claimed.")],
    lasting: Annotated[str, typer.Option("--for", help="For how long, such as P7D.")],
) -> None:
    """Make a batch and print its token, once: with it, so many devices register themselves.

    [dim]Example:[/]
      alatau batch add lamps-2026 --kind street_light --district golden --count 500 --for P7D
    """
    if not BATCH_NAME.fullmatch(name):
        raise SettingsError(f'"{name}" is no name of a batch: 1 to 32 of a to z, 0 to 9, "-" between them')
    try:
        life = parse_life(lasting)
    except ValueError as error:
        raise SettingsError(f"--for: {error}") from None
    asyncio.run(_add(load_settings(), name, (kind, district), count, life))


async def _add(
    settings: Settings, name: str, device: tuple[str, str], count: int, life: dt.timedelta
) -> None:
    token, (kind, district) = generate_secret(), device
    async with owner_connection(settings) as connection, told_broker(settings) as admin:
        catalogue = await load_applied(connection)
        for what, value, valid in (
            ("kind", kind, catalogue.kind_of),
            ("district", district, catalogue.district_of),
        ):
            if value not in valid:
                raise CatalogueError(f'{what} "{value}" is not known; {did_you_mean(value, valid)}')
        async with connection.transaction():
            if not await add_batch(connection, name, device, count, life, credential_of(token), user_name()):
                raise CatalogueError(f"there is a batch {name} already; choose another name")
            detail = {"kind": kind, "district": district, "count": count}
            await record(connection, [Event(user_name(), "add batch", subject=name, detail=detail)])
            if admin is not None:
                await admin.add_devices([(user, token) for user in batch_users(name)])
    users = batch_users(name)
    answers.print(
        f"batch  {name}\nusers  {users[0]} to {users[-1]}\ntoken  {token}   (shown once; only its hash is kept)",
        markup=False,
    )


@batch.command("list")
def show() -> None:
    """List batches, the newest first, those that are over, too.

    [dim]Example:[/]
      alatau batch list
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            found = await list_batches(connection)
        table = Table("name", "kind", "district", "claimed", "state", "until", box=None)
        for one in found:
            claimed, until = f"{one.used:,} of {one.places:,}", f"{one.expires_at:%Y-%m-%d %H:%M}"
            table.add_row(one.name, one.kind, one.district, claimed, one.state.value, until)
        answers.print(table)

    asyncio.run(run(load_settings()))


@batch.command("revoke")
def revoke(name: Name) -> None:
    """Let nobody claim with a batch any more, at once. Devices that were claimed stay.

    [dim]Example:[/]
      alatau batch revoke lamps-2026
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, told_broker(settings) as admin:
            if await find_batch(connection, name) is None:
                raise CatalogueError(f"there is no batch {name}; see: alatau batch list")
            async with connection.transaction():
                await revoke_batch(connection, name)
                await record(connection, [Event(user_name(), "revoke batch", subject=name)])
                if admin is not None:
                    await admin.delete_accounts(batch_users(name))

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is revoked", markup=False)
