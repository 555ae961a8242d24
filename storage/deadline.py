"""Work on a connection that may not take longer than so long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg


@contextlib.asynccontextmanager
async def deadline(connection: asyncpg.Connection, seconds: float) -> AsyncIterator[None]:
    """Drop the connection when the block takes longer than ``seconds``, and raise TimeoutError that says so.

    What it notices seconds later was held up by this process itself, and not by the database.

    Cancelling alone is not enough: a transaction that ends by an exception rolls back, and on a link that is half
    open not even the answer to that ever comes.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    drop = loop.call_at(end, connection.terminate)
    try:
        async with asyncio.timeout_at(end):
            yield
    except Exception as error:
        # Whichever was noticed first, the time or the connection that is gone: the cause is the time.
        if (late := loop.time() - end) >= 0:
            raise TimeoutError(
                f"not done within {seconds:g} s, noticed {late:.1f} s later; its connection was dropped"
            ) from error
        raise
    finally:
        drop.cancel()
