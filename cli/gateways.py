"""Gateways, which speak for devices in another format: adding one, listing them, keeping one out, removing one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from rich.table import Table

from broker.admin import BrokerAdmin
from broker.gateway_guides import GatewayAccount, guide
from broker.secrets import generate_secret
from broker.speech import Speech
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.device_accounts import broker_address, told_broker
from cli.secrets import credential_of
from cli.settings import Settings, SettingsError, load_settings
from cli.speeches import SPEECHES
from sensors.errors import CatalogueError, did_you_mean
from sensors.gateways import GATEWAY_NAME
from storage.audit import Event, record
from storage.gateways import (
    Gateway,
    add_gateway,
    disable_gateway,
    enable_gateway,
    hold_gateway,
    list_gateways,
    remove_gateway,
    replace_gateway_secret,
)
from storage.kinds import Connection

gateway = typer.Typer(
    no_args_is_help=True,
    help="Gateways that speak for devices in another format: add, list, keep out, remove.",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(gateway, name="gateway", rich_help_panel="Administration")


@gateway.command("add")
def add(
    name: Name,
    format_name: Annotated[str, typer.Option("--format", help="What it speaks, such as chirpstack.")],
) -> None:
    """Add a gateway, and print its account, once, with what to paste where it is set up.

    Whom it names is seen and not yet claimed: what is sent for them is kept, and stored when they are.

    [dim]Example:[/]
      alatau gateway add lora --format chirpstack
    """
    if not GATEWAY_NAME.fullmatch(name):
        raise SettingsError(f'"{name}" is no name of a gateway: 1 to 13 of a to z, 0 to 9, "-" between them')
    asyncio.run(_add(load_settings(), name, _speech(format_name)))


def _speech(format_name: str) -> Speech:
    of_gateways = {speech.name: speech for speech in SPEECHES if not speech.is_own}
    if format_name in of_gateways:
        return of_gateways[format_name]
    if any(speech.name == format_name for speech in SPEECHES):
        raise SettingsError(
            f'"{format_name}" needs no gateway: each device speaks it with its own account; see: alatau device add'
        )
    raise SettingsError(f'--format: "{format_name}" is not known; {did_you_mean(format_name, of_gateways)}')


async def _add(settings: Settings, name: str, speech: Speech) -> None:
    secret, who = generate_secret(), user_name()
    async with (
        owner_connection(settings) as connection,
        told_broker(settings) as admin,
        connection.transaction(),
    ):
        added = await add_gateway(connection, name, speech.name, credential_of(secret), who)
        if added is None:
            raise CatalogueError(f"there is a gateway {name} already; choose another name")
        await record(connection, [Event(who, "add gateway", subject=name, detail={"format": speech.name})])
        if admin is not None:
            await admin.add_device(added.user, secret)
    _print(settings, GatewayAccount(name, speech, secret))


def _print(settings: Settings, account: GatewayAccount) -> None:
    address = broker_address(settings)
    answers.print(
        f"gateway  {account.name}, {account.speech.name}\nbroker   {address.url}\nuser     {account.user}\n"
        f"client   {account.client_id}   (its client id; with another one it is not let in)\n"
        f"secret   {account.secret}   (shown once; only its hash is kept)\n",
        markup=False,
        soft_wrap=True,
    )
    answers.print(guide(address, account), markup=False, highlight=False, soft_wrap=True)


@gateway.command("list")
def show() -> None:
    """List gateways.

    [dim]Example:[/]
      alatau gateway list
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection:
            found = await list_gateways(connection)
        table = Table("name", "format", "user", "added", "by", "disabled", box=None)
        for one in found:
            disabled = f"{one.disabled_at:%Y-%m-%d %H:%M}" if one.disabled_at else "no"
            table.add_row(
                one.name, one.format, one.user, f"{one.created_at:%Y-%m-%d}", one.created_by, disabled
            )
        answers.print(table if found else "No gateways.")

    asyncio.run(run(load_settings()))


@gateway.command("secret")
def secret(name: Name) -> None:
    """Give a gateway a new secret, and print it, once. The old one is good no more, and its session ends.

    [dim]Example:[/]
      alatau gateway secret lora
    """

    async def run(settings: Settings) -> GatewayAccount:
        made = generate_secret()
        async with _changing(settings, name, "replace secret of gateway") as (connection, admin, found):
            await replace_gateway_secret(connection, name, credential_of(made))
            if admin is not None:
                await admin.add_device(found.user, made)
                if found.disabled_at is not None:
                    await admin.disable_accounts([found.user])
        return GatewayAccount(name, _speech(found.format), made)

    settings = load_settings()
    _print(settings, asyncio.run(run(settings)))


@gateway.command("disable")
def disable(name: Name) -> None:
    """Keep a gateway out of the broker until it is enabled again; its session ends.

    [dim]Example:[/]
      alatau gateway disable lora
    """

    async def run(settings: Settings) -> None:
        async with _changing(settings, name, "disable gateway") as (connection, admin, found):
            await disable_gateway(connection, name)
            if admin is not None:
                await admin.disable_accounts([found.user])

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is disabled", markup=False)


@gateway.command("enable")
def enable(name: Name) -> None:
    """Let a gateway in again.

    [dim]Example:[/]
      alatau gateway enable lora
    """

    async def run(settings: Settings) -> None:
        async with _changing(settings, name, "enable gateway") as (connection, admin, found):
            await enable_gateway(connection, name)
            if admin is not None:
                await admin.enable_accounts([found.user])

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is enabled", markup=False)


@gateway.command("remove")
def remove(name: Name) -> None:
    """Remove a gateway; its session ends. What it has sent stays, and so do the devices that it spoke for.

    [dim]Example:[/]
      alatau gateway remove lora
    """

    async def run(settings: Settings) -> None:
        async with _changing(settings, name, "remove gateway") as (connection, admin, found):
            await remove_gateway(connection, name)
            if admin is not None:
                await admin.delete_accounts([found.user])

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is removed", markup=False)


@asynccontextmanager
async def _changing(
    settings: Settings, name: str, action: str
) -> AsyncIterator[tuple[Connection, BrokerAdmin | None, Gateway]]:
    """Lend a gateway that is there, in the transaction in which the act is put on record."""
    async with (
        owner_connection(settings) as connection,
        told_broker(settings) as admin,
        connection.transaction(),
    ):
        found = await hold_gateway(connection, name)
        if found is None:
            raise CatalogueError(f"there is no gateway {name}; see: alatau gateway list")
        await record(connection, [Event(user_name(), action, subject=name)])
        yield connection, admin, found
