"""The table of ``ingest --status``, made of what ``cli.ingest_status`` observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


def render(observed: dict[str, Any]) -> Group:
    """Return the table: a column for each worker, and one of all where there are several."""
    workers = observed["workers"]
    answering = [each for each in workers if each["answers"]]
    columns = [*answering, observed["all"]] if len(answering) > 1 else answering
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    for column in columns:
        table.add_column(column.get("worker") or column["place"], justify="right")
    for title, cells in _rows(columns):
        table.add_row(title, *cells)
    return Group(*(_headline(each) for each in workers), Text(), table)


def _headline(worker: dict[str, Any]) -> Text:
    if not worker["answers"]:
        return Text.assemble(("● ", "red"), (f"{worker['place']}  ", "bold"), "no answer")
    colour = {"receiving": "green", "draining": "yellow"}.get(worker["status"], "red")
    return Text.assemble(
        ("● ", colour),
        (f"{worker['worker']}  ", "bold"),
        worker["state"],
        (f"   {worker['place']}", "dim"),
    )


def _rows(columns: Sequence[dict[str, Any]]) -> list[tuple[str, list[Text | str]]]:
    reasons = sorted({reason for each in columns for reason in each["dead_letters"]["by_reason"]})
    nothing = {"total": 0, "rate": 0.0}
    rows: list[tuple[str, list[Text | str]]] = [
        ("broker", [_yes_no(each["broker"]["connected"], "connected", "away") for each in columns]),
        ("  backlog", [_number(each["broker"]["backlog"], "unknown") for each in columns]),
        ("  sessions lost", [_alarm(each["broker"]["sessions_lost"]) for each in columns]),
        ("database", [_yes_no(each["database"]["available"], "available", "away") for each in columns]),
        ("  commits repeated", [_number(each["database"]["commit_retries"]) for each in columns]),
        ("", [""] * len(columns)),
        ("messages received", [_count(each["received"]) for each in columns]),
        ("  in flight", [_number(each["in_flight"]) for each in columns]),
        ("readings stored", [_count(each["stored"]) for each in columns]),
        ("  merged", [_count(each["merged"]) for each in columns]),
        ("  duplicate", [_count(each["duplicate"]) for each in columns]),
        ("dead letters", [_count(each["dead_letters"]) for each in columns]),
    ]
    rows += [
        (f"  {reason}", [_count(each["dead_letters"]["by_reason"].get(reason, nothing)) for each in columns])
        for reason in reasons
    ]
    return [
        *rows,
        ("", [""] * len(columns)),
        ("p50 · p95", [""] * len(columns)),
        ("  batch, messages", [_pair(each["cut_messages"], _plain) for each in columns]),
        ("  commit", [_pair(each["commit_seconds"], _seconds) for each in columns]),
        ("  lag, end to end", [_pair(each["lag_seconds"], _seconds) for each in columns]),
        ("", [""] * len(columns)),
        ("memory", [f"{each['memory_bytes'] / 2**20:,.0f} MiB" for each in columns]),
        ("CPU", [f"{each['cpu']:.0%}" for each in columns]),
    ]


def _yes_no(value: object, yes: str, no: str) -> Text:
    return Text(yes, "green") if value else Text(no, "bold red")


def _number(value: int | None, unknown: str = "") -> Text:
    return Text(unknown, "dim") if value is None else Text(f"{value:,}")


def _alarm(value: int) -> Text:
    return Text(f"{value:,}", "bold red" if value else "")


def _count(counted: dict[str, Any]) -> Text:
    return Text.assemble(
        f"{counted['total']:,}", (f"{counted['rate']:>9,.0f}/s", "cyan" if counted["rate"] else "dim")
    )


def _pair(quantiles: dict[str, float | None], written: Callable[[float], str]) -> Text:
    values = [written(value) for value in (quantiles["p50"], quantiles["p95"]) if value is not None]
    return Text(" · ".join(values)) if values else Text("–", "dim")


def _plain(value: float) -> str:
    return f"{math.ceil(value):,}"


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:,.1f} ms" if value < 0.1 else f"{value * 1000:,.0f} ms"
    return f"{value:,.1f} s" if value < 120 else f"{value / 60:,.0f} min"
