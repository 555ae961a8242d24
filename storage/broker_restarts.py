"""Asking whoever keeps the broker to start it again with the accounts of the table: by a notification, and a lock says
whether anybody would hear it."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg

from storage.kinds import Connection

_CHANNEL = "alatau_broker_accounts"
_KEEPER = "hashtext('alatau'), hashtext('broker keeper')"
_IS_KEPT = """
    EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = hashtext('alatau')::oid AND objid = hashtext('broker keeper')::oid)
"""


async def hear_requests(connection: asyncpg.Connection, heard: Callable[[], None]) -> None:
    """Call ``heard`` with each request, and let those who ask know that somebody listens, until the connection ends."""
    await connection.add_listener(_CHANNEL, lambda *_: heard())
    await connection.execute(f"SELECT pg_advisory_lock_shared({_KEEPER})")


async def is_broker_kept(connection: Connection) -> bool:
    """Return whether anybody would hear a request."""
    return bool(await connection.fetchval(f"SELECT {_IS_KEPT}"))


async def ask_for_restart(connection: Connection) -> bool:
    """Ask, when the transaction ends, for a restart with many new accounts; return whether anybody hears it."""
    return bool(await connection.fetchval(f"SELECT true FROM pg_notify($1, '') WHERE {_IS_KEPT}", _CHANNEL))
