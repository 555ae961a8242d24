"""Directories that are ours: claimed with a marker file, lent to an account, removed again."""

import os
import shutil
from pathlib import Path

from stack.accounts import Account
from stack.errors import StackError
from stack.layout import make_directory

MARKER = ".alatau-owned"


def claim(directory: Path, account: Account | None = None) -> None:
    """Create `directory`, or take it if it is empty or ours, mark it and lend it to `account`.

    Raises StackError where something that is not ours is in it.
    """
    if not is_ours(directory):
        if directory.exists() and any(directory.iterdir()):
            raise StackError(
                f"{directory} is not empty and was not made by Alatau.",
                "Choose another directory, or empty this one.",
            )
        make_directory(directory)
        directory.chmod(0o700)
        mark(directory)
    lend(directory, account)


def mark(directory: Path) -> None:
    """Note in `directory` that it is ours."""
    (directory / MARKER).write_text("Made by Alatau, which may remove this directory.\n")


def is_ours(directory: Path) -> bool:
    """Tell whether `directory` carries our marker."""
    return not directory.is_symlink() and (directory / MARKER).is_file()


def lend(directory: Path, account: Account | None) -> None:
    """Give everything in `directory`, which must be ours, to `account`; raises StackError otherwise."""
    _require_ours(directory)
    if account is None:
        return
    for parent, directories, files in os.walk(directory):
        for name in (".", *directories, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)


def remove(directory: Path) -> None:
    """Delete `directory` with everything in it; raises StackError if it is not ours. Absent is fine."""
    if not directory.exists() and not directory.is_symlink():
        return
    _require_ours(directory)
    shutil.rmtree(directory)


def _require_ours(directory: Path) -> None:
    if not is_ours(directory):
        raise StackError(
            f"{directory} does not carry the marker {MARKER}, so it is left alone.",
            "Check the path; if it is what you mean, delete it yourself.",
        )
