"""What we are made of: a bill of materials of it, and which of it is known to be vulnerable."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import tomllib
import urllib.parse
from typing import Annotated, Any

import orjson
import typer

from cli.console import Steps, answers, errors
from stack.debian import RELEASE, Package
from stack.errors import StackError
from stack.servers import Servers, ensure_servers, packages_of

_PROJECT = pathlib.Path(__file__).parents[1]
# An index that does not answer must not hold up who works offline.
_ANSWER_SECONDS = 5
_AUDIT_SECONDS = 120


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Development")(sbom)


def sbom(
    output: Annotated[
        pathlib.Path | None, typer.Option("--output", "-o", help="Else standard output.")
    ] = None,
) -> None:
    """Write the bill of materials, CycloneDX 1.6 in JSON: Python packages and servers, with versions and licences.

    [dim]Examples:[/]
      ./alatau sbom -o sbom.json
      ./alatau sbom | grep -o 'pkg:[^"]*'
    """
    with Steps(errors) as steps, steps.step("servers") as report:
        servers = ensure_servers(os.environ, report)
    document = bill_of_materials(servers, packages_of(servers, os.environ))
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        sys.stdout.buffer.write(text)
    else:
        output.write_bytes(text)
        answers.print(f"{output}: {len(document['components'])} components", soft_wrap=True)


def bill_of_materials(servers: Servers, packages: list[Package]) -> dict[str, Any]:
    """Return the document: of this environment's Python packages, and of the servers where they are ours; of others'
    servers, their names and versions. Raises StackError.
    """
    project = str(_PROJECT / "pyproject.toml")
    # What is valid is a test's matter: it takes ten seconds.
    command = [
        "environment",
        "--no-validate",
        "--output-reproducible",
        "--pyproject",
        project,
        sys.executable,
    ]
    try:
        made = subprocess.run(  # noqa: S603 - our own environment's program
            [sys.executable, "-m", "cyclonedx_py", *command], capture_output=True, check=True
        )
    except subprocess.CalledProcessError as error:
        raise StackError(
            f"The bill of materials was not made: {error.stderr.decode().strip()[-500:]}",
            "Run `./alatau check` once; it installs what this command needs.",
        ) from None
    document: dict[str, Any] = orjson.loads(made.stdout)
    document["components"] += [*_foreign(servers), *map(_debian, packages)]
    return document


def _foreign(servers: Servers) -> list[dict[str, Any]]:
    of_database = {"postgresql": servers.postgres_version, "timescaledb": servers.timescaledb_version}
    found = [
        *(of_database.items() if servers.postgres_origin == "system" else ()),
        *([("mosquitto", servers.mosquitto_version)] if servers.mosquitto_origin == "system" else ()),
    ]
    return [
        {"type": "application", "bom-ref": name, "name": name, "version": version} for name, version in found
    ]


def _debian(package: Package) -> dict[str, Any]:
    version = urllib.parse.quote(package.version, safe="")
    purl = f"pkg:deb/debian/{package.name}@{version}?arch={package.architecture}&distro={RELEASE}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """What is known of the installed packages: how many were looked up, which are vulnerable and why that is not
    accepted, and a note on what could not be looked up.
    """

    known: int
    vulnerable: list[str]
    note: str | None


def audit() -> Audit:
    """Ask the Python package index which of the installed packages have known vulnerabilities.

    What is accepted is in pyproject.toml, each with its reason.
    """
    command = [
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--skip-editable",
        "--timeout",
        str(_ANSWER_SECONDS),
    ]
    try:
        asked = subprocess.run(  # noqa: S603 - our own environment's program
            [sys.executable, "-m", "pip_audit", *command],
            cwd=_PROJECT,
            capture_output=True,
            check=False,
            timeout=_AUDIT_SECONDS,
        )
        answer = orjson.loads(asked.stdout)
    except subprocess.TimeoutExpired:
        return Audit(0, [], f"the package index did not answer in {_AUDIT_SECONDS} s")
    except orjson.JSONDecodeError:
        return Audit(0, [], asked.stderr.decode().strip().rpartition("\n")[2])
    return read_audit(answer, _accepted())


def _accepted() -> dict[str, str]:
    settings = tomllib.loads((_PROJECT / "pyproject.toml").read_text())
    accepted: dict[str, str] = settings["tool"]["alatau"]["accepted-vulnerabilities"]
    return accepted


def read_audit(answer: dict[str, Any], accepted: dict[str, str]) -> Audit:
    """Return what pip-audit's JSON answer says; ``accepted`` are ids of vulnerabilities with reasons."""
    looked_up = [one for one in answer["dependencies"] if "vulns" in one]
    unknown = [one["name"] for one in answer["dependencies"] if "vulns" not in one]
    vulnerable = [
        f"{one['name']} {one['version']}: {found['id']}, "
        + (f"mended in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "not mended yet")
        for one in looked_up
        for found in one["vulns"]
        if not accepted.keys() & {found["id"], *found["aliases"]}
    ]
    note = (
        f"the index tells nothing of {len(unknown)} packages ({', '.join(unknown[:3])} …)"
        if unknown
        else None
    )
    return Audit(len(looked_up), vulnerable, note)
