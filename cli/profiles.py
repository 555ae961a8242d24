"""Profiles of device models: listing them, one of them, applying a file, removing one."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers
from cli.correct import user_name
from cli.settings import Settings, load_settings
from ingest.decoders.table import NAMES
from sensors.errors import did_you_mean
from sensors.profiles import ProfileError, ProfileFile, check_profile, read_profiles
from storage.alert_rules import Origin
from storage.audit import Event, record
from storage.kinds import Connection
from storage.profiles import (
    ProfileVersion,
    StoredProfile,
    delete_profile,
    find_profile,
    hold_profile,
    list_profiles,
    list_versions,
    put_profile,
)

profile = typer.Typer(
    no_args_is_help=True, help="Which field of a device model is which metric: list, apply a file."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(profile, name="profile", rich_help_panel="Administration")


@profile.command("list")
def show() -> None:
    """List all profiles.

    [dim]Example:[/]
      alatau profile list
    """

    async def run(settings: Settings) -> list[StoredProfile]:
        async with owner_connection(settings) as connection:
            return await list_profiles(connection)

    found = asyncio.run(run(load_settings()))
    table = Table("name", "format", "kind", "version", "sources", "is", box=None)
    for one in found:
        said = one.profile
        table.add_row(
            said.name, said.format, said.kind, str(one.version), str(one.sources), escape(said.title)
        )
    answers.print(
        table if found else "There is no profile yet; alatau profile apply FILE adds those of a file."
    )


@profile.command("show")
def show_one(name: Name) -> None:
    """Print a profile as a file has it, to be changed and applied.

    [dim]Example:[/]
      alatau profile show milesight-am300 > mine.toml
    """

    async def run(settings: Settings) -> StoredProfile:
        async with owner_connection(settings) as connection:
            return await _find(connection, name)

    stored = asyncio.run(run(load_settings()))
    text = msgspec.toml.encode(ProfileFile((stored.profile,))).decode()
    answers.print(text, markup=False, soft_wrap=True)


@profile.command("versions")
def versions(name: Name) -> None:
    """List the versions of a profile, the newest first: when it was changed, by whom, and what it was from then on.

    [dim]Example:[/]
      alatau profile versions milesight-am300
    """

    async def run(settings: Settings) -> list[ProfileVersion]:
        async with owner_connection(settings) as connection:
            found = await list_versions(connection, name)
            if not found:
                await _find(connection, name)
            return found

    table = Table("version", "since", "by", "fields", box=None)
    for one in asyncio.run(run(load_settings())):
        fields = ", ".join(f"{field.metric}={field.field}" for field in one.profile.fields)
        since = f"{one.changed_at:%Y-%m-%d %H:%M:%S}Z"
        table.add_row(str(one.version), since, escape(one.changed_by), escape(fields))
    answers.print(table)


@profile.command("apply")
def apply(
    file: Annotated[
        pathlib.Path, typer.Argument(metavar="FILE", help=r"TOML, \[\[profile]] after \[\[profile]].")
    ],
) -> None:
    """Add and change profiles as a file says; others stay as they are. What comes from then on is read so.

    [dim]Example:[/]
      alatau profile apply mine.toml
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ProfileError(
            f"{file}: {error.strerror or error}; give the path of a TOML file of profiles"
        ) from error
    profiles = read_profiles(text, str(file))

    async def run(settings: Settings) -> int:
        async with owner_connection(settings) as connection, connection.transaction():
            catalogue = await load_applied(connection)
            for one in profiles:
                check_profile(one, catalogue, NAMES)
            changed = [
                one for one in profiles if await put_profile(connection, one, Origin.FILE, user_name())
            ]
            acts = [
                Event(
                    user_name(),
                    "put profile",
                    subject=one.name,
                    detail={"format": one.format, "kind": one.kind},
                )
                for one in changed
            ]
            await record(connection, acts)
            return len(changed)

    answers.print(f"{asyncio.run(run(load_settings()))} of {len(profiles)} profiles are new or changed")


@profile.command("remove")
def remove(name: Name) -> None:
    """Remove a profile that no source uses.

    [dim]Example:[/]
      alatau profile remove mine
    """

    async def run(settings: Settings) -> None:
        async with owner_connection(settings) as connection, connection.transaction():
            await hold_profile(connection, name)
            stored = await _find(connection, name)
            if stored.origin is Origin.BUILTIN:
                raise ProfileError(
                    f"the profile {name} comes with Alatau and would be back; leave it, or change it"
                )
            if stored.sources:
                raise ProfileError(
                    f"{stored.sources} sources use the profile {name}; claim them with another one first"
                )
            await delete_profile(connection, name)
            await record(connection, [Event(user_name(), "delete profile", subject=name)])

    asyncio.run(run(load_settings()))
    answers.print(f"{name} is removed", markup=False)


async def _find(connection: Connection, name: str) -> StoredProfile:
    stored = await find_profile(connection, name)
    if stored is None:
        names = [one.profile.name for one in await list_profiles(connection)]
        raise ProfileError(f"there is no profile {name}; {did_you_mean(name, names)}")
    return stored
