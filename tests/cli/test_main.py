"""The command line itself: help with examples, settings, errors as sentences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from cli.main import COMMANDS, command_line
from cli.settings import setting_descriptions
from tests.cli.command import PROJECT, Alatau, clean_environment


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command there is; its type is typer's own affair."""
    if children := getattr(command, "commands", None):
        for name, child in children.items():
            yield from commands(child, (*path, name))
    else:
        yield path


WAYS = sorted(commands(typer.main.get_command(command_line())))


def test_all_commands_are_found() -> None:
    assert ("up",) in WAYS
    assert ("dead-letters", "replay") in WAYS
    assert len(WAYS) > 15


def test_a_command_is_in_the_module_that_is_said_to_have_it() -> None:
    """Where it isn't, it is found only with all the others."""
    for command in COMMANDS:
        alone: Any = typer.main.get_command(command_line(command))
        assert command in alone.commands
    whole: Any = typer.main.get_command(command_line())
    assert set(whole.commands) == set(COMMANDS)


@pytest.mark.parametrize("command", WAYS, ids=" ".join)
def test_help_of_every_command_has_an_example_of_it(bare: Alatau, command: tuple[str, ...]) -> None:
    result = bare(*command, "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert f"alatau {' '.join(command)}" in result.out


def test_help_is_the_answer_where_nothing_was_asked() -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "cli"],
        cwd=PROJECT,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "compose-env" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["API_PORT", "MQTT_PORT", "DATABASE_PORT", "INGEST_PORT"])
def test_a_setting_that_is_wrong_is_named_with_its_value(bare: Alatau, name: str) -> None:
    result = bare("device", "list", **{f"ALATAU_{name}": "abc"})
    assert result.code == 1
    assert f"alatau: ALATAU_{name}: " in result.errors
    assert "'abc'" in result.errors
    assert "Traceback" not in result.errors


def test_every_setting_says_what_it_is_for() -> None:
    assert all(setting_descriptions().values())
    assert "ALATAU_API_KEY" in setting_descriptions()


def test_a_service_without_its_account_says_what_to_set(bare: Alatau) -> None:
    result = bare("ingest", ALATAU_DATABASE_URL="postgresql://u:p@127.0.0.1:1/x")
    assert result.code == 1
    assert "ALATAU_MQTT_USERNAME=alatau-ingest and ALATAU_MQTT_PASSWORD" in result.errors


def test_lines_for_programs_are_not_cut_at_eighty_columns() -> None:
    script = "from cli.console import answers; answers.print('x' * 150)"
    result = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=clean_environment({"COLUMNS": "80"}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == ["x" * 150]
