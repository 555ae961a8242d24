"""The SQL of a question: recorded while storage asks it, and asked again with nothing around it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg

_RECORDED = ("fetch", "fetchrow", "fetchval", "execute", "copy_from_query")


class Statements:
    """Records the statements of a connection that it stands in for."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in _RECORDED:
            return method

        async def recorded(*arguments: Any, **options: Any) -> Any:
            self._asked.append((name, arguments))
            return await method(*arguments, **options)

        return recorded

    @contextlib.asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        """Begin a transaction; both its ends are recorded."""
        self._asked.append(("execute", ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)))
        async with self._connection.transaction(**options):
            yield
        self._asked.append(("execute", ("COMMIT",)))

    async def repeat(self) -> float:
        """Ask all of it again, and return the seconds."""
        started = time.perf_counter()
        for method, arguments in self._asked:
            if method == "copy_from_query":
                await self._connection.copy_from_query(*arguments, output=_forget, format="binary")
            else:
                await getattr(self._connection, method)(*arguments)
        return time.perf_counter() - started


async def _forget(data: bytes) -> None:
    pass


async def seconds_of_statements(
    connection: asyncpg.Connection, question: Callable[[Any], Awaitable[object]], repeats: int
) -> list[float]:
    """Return the seconds that the SQL of a question takes, several times, after one that warms up."""
    statements = Statements(connection)
    await question(statements)
    await statements.repeat()
    return [await statements.repeat() for _ in range(repeats)]
