"""One process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
