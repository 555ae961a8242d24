"""Reading as a key with a scope: row-level security then hides all else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from storage.api_keys import Scope
from storage.database import SCOPED_ROLE
from storage.kinds import Connection
from storage.literals import with_literals

_EVERYTHING = "*"
_BEGIN = f"""
    SET ROLE {SCOPED_ROLE};
    SELECT set_config('alatau.districts', $1, false), set_config('alatau.kinds', $2, false),
           set_config('alatau.caller', $3, false)
"""
_END = "RESET ROLE; RESET alatau.districts; RESET alatau.kinds; RESET alatau.caller"


@contextlib.asynccontextmanager
async def seen_through(connection: Connection, scope: Scope, caller: str) -> AsyncIterator[None]:
    """Let the block see what is in a scope, and of exports those of ``caller``; not within a transaction.

    A connection that does not come back from it is closed: nobody else gets one that sees less, or another part.
    """
    districts, kinds = (
        _EVERYTHING if names is None else ",".join(names) for names in (scope.districts, scope.kinds)
    )
    try:
        await connection.execute(with_literals(_BEGIN, [districts, kinds, caller]))
        yield
        await connection.execute(_END)
    except BaseException:
        # Also where the block fails: a failed transaction, or a cancelled query, may not take the reset.
        await _end_or_close(connection)
        raise


async def _end_or_close(connection: Connection) -> None:
    try:
        await connection.execute(_END)
    except BaseException:
        connection.terminate()
        raise
