"""How ``top`` looks: what ``cli.top_frame`` has read, as a screen for a person."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cli.charts import sparkline
from cli.top_frame import age_of, span

_TREND = 20  # columns
_WIDE = 132  # columns from which tables stand beside each other
_AROUND = 9  # rows of titles, lines and gaps
_BEFORE_SENTENCE = 22  # columns of an alert
# A sign beside each colour, for those who see none.
_SIGNS = {
    "critical": ("● critical", "bold red"),
    "warning": ("▲ warning", "yellow"),
    "info": ("■ info", "cyan"),
}


def render(
    frame: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    size: tuple[int, int | None],
    now: dt.datetime,
) -> RenderableType:
    """Return the screen of a frame, of so many columns and rows, None for as many as it takes; ``history`` has the
    readings/s of kinds."""
    width, height = size
    kinds = len(frame["rates"]["kinds"])
    rates = _rates(frame["rates"], frame["habits"]["kinds"], history)
    spare = None if height is None else height - kinds - _AROUND
    tables: list[RenderableType]
    if width >= _WIDE:
        beside = Table.grid(padding=(0, 3), expand=True)
        beside.add_column(no_wrap=True)
        beside.add_column(ratio=1)
        beside.add_row(rates, _worst(frame, None if spare is None else max(kinds, 3)))
        tables = [beside]
    else:
        spare = None if spare is None else (spare - 3) // 2
        tables = [rates, Text(), _worst(frame, spare)]
    alerts = _alerts(frame["alerts"], width, spare, now)
    return Group(_headline(frame, now), Rule(style="dim"), alerts, Text(), *tables)


def _headline(frame: Mapping[str, Any], now: dt.datetime) -> Table:
    everything = frame["rates"]["all"]
    lag = everything["slowest_lag_p95_seconds"]
    age = age_of(frame["time"], now)
    bad = bool(frame["alerts"]) or bool(frame["habits"]["silent"])
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right")
    line.add_row(
        Text.assemble(
            (frame["city"], "bold"),
            "   ",
            ("▲ " if bad else "● ", "yellow" if bad else "green"),
            frame["sentence"],
        ),
        Text(f"{age:,.0f} s old" if frame["trouble"] else f"{now.astimezone():%H:%M:%S}", "dim"),
    )
    line.add_row(
        Text.assemble(
            (f"{everything['readings_per_second']:,.1f}", "bold cyan"),
            " readings/s   ",
            _share(frame["habits"]["completeness"]),
            " of those expected   ",
            f"lag p95 of the slowest kind {_seconds(lag)}",
        ),
        Text(),
    )
    if frame["trouble"]:
        line.add_row(Text(f"▲ {frame['trouble']}", "bold red"), Text())
    return line


def _table(title: str, *columns: str) -> Table:
    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )


def _rates(
    rates: Mapping[str, Any], completeness: Mapping[str, float | None], history: Mapping[str, Sequence[float]]
) -> Table:
    table = _table("Kinds, in the last minute; complete, in a quarter of an hour", "kind")
    for title in ("devices", "readings/s", "lag p50", "p95", "refused", "complete"):
        table.add_column(title, justify="right")
    table.add_column("trend")
    for one in rates["kinds"]:
        refused = one["refused_per_minute"]
        table.add_row(
            one["kind"],
            f"{one['devices']:,}",
            f"{one['readings_per_second']:,.2f}",
            _seconds(one["lag_seconds"]["p50"]),
            _seconds(one["lag_seconds"]["p95"]),
            Text(f"{refused:,}", "yellow" if refused else "dim"),
            _share(completeness.get(one["kind"])),
            Text(_trend(history.get(one["kind"], ())), "cyan"),
        )
    return table


def _trend(rates: Sequence[float]) -> str:
    # From nothing on, and with room above: what goes on as it was is a band, and no wall.
    return sparkline(rates, _TREND, within=(0.0, 1.5 * max(rates, default=0.0) or 1.0))


def _share(share: float | None) -> Text:
    if share is None:
        return Text("–", "dim")
    return Text(f"{share:.0%}", "" if share >= 0.9 else "yellow" if share >= 0.5 else "bold red")


def _alerts(alerts: Sequence[Mapping[str, Any]], width: int, lines: int | None, now: dt.datetime) -> Table:
    table = _table(f"Alerts, {len(alerts):,}", "severity", "for", "what")
    table.columns[2].ratio, table.expand = 1, True
    for number, one in enumerate(alerts):
        sign, colour = _SIGNS[one["severity"]]
        known = one["acknowledged"]
        said = Text.assemble(one["sentence"], (f"  (seen by {known['by']})" if known else "", "dim"))
        if lines is not None:
            lines -= math.ceil(said.cell_len / max(1, width - _BEFORE_SENTENCE))
            if lines < 1 and number:
                table.add_row("", "", Text(f"… and {len(alerts) - number:,} more", "dim"))
                break
        table.add_row(Text(sign, colour), span(age_of(one["since"], now)), said)
    if not alerts:
        table.add_row(Text("● none", "green"))
    return table


def _worst(frame: Mapping[str, Any], rows: int | None) -> Table:
    habits = frame["habits"]
    table = _table(f"Devices in trouble, {habits['troubled']:,} in a quarter of an hour", "device", "what")
    table.columns[0].no_wrap = True
    table.columns[1].overflow, table.columns[1].ratio = "ellipsis", 1
    table.columns[1].no_wrap = table.expand = True
    for one in habits["worst"][: None if rows is None else max(1, rows)]:
        table.add_row(one["device"], "; ".join(one["troubles"]))
    if not habits["worst"]:
        table.add_row(Text("● none", "green"))
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:,.0f} ms"
    return f"{value:,.1f} s" if value < 60 else span(value)
