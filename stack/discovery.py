"""Servers that are installed on the machine already."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.commands import output
from stack.versions import (
    as_numbers,
    control_version,
    find_version,
    mosquitto_objection,
    postgres_objection,
    timescaledb_objection,
)

PLUGIN = "mosquitto_dynamic_security.so"
_POSTGRES_PROGRAMS = ("postgres", "initdb", "pg_isready", "psql")


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL with the timescaledb extension."""

    bin: Path
    postgres_version: str
    timescaledb_version: str


@dataclass(frozen=True, slots=True)
class Broker:
    """A Mosquitto with its clients and the dynamic-security plugin."""

    mosquitto: Path
    clients: Path
    plugin: Path
    version: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A server that was found and will not do."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SearchPaths:
    """Where to look."""

    postgres: tuple[Path, ...]
    broker: tuple[Path, ...]

    @classmethod
    def of_machine(cls, env: Mapping[str, str]) -> "SearchPaths":
        """Return the directories of this machine: PATH, pg_config's, and where packages put them."""
        path = [Path(entry) for entry in env.get("PATH", os.defpath).split(os.pathsep) if entry]
        return cls(
            postgres=tuple(_unique([*path, *_pg_config_directory(env), *_packaged_postgres()])),
            broker=tuple(_unique([*path, Path("/usr/sbin"), Path("/usr/local/sbin")])),
        )


def find_databases(directories: Iterable[Path]) -> Iterator[Database | Rejected]:
    """Look at the PostgreSQL in each of `directories`, in order."""
    for directory in directories:
        if all((directory / program).is_file() for program in _POSTGRES_PROGRAMS):
            yield _examine_database(directory)


def find_brokers(directories: Iterable[Path]) -> Iterator[Broker | Rejected]:
    """Look at the Mosquitto in each of `directories`, in order."""
    places = tuple(directories)
    for directory in places:
        if (directory / "mosquitto").is_file():
            yield _examine_broker(directory / "mosquitto", places)


def _examine_database(directory: Path) -> Database | Rejected:
    # Some packages link programs into PATH one by one; the directory they are from has all of them.
    directory = (directory / "postgres").resolve().parent
    version = find_version(output([str(directory / "postgres"), "--version"]) or "")
    if version is None:
        return Rejected(directory, "its postgres does not run")
    if objection := postgres_objection(version):
        return Rejected(directory, objection)
    control = next(filter(Path.is_file, _control_files(directory, version)), None)
    if control is None:
        return Rejected(directory, f"PostgreSQL {version} has no timescaledb extension")
    extension = control_version(control.read_text())
    if objection := timescaledb_objection(extension):
        return Rejected(directory, objection)
    return Database(directory, version, extension)


def _control_files(directory: Path, version: str) -> Iterator[Path]:
    major = as_numbers(version)[0]
    told = output([str(directory / "pg_config"), "--sharedir"])
    if told and told.startswith("/"):
        yield Path(told.strip()) / "extension/timescaledb.control"
    for share in (
        directory.parent / "share",
        directory.parent / "share/postgresql",
        Path(f"/usr/share/postgresql/{major}"),
    ):
        yield share / "extension/timescaledb.control"


def _examine_broker(program: Path, places: Iterable[Path]) -> Broker | Rejected:
    version = find_version(output([str(program), "-h"]) or "")
    if version is None:
        return Rejected(program, "it does not run")
    if objection := mosquitto_objection(version):
        return Rejected(program, objection)
    clients = next((place for place in places if (place / "mosquitto_sub").is_file()), None)
    if clients is None:
        return Rejected(program, "its clients mosquitto_pub and mosquitto_sub are not installed")
    root = program.resolve().parent.parent
    candidates = (root / folder for folder in ("lib", "lib64"))
    plugin = next((path for lib in candidates for path in _plugins(lib)), None)
    if plugin is None:
        return Rejected(program, f"it has no {PLUGIN}")
    return Broker(program, clients, plugin, version)


def _plugins(library_directory: Path) -> Iterator[Path]:
    for pattern in (PLUGIN, f"*/{PLUGIN}", f"*/mosquitto/{PLUGIN}"):
        yield from library_directory.glob(pattern)


def _pg_config_directory(env: Mapping[str, str]) -> Iterator[Path]:
    program = shutil.which("pg_config", path=env.get("PATH"))
    told = output([program, "--bindir"]) if program else None
    if told and told.startswith("/"):
        yield Path(told.strip())


def _packaged_postgres() -> Iterator[Path]:
    for base, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/usr", "pgsql-*/bin"),
        ("/usr/local/pgsql", "bin"),
    ):
        found = Path(base).glob(pattern)
        yield from sorted(found, key=lambda path: as_numbers(find_version(str(path)) or ""), reverse=True)


def _unique(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        # /sbin and /usr/sbin are one directory on most machines.
        found.setdefault(path.resolve(), path)
    return list(found.values())
