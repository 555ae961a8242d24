"""Programs in tests: shell scripts that stand in for servers, and running real ones."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).parents[2]

Result = subprocess.CompletedProcess[str]
Started = subprocess.Popen[str]


def write_program(path: Path, body: str) -> Path:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def run_program(*argv: str | Path, env: Mapping[str, str] | None = None) -> Result:
    """Run a program to its end."""
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", env=env)  # noqa: S603


def start_program(*argv: str | Path, env: Mapping[str, str] | None = None) -> Started:
    """Start a program whose output is read through a pipe."""
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=env)  # noqa: S603
