"""``retention``: how long what is kept, what is stored, and letting go what the policy says."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers, errors
from cli.settings import Settings, SettingsError, load_settings
from sensors.errors import CatalogueError, did_you_mean
from sensors.times import parse_duration
from storage.errors import BusyError
from storage.retention import (
    EVERY_KIND,
    Gone,
    KeptTier,
    Stored,
    apply_retention,
    list_stored,
    plan_retention,
    reset_policy,
    set_policy,
)

_FOR_EVER, _AS_OTHERS = "forever", "default"
retention = typer.Typer()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(retention, name="retention", rich_help_panel="Administration")


@retention.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """Show how long readings and rollups are kept, and what is stored of each kind.

    [dim]Examples:[/]
      alatau retention
      alatau retention set noise raw P14D
      alatau retention run --dry-run
    """
    if context.invoked_subcommand is None:
        asyncio.run(_show(load_settings()))


async def _show(settings: Settings) -> None:
    async with owner_connection(settings) as connection:
        catalogue = await load_applied(connection)
        stored = await list_stored(connection, [kind.name for kind in catalogue.kinds])
    answers.print(_stored_table(stored))
    answers.print(
        "* as every kind without a policy of its own. Rows are the database's estimates, - until it has made one."
    )


def _stored_table(stored: Sequence[Stored]) -> Table:
    table = Table("kind", "tier", "kept for", "rows", "size", "oldest", "gone before", box=None)
    for one in stored:
        table.add_row(
            one.kind,
            one.tier.value,
            _days(one.keep) + ("" if one.is_own else " *"),
            f"{one.rows:,}" if one.rows or one.oldest is None else "-",
            decimal(one.size),
            _time(one.oldest),
            _time(one.horizon),
        )
    return table


def _days(keep: dt.timedelta | None) -> str:
    return "ever" if keep is None else f"{keep / dt.timedelta(days=1):g} days"


def _time(time: dt.datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M}"


@retention.command("set")
def set_(
    kind: Annotated[str, typer.Argument(help="A kind, or '*' for all without a policy of their own.")],
    tier: Annotated[KeptTier, typer.Argument(help="Readings, or rollups of 5 minutes, an hour, a day.")],
    keep: Annotated[str, typer.Argument(help="Such as P30D; or forever; or default, as other kinds.")],
) -> None:
    """Set how long something is kept. It holds at once; what is too old goes within an hour.

    [dim]Examples:[/]
      alatau retention set '*' raw P30D
      alatau retention set noise 5m forever
      alatau retention set noise 5m default
    """
    asyncio.run(_set(load_settings(), kind, tier, keep))


async def _set(settings: Settings, kind: str, tier: KeptTier, keep: str) -> None:
    if kind == EVERY_KIND and keep == _AS_OTHERS:
        raise SettingsError("'*' is what the other kinds are kept by; say how long, such as P30D, or forever")
    duration = None if keep in (_FOR_EVER, _AS_OTHERS) else _duration(keep)
    async with owner_connection(settings) as connection:
        known = [EVERY_KIND, *(one.name for one in (await load_applied(connection)).kinds)]
        if kind not in known:
            raise CatalogueError(f'kind "{kind}" is not known; {did_you_mean(kind, known)}')
        if keep == _AS_OTHERS:
            await reset_policy(connection, kind, tier)
        else:
            await set_policy(connection, kind, tier, duration)
    said = "as of every other kind" if keep == _AS_OTHERS else f"for {_days(duration)}"
    whose = "every kind without a policy of its own" if kind == EVERY_KIND else kind
    answers.print(f"{tier.value} of {whose} is kept {said}", markup=False, soft_wrap=True)


def _duration(text: str) -> dt.timedelta:
    try:
        return dt.timedelta(microseconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{error}; or forever, or default") from None


@retention.command("run")
def run(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would go, its rows counted, and let nothing go.")
    ] = False,
) -> None:
    """Let go now what the policy says, as maintenance does every hour.

    Readings stay until the rollups hold them, whatever the policy says.

    [dim]Examples:[/]
      alatau retention run --dry-run
      alatau retention run
    """
    asyncio.run(_run(load_settings(), dry_run=dry_run))


async def _run(settings: Settings, *, dry_run: bool) -> None:
    act = plan_retention if dry_run else apply_retention
    gone: list[Gone] = []
    async with owner_connection(settings) as connection:
        for kind in (await load_applied(connection)).kinds:
            for tier in KeptTier:
                try:
                    gone += await act(connection, kind.name, tier)
                except BusyError as error:
                    errors.print(str(error), markup=False, soft_wrap=True)
    if not gone:
        answers.print("Nothing is older than it is kept.")
        return
    answers.print(_gone_table(gone))
    chunks = sum(one.start is not None for one in gone)
    rows, size = sum(one.rows for one in gone), decimal(sum(one.size for one in gone))
    answers.print(
        f"{'Would go' if dry_run else 'Gone'}: {chunks:,} chunks, {rows:,} rows"
        f"{'' if dry_run else ' (of chunks an estimate)'}, {size}"
    )


def _gone_table(gone: Sequence[Gone]) -> Table:
    table = Table("kind", "tier", "what", "from", "to", "rows", "size", box=None)
    for one in gone:
        table.add_row(
            one.kind,
            one.tier.value,
            one.place,
            _time(one.start),
            _time(one.stop),
            f"{one.rows:,}",
            decimal(one.size),
        )
    return table
