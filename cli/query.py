"""``query``: aggregates of the API, as a table and small charts in the terminal."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.api_client import api_client
from cli.charts import sparkline
from cli.console import answers, errors
from cli.settings import load_settings

_WIDEST_CHART = 60
_BESIDE_CHART = 70  # columns of the terminal for everything else of the row
_MOST_COLUMNS = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Analysis")(query)


def query(
    metric: Annotated[list[str], typer.Argument(help="One or several, such as pm2_5.")],
    start: Annotated[str, typer.Option(help="RFC 3339 with zone, or from now such as -PT6H.")] = "-PT24H",
    end: Annotated[str, typer.Option(help="Not part of the range itself.")] = "now",
    step: Annotated[str, typer.Option(help="Buckets: PT5M, PT1H, P1D, P1W, P1M, …; or auto.")] = "auto",
    agg: Annotated[str, typer.Option(help="Aggregates, separated by commas; the first is drawn.")] = "avg",
    group_by: Annotated[str, typer.Option(help="none, district, kind or device.")] = "none",
    kind: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    district: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    tz: Annotated[str | None, typer.Option(help="IANA zone of the buckets; else the city's.")] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many buckets to list, the newest.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="The API's own answer, for programs.")] = False,
) -> None:
    """Ask the API for aggregates over buckets of time; each series is a line of a table, with a small chart.

    The API is that of ALATAU_API_URL and ALATAU_API_KEY, else the one that `up` started.

    [dim]Examples:[/]
      alatau query pm2_5
      alatau query pm2_5 --group-by district --step PT1H --start -PT12H
      alatau query temperature humidity --kind weather --agg avg,max --start -P7D
      alatau query laeq --district gate --json
    """
    parameters = {
        "metric": metric,
        "start": start,
        "end": end,
        "step": step,
        "agg": agg,
        "group_by": group_by,
        "kind": kind or [],
        "district": district or [],
        "device": device or [],
        **({"tz": tz} if tz else {}),
    }
    with api_client(load_settings()) as api:
        answer = api.get("series", parameters)
    if as_json:
        answers.print(json.dumps(answer, ensure_ascii=False), markup=False, soft_wrap=True)
        return
    _show(answer, [one.strip() for one in agg.split(",") if one.strip()], rows)


def _show(answer: Mapping[str, Any], aggregates: Sequence[str], rows: int) -> None:
    series = answer["groups"]
    answers.print(
        f"{answer['start']} to {answer['end']}, step {answer['step']}, {answer['tz']}", markup=False
    )
    if series:
        answers.print(_overview(series, aggregates[0]))
        if rows and len(series) * len(aggregates) <= _MOST_COLUMNS:
            answers.print(_buckets(series, aggregates, rows))
    for warning in answer["warnings"]:
        errors.print(f"note: {warning}", markup=False, soft_wrap=True)


def _overview(series: Sequence[Mapping[str, Any]], aggregate: str) -> Table:
    width = max(12, min(_WIDEST_CHART, answers.width - _BESIDE_CHART))
    table = Table("series", "unit", f"{aggregate} over time", box=None)
    for title in ("lowest", "highest", "newest", "values"):
        table.add_column(title, justify="right")
    for one in series:
        values = one[aggregate]
        present = [value for value in values if value is not None]
        table.add_row(
            _name(one),
            str(one["unit"]),
            f"[cyan]{sparkline(values, width)}[/]",
            *(_number(value) for value in (_lowest(present), _highest(present), _newest(present))),
            f"{sum(one['count']):,}",
        )
    return table


def _name(series: Mapping[str, Any]) -> str:
    return " ".join([series["metric"], *map(str, series["group"].values())])


def _lowest(values: Sequence[float]) -> float | None:
    return min(values, default=None)


def _highest(values: Sequence[float]) -> float | None:
    return max(values, default=None)


def _newest(values: Sequence[float]) -> float | None:
    return values[-1] if values else None


def _buckets(series: Sequence[Mapping[str, Any]], aggregates: Sequence[str], rows: int) -> Table:
    """Return the newest buckets, a column for each series and aggregate."""
    table = Table("bucket", box=None)
    columns = [(one, aggregate) for one in series for aggregate in aggregates]
    for one, aggregate in columns:
        table.add_column(f"{_name(one)} {aggregate}", justify="right")
    starts = series[0]["start"]
    for place in range(max(0, len(starts) - rows), len(starts)):
        time = dt.datetime.fromisoformat(starts[place])
        table.add_row(
            f"{time:%Y-%m-%d %H:%M:%S}", *(_number(one[aggregate][place]) for one, aggregate in columns)
        )
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
