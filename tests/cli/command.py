"""Runs the ``alatau`` command in this process, as its own edge does: exit code, answers, errors."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from unittest import mock

from cli.main import main

PROJECT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a command left: ``out`` with its white space folded, so that tests do not depend on widths."""

    code: int
    out: str
    errors: str


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with exactly these settings of ours in it."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ALATAU_")}
    return {**ours, **settings}


def start(*arguments: str, stdin: str = "", **settings: str) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own, its output on pipes; Ctrl-C ends it, also where it does not us."""
    with tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "cli", *arguments],
            cwd=PROJECT,
            env=clean_environment(settings),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Alatau:
    """The command with some settings."""

    settings: Mapping[str, str]

    def __call__(self, *arguments: str, stdin: str = "", **settings: str) -> Result:
        """Run one command to its end."""
        out, errors = io.StringIO(), io.StringIO()
        environment = clean_environment({**self.settings, **settings})
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["alatau", *arguments]),
            mock.patch.object(sys, "stdin", io.StringIO(stdin)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
            # A thread of its own, because a command runs an event loop of its own.
            concurrent.futures.ThreadPoolExecutor(1) as thread,
        ):
            code = thread.submit(_exit_code).result()
        return Result(code, *(" ".join(text.getvalue().split()) for text in (out, errors)))


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
