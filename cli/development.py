"""``test``, ``check`` and ``bench``: the same on a fresh machine as on the builders'."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Annotated

import typer

from cli.console import Steps, answers, errors
from cli.dependencies import audit
from stack.browser import ensure_browser
from stack.errors import StackError
from stack.servers import ensure_servers

_PROJECT = pathlib.Path(__file__).parents[1]
_CHECKS = {
    "ruff": ["-m", "ruff", "check", "."],
    "format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "import-linter": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
}
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Development", context_settings=_PASS_ON)(test)
    app.command(rich_help_panel="Development")(check)
    app.command(rich_help_panel="Development")(bench)


# Two at once, each with servers of its own: most of the time is spent waiting for other processes.
_WHOLE_SUITE = ["--numprocesses=2", "--dist=loadfile"]


def test(context: typer.Context) -> None:
    """Run the whole test suite on real servers of its own. What follows is given to pytest.

    [dim]Examples:[/]
      ./alatau test
      ./alatau test tests/ingest -k redelivered
      ./alatau test --numprocesses=2 --dist=loadfile --cov   (which lines it runs; takes half as long again)
    """
    with Steps(errors) as steps:
        with steps.step("servers") as report:
            ensure_servers(os.environ, report)
        if not context.args:
            with steps.step("browser") as report:
                ensure_browser(os.environ, report)
    _exit([sys.executable, "-m", "pytest", *(context.args or _WHOLE_SUITE)])


def check() -> None:
    """Check style, format, types, the direction of imports, and that no dependency is known to be vulnerable.

    [dim]Example:[/]
      ./alatau check
    """
    failed = []
    for name, command in _CHECKS.items():
        errors.print(f"[bold]{name}[/]")
        if subprocess.run([sys.executable, *command], cwd=_PROJECT, check=False).returncode:  # noqa: S603
            failed.append(name)
    if not _is_audited():
        failed.append("audit")
    if failed:
        raise StackError(
            f"failed: {', '.join(failed)}",
            "Mend what is listed above; `ruff format .` formats, "
            "and a newer version in constraints.txt mends a dependency.",
        )
    answers.print("all checks passed")


def _is_audited() -> bool:
    errors.print("[bold]audit[/]")
    found = audit()
    for line in found.vulnerable:
        errors.print(line, markup=False, soft_wrap=True)
    errors.print(
        f"{found.known} dependencies looked up" + (f"; {found.note}" if found.note else ""), markup=False
    )
    return not found.vulnerable


def bench(
    name: Annotated[str, typer.Argument(help="File name in benchmarks/ without .py.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller load: shows that it runs, not how fast.")
    ] = False,
    json: Annotated[pathlib.Path | None, typer.Option(help="Also write the result to this file.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="One part of a benchmark that has parts; may be repeated.")
    ] = None,
) -> None:
    """Run a benchmark on servers of its own; ratios against limits measured in the same run.

    [dim]Examples:[/]
      ./alatau bench ingest
      ./alatau bench ingest --quick --json result.json
      ./alatau bench ingest --only peer --only workers
    """
    script = _PROJECT / "benchmarks" / f"{name}.py"
    if not script.exists():
        known = ", ".join(sorted(p.stem for p in script.parent.glob("*.py") if not p.stem.startswith("_")))
        raise StackError(f"there is no benchmark {name}", f"Run one of: {known}.")
    arguments = [*(["--quick"] if quick else []), *(["--json", str(json.absolute())] if json else [])]
    arguments += [f"--only={part}" for part in only or ()]
    _exit([sys.executable, "-m", f"benchmarks.{name}", *arguments])


def _exit(command: list[str]) -> None:
    sys.exit(subprocess.run(command, cwd=_PROJECT, check=False).returncode)  # noqa: S603 - our own programs
