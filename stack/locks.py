"""One process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.layout import make_directory
from stack.progress import Report


@contextmanager
def exclusive(path: Path, report: Report) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it; the kernel frees it when its holder dies."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Waiting for another process that provisions the servers", None)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def in_use(prefix: Path) -> Iterator[None]:
    """Keep the servers at `prefix` from being removed for as long as this holds."""
    make_directory(prefix.parent)
    with _use_file(prefix).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def unused(prefix: Path) -> Iterator[bool]:
    """Tell whether nobody uses the servers at `prefix`; nobody begins to while this holds."""
    if not prefix.exists():
        yield True
        return
    with _use_file(prefix).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _use_file(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.in-use")
