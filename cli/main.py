"""The ``alatau`` command and its edge: where errors become sentences and exit codes."""

from __future__ import annotations

import sys

import typer

from cli import (
    administration,
    correct,
    deployment,
    development,
    devices,
    diagnosis,
    export,
    gaps,
    keys,
    maintenance,
    pki,
    publishing,
    query,
    retention,
    services,
    up,
)
from cli.console import errors
from cli.settings import SettingsError
from sensors.errors import AlatauError
from stack.errors import StackError

app = typer.Typer(
    name="alatau",
    help="Alatau, the telemetry platform of a digital city: MQTT in, TimescaleDB, aggregates out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for module in (
    up,
    diagnosis,
    services,
    maintenance,
    publishing,
    retention,
    query,
    export,
    administration,
    devices,
    keys,
    pki,
    correct,
    gaps,
    deployment,
    development,
):
    module.register(app)


def main() -> None:
    """Run the command line; exit 1 with a sentence for what its user can mend, 130 when interrupted."""
    try:
        app(prog_name="alatau")
    except (AlatauError, StackError, SettingsError) as error:
        errors.print("[bold red]alatau:[/] ", end="")
        # Keys such as [city] are no markup.
        errors.print(str(error), markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
