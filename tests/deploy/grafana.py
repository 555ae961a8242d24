"""Dashboards as Grafana reads them: what it puts in for the macros of its PostgreSQL source, and for variables."""

from __future__ import annotations

import datetime as dt
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.deploy.composed import PROJECT

DIRECTORY = PROJECT / "deploy/grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((DIRECTORY / "dashboards").glob("*.json"))
}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+):(?P<format>raw|sqlstring)\}")
_MACRO = re.compile(r"\$__(?P<name>\w+)\((?P<arguments>[^()]*)\)")
_STEP_SECONDS = 300.0


def expand(sql: str, variables: Mapping[str, str], start: dt.datetime, end: dt.datetime) -> str:
    """Return the statement that the database is asked. Raises KeyError for what Grafana would leave as it is."""

    def variable(match: re.Match[str]) -> str:
        value = variables[match["name"]]
        return value if match["format"] == "raw" else "'" + value.replace("'", "''") + "'"

    def macro(match: re.Match[str]) -> str:
        first = match["arguments"].split(",")[0].strip()
        bucket = f"time_bucket('{_STEP_SECONDS:.3f}s',{first})"
        return {
            "timeFilter": f"{first} BETWEEN '{start.isoformat()}' AND '{end.isoformat()}'",
            "timeFrom": f"'{start.isoformat()}'",
            "timeTo": f"'{end.isoformat()}'",
            "timeGroupAlias": f'{bucket} AS "time"',
        }[match["name"]]

    done = _MACRO.sub(macro, _VARIABLE.sub(variable, sql).replace("$__interval", "5m"))
    if "$" in done:
        raise KeyError(f"what is this: {done}")
    return done


def variables_of(dashboard: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the variables of a dashboard by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def statements(dashboard: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield each panel with its statements and their formats."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel, target["rawSql"], target["format"]


def files_of(path: str) -> Iterator[pathlib.Path]:
    """Yield the files that are mounted from a path of the project."""
    yield from (file for file in (PROJECT / path).rglob("*") if file.is_file())
