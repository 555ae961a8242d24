"""A device's life: keeping it out and letting it in, a new secret, deleting it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from broker.admin import BrokerAdmin
from broker.secrets import generate_secret
from broker.snippets import Account, Language
from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.device_accounts import SnippetLanguage, print_account, told_broker
from cli.secrets import credential_of
from cli.settings import Settings, SettingsError, load_settings
from sensors.accounts import parse_grace, user_names
from sensors.errors import CatalogueError
from storage.audit import Event, record
from storage.devices import (
    Device,
    delete_device,
    disable_device,
    enable_device,
    find_device,
    hold_device,
)
from storage.kinds import Connection
from storage.rotations import replace_credential

DeviceId = Annotated[str, typer.Argument(metavar="ID", help="Its id.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (disable, enable, delete):
        app.command()(command)
    app.command("secret")(new_device_secret)


# A change of a device in the database, and the same at the broker.
Change = Callable[[Connection], Awaitable[object]]
Told = Callable[[BrokerAdmin], Awaitable[object]]


async def _change(
    settings: Settings, device_id: str, action: str, change: Change, told: Told, **detail: str
) -> Device:
    """Change a device in the database, on record, and at the broker: both or neither. Return what it was."""
    async with owner_connection(settings) as connection, told_broker(settings) as admin:
        async with connection.transaction():
            found = await find_device(connection, device_id)
            if found is None:
                raise CatalogueError(f"no device {device_id} is registered; see: alatau device list")
            await change(connection)
            await record(connection, [Event(user_name(), action, subject=device_id, detail=detail)])
            if admin is not None:
                await told(admin)
        return found


def disable(device_id: DeviceId) -> None:
    """Keep a device out of the broker. Its connection is cut at once; what it has sent stays.

    [dim]Example:[/]
      alatau device disable lamp-17
    """
    asyncio.run(
        _change(
            load_settings(),
            device_id,
            "disable device",
            lambda connection: disable_device(connection, device_id),
            lambda admin: admin.disable_device(device_id),
        )
    )
    answers.print(f"{device_id} is disabled", markup=False)


def enable(device_id: DeviceId) -> None:
    """Let a device in again, with the secret that it has.

    [dim]Example:[/]
      alatau device enable lamp-17
    """
    asyncio.run(
        _change(
            load_settings(),
            device_id,
            "enable device",
            lambda connection: enable_device(connection, device_id),
            lambda admin: admin.enable_device(device_id),
        )
    )
    answers.print(f"{device_id} is enabled", markup=False)


def delete(device_id: DeviceId) -> None:
    """Delete a device that never had a reading. One that had can only be disabled.

    [dim]Example:[/]
      alatau device delete lamp-17
    """

    async def change(connection: Connection) -> None:
        if not await delete_device(connection, device_id):
            raise CatalogueError(
                f"device {device_id} has, or had, readings, which belong to it; "
                f"keep it out: alatau device disable {device_id}"
            )

    asyncio.run(
        _change(
            load_settings(), device_id, "delete device", change, lambda admin: admin.delete_device(device_id)
        )
    )
    answers.print(f"{device_id} is deleted", markup=False)


def new_device_secret(
    device_id: DeviceId,
    grace: Annotated[
        str, typer.Option(help="For how long the old one stays good, such as P1D; at most P30D.")
    ] = "PT0S",
    language: SnippetLanguage = Language.SHELL,
) -> None:
    """Give a registered device a new secret and print it, once, with its user name.

    The old one stops working, and its connection ends: at once, or when the grace is over.

    [dim]Examples:[/]
      alatau device secret lamp-17
      alatau device secret lamp-17 --grace P1D
    """
    try:
        duration = parse_grace(grace)
    except ValueError as error:
        raise SettingsError(f"--grace: {error}") from None
    asyncio.run(_new_device_secret(load_settings(), device_id, duration, language))


async def _new_device_secret(
    settings: Settings, device_id: str, grace: dt.timedelta, language: Language
) -> None:
    secret, user, is_disabled = generate_secret(), device_id, False
    async with owner_connection(settings) as connection:
        catalogue = await load_applied(connection)

    async def change(connection: Connection) -> None:
        nonlocal user, is_disabled
        user = await replace_credential(connection, device_id, credential_of(secret), grace)
        held = await hold_device(connection, device_id)
        is_disabled = held is not None and held.disabled_at is not None

    async def tell(admin: BrokerAdmin) -> None:
        await admin.add_device(user, secret)
        if is_disabled:  # a new account is let in
            await admin.disable_device(device_id)
        if not grace:
            await admin.delete_accounts([name for name in user_names(device_id) if name != user])

    detail = {"grace": f"PT{grace.total_seconds():.0f}S"} if grace else {}
    found = await _change(settings, device_id, "replace secret", change, tell, **detail)
    kind = catalogue.kind_of[found.kind]
    print_account(settings, Account(device_id, user, secret, kind, found.interval_seconds), language)
