"""Running other programs to their end."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from stack.accounts import Account, credentials

# Libraries forced on us by the caller's environment do not fit a server with a libc of its own, and
# libpq's settings would redirect the clients.
_FOREIGN_PREFIXES = ("LD_", "PG", "LC_", "LANGUAGE")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child: ours, in the C locale, without what would mislead it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN_PREFIXES)}
    return {**kept, "LANG": "C", "LC_ALL": "C", **(extra or {})}


def run(
    argv: Sequence[str],
    *,
    account: Account | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program and return its output; OSError if it cannot be run, TimeoutExpired if it hangs (s)."""
    return subprocess.run(  # noqa: S603 - an argument list, never a shell
        argv,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        cwd=cwd or Path("/"),
        env=clean_environment(env),
        umask=0o022,
        timeout=timeout,
        **credentials(account),
    )


def output(argv: Sequence[str]) -> str | None:
    """Return what a program prints, None if it is missing, cannot run or takes longer than 10 s."""
    try:
        result = run(argv, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout + result.stderr
