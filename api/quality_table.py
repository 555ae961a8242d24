"""The quality of devices' readings as a table: a row for each device, district or kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.tables import Column, Table, Type, in_memory, of_rows
from storage.expected import By

_MEASURES = (
    Column("devices", Type.INTEGER),
    Column("silent", Type.INTEGER),
    Column("expected", Type.INTEGER),
    Column("received", Type.INTEGER),
    Column("completeness", Type.NUMBER, "1"),
    Column("lag_seconds_p50", Type.NUMBER, "s"),
    Column("lag_seconds_p95", Type.NUMBER, "s"),
    Column("clock_ahead_median_seconds", Type.NUMBER, "s"),
    Column("clock_ahead_share", Type.NUMBER, "1"),
    Column("dead_letters", Type.INTEGER),
    Column("missing_numbers_open", Type.INTEGER),
    Column("missing_numbers_abandoned", Type.INTEGER),
    Column("frozen_devices", Type.INTEGER),
    Column("last_age_seconds", Type.NUMBER, "s"),
)


def quality_table(by: By, groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return groups, as the JSON answer describes them, as a table. Dead letters are those of all reasons together,
    so that a new reason changes no columns."""
    columns = (Column(by.value, Type.TEXT), *_MEASURES)
    rows = [_row(group["group"][by.value], group) for group in groups]
    return Table("quality", columns, in_memory([of_rows(rows, columns)]))


def _row(name: str, group: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        name,
        group["devices"],
        group["silent"],
        group["expected"],
        group["received"],
        group["completeness"],
        group["lag_seconds"]["p50"],
        group["lag_seconds"]["p95"],
        group["clock_ahead"]["median_seconds"],
        group["clock_ahead"]["share"],
        sum(group["dead_letters"].values()),
        group["missing_numbers"]["open"],
        group["missing_numbers"]["abandoned"],
        group["frozen_devices"],
        group["last_age_seconds"],
    )
