"""What a benchmark says: measures against yardsticks of the same run, as a table and as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """One figure. ``yardstick`` says what it is held against; ``target`` is a bound in ``unit``, if there is one."""

    name: str
    value: float
    unit: str
    yardstick: str = ""
    target: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is met, or None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclasses.dataclass(slots=True)
class Result:
    """A benchmark's whole result."""

    name: str
    settings: dict[str, Any]
    measures: list[Measure] = dataclasses.field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as it is written to a file."""
        return {
            "name": self.name,
            "machine": machine(),
            "settings": self.settings,
            "measures": [
                {
                    "name": m.name,
                    "value": m.value,
                    "unit": m.unit,
                    "yardstick": m.yardstick,
                    "target": m.target,
                    "met": m.met,
                }
                for m in self.measures
            ],
        }

    def publish(self, file: pathlib.Path | None) -> None:
        """Print the table, and write the file if one is asked for."""
        table = Table("measure", "value", "unit", "target", "", "held against", box=None)
        for m in self.measures:
            bound = "" if m.target is None else f"{'≥' if m.at_least else '≤'} {m.target:g}"
            mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[m.met]
            table.add_row(m.name, _rounded(m.value), m.unit, bound, mark, m.yardstick)
        Console(width=None if sys.stdout.isatty() else 160).print(table)
        if file is not None:
            file.write_text(json.dumps(self.as_dict(), indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def options(description: str, parts: Sequence[str] = ()) -> argparse.Namespace:
    """Return ``--quick`` and ``--json`` of the command line, and ``only``: the chosen parts, else all."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller load")
    parser.add_argument("--json", type=pathlib.Path, help="also write the result to this file")
    if parts:
        parser.add_argument("--only", action="append", choices=parts, help="a part; may be repeated")
    asked = parser.parse_args()
    if parts and asked.only is None:
        asked.only = list(parts)
    return asked


def as_markdown(result: Mapping[str, Any]) -> str:
    """Return a result, as ``Result.as_dict`` made it, as the table of ``docs/performance.md``."""
    met = {True: "yes", False: "no", None: ""}
    lines = ["| measure | value | target met |", "|---|---|---|"]
    lines += [
        f"| {m['name']} | {_rounded(m['value'])} {m['unit']} | {met[m['met']]} |" for m in result["measures"]
    ]
    return "\n".join(lines)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def main() -> None:
    """Print the table of a result's file: ``python -m benchmarks.report result.json``."""
    parser = argparse.ArgumentParser(description="Print a result as a table in Markdown.")
    parser.add_argument("file", type=pathlib.Path)
    print(as_markdown(json.loads(parser.parse_args().file.read_text())))


if __name__ == "__main__":
    main()
