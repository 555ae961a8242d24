"""Looking after the city: catalogue, dead letters."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Annotated

import asyncpg
import typer
from rich.table import Table

from cli.connections import owner_connection
from cli.console import Steps, answers, errors, shown
from cli.settings import Settings, load_settings
from ingest.replay import Replay
from sensors.catalogue import Catalogue, builtin_file, read_city_file
from sensors.checks import Reason
from sensors.errors import AlatauError, CatalogueError
from sensors.topics import Topics
from storage.catalogue import apply_city_file, load_catalogue
from storage.dead_letters import StoredLetter, find_letter, list_letters, waiting_letters
from storage.devices import find_device
from storage.kinds import Connection

catalog = typer.Typer(no_args_is_help=True, help="Which kinds, metrics and districts there are.")
letters = typer.Typer(no_args_is_help=True, help="Refused messages: look, mend the cause, feed them again.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, group in (("catalog", catalog), ("dead-letters", letters)):
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
                shown(letter.topic),
                letter.reason,
                shown(letter.detail),
                f"{letter.repeats:,}",
                shown(letter.replay_verdict or ""),
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
