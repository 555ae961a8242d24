"""``gaps``: which numbered readings have not come, and which never will."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.table import Table

from cli.connections import owner_connection
from cli.console import answers
from cli.settings import Settings, load_settings
from sensors.errors import CatalogueError
from storage.devices import find_device
from storage.gaps import Gap, GapState, list_gaps


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Administration")(gaps)


def gaps(
    device: Annotated[str | None, typer.Option(help="Only this device.")] = None,
    state: Annotated[GapState | None, typer.Option(help="Only those open, or given up.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON array, for programs.")] = False,
) -> None:
    """List the numbers of readings that have not come: open gaps, and those that their device gave up.

    [dim]Examples:[/]
      alatau gaps
      alatau gaps --device lamp-17 --state open
      alatau gaps --json
    """
    found = asyncio.run(_load(load_settings(), device, state, limit))
    if as_json:
        answers.print(json.dumps([_shape(gap) for gap in found]), markup=False, soft_wrap=True)
        return
    answers.print(_table(found) if found else "No numbered reading is missing.")
    if len(found) == limit:
        answers.print(f"There may be more: --limit {limit * 10}, or --device ID")


async def _load(settings: Settings, device: str | None, state: GapState | None, limit: int) -> list[Gap]:
    async with owner_connection(settings) as connection:
        if device is not None and await find_device(connection, device) is None:
            raise CatalogueError(f"no device {device} is registered; see: alatau device list")
        return await list_gaps(connection, limit=limit, device=device, state=state)


def _shape(gap: Gap) -> dict[str, str | int]:
    return {
        "device": gap.device,
        "state": gap.state.value,
        "first": gap.first,
        "last": gap.last,
        "missing": gap.missing,
        "since": gap.since.isoformat(),
    }


def _table(found: list[Gap]) -> Table:
    table = Table("device", "state", "first", "last", "missing", "since", box=None)
    for gap in found:
        table.add_row(
            gap.device,
            gap.state.value,
            str(gap.first),
            str(gap.last),
            f"{gap.missing:,}",
            f"{gap.since:%Y-%m-%d %H:%M:%S}",
        )
    return table
