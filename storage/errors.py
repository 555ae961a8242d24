"""What can go wrong with the database, and whether to try again.

StorageError
├── RetryableError   the same again may succeed: connection lost, server starting, deadlock, disk full
└── PermanentError   the same again fails again: a row that violates a constraint, a missing table
"""

from __future__ import annotations

import asyncpg

from sensors.errors import AlatauError

# SQLSTATE classes after which the same transaction may succeed: connection exceptions, rolled back
# transactions (deadlock, serialization), access rules (a schema of another version, a missing right: the
# operator's to mend, while readings wait), insufficient resources, operator intervention, system errors.
# Source: PostgreSQL 17 documentation, appendix A.
_RETRYABLE_CLASSES = frozenset({"08", "40", "42", "53", "57", "58"})
# A login or database that isn't there is the operator's to mend, while we wait: invalid authorization,
# invalid catalog name, lock not available, read-only transaction (a standby that becomes primary).
_RETRYABLE_STATES = frozenset({"28000", "28P01", "3D000", "55P03", "25006"})


class StorageError(AlatauError):
    """Base of the database's errors."""


class RetryableError(StorageError):
    """The same again may succeed."""


class PermanentError(StorageError):
    """The same again fails again."""


def classify(error: BaseException) -> StorageError | None:
    """Return the error as one of ours, or None when it is not the database's."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        retryable = state[:2] in _RETRYABLE_CLASSES or state in _RETRYABLE_STATES
        return (RetryableError if retryable else PermanentError)(f"{state}: {error}")
    # asyncpg reports a connection that is gone as InterfaceError or as the socket's own error.
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return RetryableError(str(error) or type(error).__name__)
    return None
