"""What can go wrong with the database, and whether to try again.

StorageError
├── RetryableError   the same again may succeed: connection lost, server starting, deadlock, disk full
│   └── BusyError    somebody has held for long what it needs
└── PermanentError   the same again fails again: a row that violates a constraint, a missing table
"""

from __future__ import annotations

import traceback

import asyncpg

from sensors.errors import AlatauError

# SQLSTATE classes after which the same rows fail again: data exceptions, violated constraints, and what an
# operator's own trigger raises. Everything else waits: a connection that is gone, a full disk, a deadlock, a
# schema of another version, even an internal error of the database, are not the rows' fault.
# Source: PostgreSQL 17 documentation, appendix A.
_PERMANENT_CLASSES = frozenset({"21", "22", "23", "54", "P0"})


class StorageError(AlatauError):
    """Base of the database's errors."""


class RetryableError(StorageError):
    """The same again may succeed."""


class BusyError(RetryableError):
    """Somebody has held for long what it needs; nothing was done."""


class PermanentError(StorageError):
    """The same again fails again."""


def classify(error: BaseException) -> StorageError | None:
    """Return the error as one of ours, or None when it is not the database's."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        permanent = state[:2] in _PERMANENT_CLASSES
        return (PermanentError if permanent else RetryableError)(f"{state}: {error}")
    # asyncpg reports a connection that is gone as InterfaceError or as the socket's own error.
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return RetryableError(str(error) or type(error).__name__)
    return None


def place_of(error: BaseException, *packages: str) -> str:
    """Return which function of ours an error was met in, as ``storage.latest_values.list_latest``: the innermost one of
    these packages, also where the error was made of another."""
    place = ""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        for frame, _ in traceback.walk_tb(at.__traceback__):
            name = frame.f_globals.get("__name__", "")
            if name.partition(".")[0] in packages:
                place = f"{name}.{frame.f_code.co_qualname}"
        at = at.__cause__ or at.__context__
    return place
