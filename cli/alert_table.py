"""What is wrong in the city now, as a table."""

from __future__ import annotations

import asyncio
import json

from rich.markup import escape
from rich.table import Table

from cli.connections import owner_connection
from cli.console import answers
from cli.settings import Settings
from storage.alerts import AlertFilter, AlertState, Severity, StoredAlert, list_worst_alerts

_NOW = AlertFilter(states=(AlertState.PENDING, AlertState.FIRING, AlertState.ACKNOWLEDGED))
_MOST = 1000
_STYLE = {Severity.INFO: "", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}


def show_alerts(settings: Settings, *, as_json: bool) -> None:
    """Print the alerts that are not over, the worst first, then the newest. Raises StorageError, SettingsError."""
    found = asyncio.run(_load(settings))
    if as_json:
        answers.print(json.dumps([_shape(one) for one in found]), markup=False, soft_wrap=True)
        return
    if not found:
        answers.print("No alert: nothing is known to be wrong.")
        return
    table = Table("id", "severity", "state", "since", "what", box=None)
    for one in found:
        since, style = f"{one.since:%Y-%m-%d %H:%M}", _STYLE[one.severity]
        table.add_row(
            str(one.id), one.severity.value, one.state.value, since, escape(one.sentence), style=style
        )
    answers.print(table)
    if len(found) == _MOST:
        answers.print("There are more; ask the API: GET /api/v1/alerts?sort=worst")


async def _load(settings: Settings) -> list[StoredAlert]:
    async with owner_connection(settings) as connection:
        return await list_worst_alerts(connection, _NOW, limit=_MOST)


def _shape(alert: StoredAlert) -> dict[str, object]:
    return {
        "id": str(alert.id),
        "rule": alert.rule,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "since": alert.since.isoformat(),
        "device": alert.device,
        "district": alert.district,
        "sentence": alert.sentence,
    }
