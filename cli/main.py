"""The ``alatau`` command and its edge: where errors become sentences and exit codes."""

from __future__ import annotations

import importlib
import sys

import typer

from cli.console import errors
from cli.settings import SettingsError
from sensors.errors import AlatauError
from stack.errors import StackError

# Which module of this package has each command.
COMMANDS = {
    "up": "up",
    "doctor": "diagnosis",
    "down": "diagnosis",
    "migrate": "migrate",
    "ingest": "ingest",
    "api": "api",
    "simulate": "simulate",
    "maintain": "maintenance",
    "alert": "alert",
    "publish": "publishing",
    "retention": "retention",
    "top": "top",
    "query": "query",
    "export": "export",
    "catalog": "administration",
    "dead-letters": "administration",
    "device": "devices",
    "batch": "batches",
    "source": "sources",
    "profile": "profiles",
    "gateway": "gateways",
    "rule": "rules",
    "destination": "destinations",
    "key": "keys",
    "user": "users",
    "pki": "pki",
    "correct": "correct",
    "gaps": "gaps",
    "decode": "decode",
    "asyncapi": "asyncapi",
    "broker-files": "deployment",
    "compose-env": "deployment",
    "test": "development",
    "check": "development",
    "bench": "development",
    "sbom": "dependencies",
}


def command_line(asked: str | None = None) -> typer.Typer:
    """Return the command line, of which a process needs only the module of the command that it was asked for: what all
    of them import takes a second and a hundred megabytes.
    """
    app = typer.Typer(
        name="alatau",
        help="Alatau, the telemetry platform of a digital city: MQTT in, TimescaleDB, aggregates out.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_words_of_commands)
    for module in [COMMANDS[asked]] if asked in COMMANDS else dict.fromkeys(COMMANDS.values()):
        importlib.import_module(f"cli.{module}").register(app)
    return app


def _words_of_commands() -> None:
    # With a callback, a single command keeps its name.
    pass


def main() -> None:
    """Run the command line; exit 1 with a sentence for what its user can mend, 130 when interrupted."""
    try:
        command_line(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="alatau")
    except (AlatauError, StackError, SettingsError) as error:
        errors.print("[bold red]alatau:[/] ", end="")
        # Keys such as [city] are no markup.
        errors.print(str(error), markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
