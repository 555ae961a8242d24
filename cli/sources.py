"""Devices that speak another firmware's format: who was seen, claiming one as a device, and giving it free again."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from cli.connections import owner_connection
from cli.console import Steps, answers, errors, shown
from cli.correct import user_name
from cli.settings import Settings, load_settings
from ingest.decoders.table import FORMATS, NAMES
from ingest.kept import store_kept
from sensors.errors import AlatauError, did_you_mean
from sensors.topics import Topics
from storage.audit import Event, record
from storage.kept import KEPT_TURN, count_kept
from storage.turns import take_turn
from storage.wire_sources import Source, claim_source, list_sources, release_source

source = typer.Typer(
    no_args_is_help=True, help="Devices of other formats: who was seen, claim one, release it."
)
Format = Annotated[
    str, typer.Argument(metavar="FORMAT", help="Such as chirpstack; alatau source formats lists them.")
]
Name = Annotated[str, typer.Argument(metavar="SOURCE", help="How the format names the device.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(source, name="source", rich_help_panel="Administration")


@source.command("formats")
def formats() -> None:
    """List the formats that are understood, and their topics.

    [dim]Example:[/]
      alatau source formats
    """
    table = Table("format", "is", "topics", box=None)
    for one in FORMATS:
        table.add_row(one.name, one.title, " ".join(one.patterns))
    answers.print(table)


@source.command("list")
def show(
    claimed: Annotated[
        bool | None,
        typer.Option("--claimed/--unclaimed", help="Only those that are, or are not, a device's."),
    ] = None,
    wire_format: Annotated[str | None, typer.Option("--format", help="Only of this format.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
) -> None:
    """List who speaks another format, with what those that nobody has claimed said last.

    [dim]Examples:[/]
      alatau source list --unclaimed
      alatau source list --format chirpstack
    """

    if wire_format is not None:
        _require_known(wire_format)

    async def run(settings: Settings) -> list[Source]:
        async with owner_connection(settings) as connection:
            return await list_sources(connection, claimed=claimed, wire_format=wire_format, limit=limit)

    found = asyncio.run(run(load_settings()))
    table = Table("format", "source", "device", "profile", "last seen unclaimed", "said", box=None)
    for one in found:
        said = ", ".join(f"{name} {value:g}" for name, (value, _) in list(one.fields.items())[:6])
        seen = f"{one.last_seen:%Y-%m-%d %H:%M:%S}Z"
        table.add_row(
            one.format,
            shown(one.name),  # whatever a gateway calls it is no markup
            one.device or "[yellow]unclaimed[/]",
            one.profile or "",
            seen,
            shown(said),
        )
    answers.print(table if found else "Nobody was seen yet.")


@source.command("claim")
def claim(
    wire_format: Format,
    name: Name,
    device: Annotated[str, typer.Option(help="The registered device that it is.")],
    profile: Annotated[
        str | None,
        typer.Option(
            help="Which field is which metric; without it, the one called FORMAT-KIND, or else by their names."
        ),
    ] = None,
) -> None:
    """Make a source a device's: what it sends becomes readings, and what was kept of it is stored now.

    [dim]Examples:[/]
      alatau source claim chirpstack 24e124aa00000007 --device air-7 --profile milesight-am300
      alatau source claim senml air-7 --device air-7
    """
    asyncio.run(_claim(load_settings(), wire_format, name, device, profile))


async def _claim(settings: Settings, wire_format: str, name: str, device: str, profile: str | None) -> None:
    _require_known(wire_format)
    async with owner_connection(settings) as connection:
        # Before the claim: ingest, which hears of it, then leaves to us what was kept, and we can say what came of it.
        is_ours = await take_turn(connection, KEPT_TURN)
        async with connection.transaction():
            await claim_source(connection, wire_format, name, device, profile)
            detail = {"format": wire_format, "device": device, "profile": profile}
            await record(connection, [Event(user_name(), "claim source", subject=name, detail=detail)])
        kept = await count_kept(connection, wire_format, name)
        if not is_ours:
            answers.print(
                f"{wire_format} {name} is {device} now; ingest is storing the {kept:,} messages that were kept",
                markup=False,
            )
            return
        with Steps(errors) as steps, steps.step("storing what was kept") as report:
            stored = await store_kept(
                connection,
                Topics(settings.topic_root),
                lambda read: report(f"{read:,} of {kept:,} messages", min(1.0, read / max(kept, 1))),
            )
    answers.print(
        f"{wire_format} {name} is {device} now; {stored:,} readings that were kept are stored", markup=False
    )


def _require_known(wire_format: str) -> None:
    if wire_format not in NAMES:
        raise AlatauError(f"no format {wire_format!r} is understood; {did_you_mean(wire_format, NAMES)}")


@source.command("release")
def release(wire_format: Format, name: Name) -> None:
    """Make a source nobody's: what it sends from then on is kept as unclaimed.

    [dim]Example:[/]
      alatau source release chirpstack 24e124aa00000007
    """

    async def run(settings: Settings) -> str | None:
        async with owner_connection(settings) as connection, connection.transaction():
            device = await release_source(connection, wire_format, name)
            if device is not None:
                detail = {"format": wire_format, "device": device}
                await record(connection, [Event(user_name(), "release source", subject=name, detail=detail)])
            return device

    if asyncio.run(run(load_settings())) is None:
        raise AlatauError(f"{wire_format} {name} is no device's; alatau source list shows who is")
    answers.print(f"{wire_format} {name} is released", markup=False)
