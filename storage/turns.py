"""Work that one of several processes does, until it ends and another takes its place."""

from __future__ import annotations

from storage.kinds import Connection


async def take_turn(connection: Connection, what: str) -> bool:
    """Return whether this connection is the one that does this; it is until it is closed."""
    # Who has lost its machine, or its network, is found out about within a minute; who has dropped its connection while
    # a query of it runs, within a second: else it would have to wait for its own turn.
    await connection.execute(
        """
        SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
        SET client_connection_check_interval = '1s'
        """
    )
    has_turn: bool = await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", what)
    return has_turn
