"""``docker-compose.yml`` as Compose reads it, and its services run without containers."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

PROJECT = pathlib.Path(__file__).parents[2]
TEXT = (PROJECT / "docker-compose.yml").read_text()

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?(?P<message>[^}]*))\}")


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Put variables in as Compose does. Raises KeyError for one that is required and not set."""

    def value(match: re.Match[str]) -> str:
        given = environment.get(match["name"], "")
        if not given and match["default"] is None:
            raise KeyError(f"{match['name']} {match['message']}")
        return given or match["default"]

    return _VARIABLE.sub(value, text)


def compose(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the file, its variables as they are or put in from an environment."""
    document: dict[str, Any] = yaml.safe_load(TEXT)
    return document if environment is None else _walk(document, environment)


def _walk(node: Any, environment: Mapping[str, str]) -> Any:
    match node:
        case str():
            return interpolate(node, environment)
        case list():
            return [_walk(item, environment) for item in node]
        case dict():
            return {key: _walk(item, environment) for key, item in node.items()}
    return node


def required_variables() -> set[str]:
    """Return the variables that have to be set."""
    return {match["name"] for match in _VARIABLE.finditer(TEXT) if match["default"] is None}


def prepare_commands() -> list[list[str]]:
    """Return the words of each ``alatau`` command that the ``migrate`` service runs."""
    lines = (PROJECT / "deploy/prepare.sh").read_text().splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("alatau ")]


def broker_files_command() -> list[str]:
    """Return the words of the one that writes what the broker reads, which is the last."""
    return prepare_commands()[-1]


def our_commands() -> list[list[str]]:
    """Return the words of every command that any service runs in our image."""
    settings = dict.fromkeys(required_variables(), "x")
    services = compose(settings)["services"].values()
    commands = [service["command"] for service in services if "build" in service]
    return [command[1:] for command in commands if command[0] == "alatau"] + [
        [word.replace("$SIMULATED_DEVICES", "260") for word in command] for command in prepare_commands()
    ]
