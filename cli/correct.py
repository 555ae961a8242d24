"""``correct``: delete or amend stored readings, with a reason that stays on record."""

from __future__ import annotations

import asyncio
import dataclasses
import getpass
import math
import os
import time
from typing import Annotated

import typer

from api.parameters import parse_range
from cli.administration import load_applied
from cli.connections import owner_connection
from cli.console import answers
from cli.settings import Settings, SettingsError, load_settings
from sensors.errors import CatalogueError, did_you_mean
from storage.corrections import (
    Action,
    Corrected,
    Correction,
    Delete,
    Replace,
    Rescale,
    correct,
    try_correction,
)
from storage.devices import find_device

correct_ = typer.Typer(no_args_is_help=True, help="Delete or amend stored readings, on record.")

_Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Its id.")]
_Start = Annotated[str, typer.Option(help="RFC 3339 with zone, or from now such as -PT6H.")]
_End = Annotated[str, typer.Option(help="Likewise; not part of the range itself.")]
_Why = Annotated[str, typer.Option(help="The reason, for the record.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(correct_, name="correct", rich_help_panel="Administration")


@correct_.command("delete")
def delete(
    device: _Device,
    start: _Start,
    end: _End,
    why: _Why,
    metric: Annotated[str | None, typer.Option(help="Only its values; else whole readings.")] = None,
    dry_run: _DryRun = False,
) -> None:
    """Delete readings of a device, or the values of one metric. A reading left without any value goes, too.

    [dim]Examples:[/]
      alatau correct delete lamp-17 --start 2026-01-01T00:00:00Z --end 2026-01-02T00:00:00Z --why "test run" --dry-run
      alatau correct delete air-9 --start -PT6H --end now --metric pm2_5 --why "the sensor was being cleaned"
    """
    _correct(Range(device, start, end), why, Delete(metric), is_forced=False, dry_run=dry_run)


@correct_.command("amend")
def amend(
    device: _Device,
    start: _Start,
    end: _End,
    metric: Annotated[str, typer.Option(help="Whose values are amended.")],
    why: _Why,
    set_: Annotated[float | None, typer.Option("--set", help="What each value becomes.")] = None,
    scale: Annotated[float | None, typer.Option(help="Each value becomes scale · value + offset.")] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also values that are not plausible.")] = False,
    dry_run: _DryRun = False,
) -> None:
    """Amend the values of one metric of a device. Readings that have none get none.

    [dim]Examples:[/]
      alatau correct amend air-9 --start -P1D --end now --metric temperature --offset -1.5 --why "calibration"
      alatau correct amend lamp-17 --start -PT6H --end now --metric power --set 0 --why "was off"
    """
    action = _amendment(metric, set_, scale, offset)
    _correct(Range(device, start, end), why, action, is_forced=force, dry_run=dry_run)


def _amendment(metric: str, value: float | None, scale: float | None, offset: float | None) -> Action:
    if not all(math.isfinite(number) for number in (value, scale, offset) if number is not None):
        raise SettingsError("--set, --scale and --offset take finite numbers")
    if value is not None and scale is None and offset is None:
        return Replace(metric, value)
    if value is None and (scale is not None or offset is not None):
        return Rescale(metric, 1.0 if scale is None else scale, offset or 0.0)
    raise SettingsError("give either --set, or --scale, --offset or both")


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Whose readings, from when to when, as it was written."""

    device: str
    start: str
    end: str


def _correct(range_: Range, why: str, action: Action, *, is_forced: bool, dry_run: bool) -> None:
    if not why.strip():
        raise SettingsError("--why: say the reason; it stays on record")
    start, end = parse_range(range_.start, range_.end, time.time_ns() // 1000)
    correction = Correction(range_.device, start, end, action, who=user_name(), why=why, is_forced=is_forced)
    done = asyncio.run(_make(load_settings(), correction, dry_run=dry_run))
    counts = f"{done.changed:,} readings changed, {done.deleted:,} deleted"
    if done.number is None:
        answers.print("Nothing to change.")
    elif dry_run:
        answers.print(f"Would be: {counts}")
    else:
        answers.print(f"Correction {done.number}: {counts}")


async def _make(settings: Settings, correction: Correction, *, dry_run: bool) -> Corrected:
    async with owner_connection(settings) as connection:
        catalogue = await load_applied(connection)
        device = await find_device(connection, correction.device)
        if device is None:
            raise CatalogueError(f"no device {correction.device} is registered; see: alatau device list")
        kind = catalogue.kind_of[device.kind]
        metric = correction.action.metric
        if metric is not None and metric not in kind.index:
            raise CatalogueError(
                f'{kind.name} has no metric "{metric}"; {did_you_mean(metric, kind.columns)}'
            )
        return await (try_correction if dry_run else correct)(connection, kind, correction)


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number only
        return f"user {os.getuid()}"
