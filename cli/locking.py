"""One ``up`` for each data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from stack.accounts import server_account
from stack.errors import StackError
from stack.layout import place_cache
from stack.provision import servers_prefix


def _lock_file(root: pathlib.Path) -> pathlib.Path:
    return root / "up.lock"


def provisioned_prefix() -> pathlib.Path:
    """Return where servers are provisioned on this machine; several cities share them."""
    return servers_prefix(place_cache(os.environ, server_account()).path)


@contextlib.contextmanager
def only_one(root: pathlib.Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel lets go of it however we end. Raises StackError if it is held."""
    root.mkdir(parents=True, exist_ok=True)
    with _lock_file(root).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"the city in {root} is running already",
                "Use it, or stop it with Ctrl-C where it runs; for a second one set ALATAU_DATA_DIR and ports.",
            ) from None
        yield


def is_running(root: pathlib.Path) -> bool:
    """Return whether an ``up`` holds the directory."""
    try:
        with _lock_file(root).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
