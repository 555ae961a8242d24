"""Work on a connection that may not take longer than so long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg


@contextlib.asynccontextmanager
async def deadline(connection: asyncpg.Connection, seconds: float) -> AsyncIterator[None]:
    """Drop the connection when the block takes longer than ``seconds``; the block then raises what comes of it.

    Cancelling alone is not enough: a transaction that ends by an exception rolls back, and on a link that is half
    open not even the answer to that ever comes.
    """
    drop = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        async with asyncio.timeout(seconds):
            yield
    finally:
        drop.cancel()
