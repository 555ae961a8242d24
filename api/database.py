"""The API's database: a pool that is opened as soon as it can be, and its errors as problems."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import asyncpg
import structlog

from api.niceness import make_give_way
from api.options import ApiOptions
from api.problems import ProblemError, ProblemType, unavailable
from storage.api_keys import Scope
from storage.database import allow_seconds, open_pool
from storage.errors import RetryableError, classify
from storage.kinds import Connection
from storage.scopes import seen_through
from storage.series_query import TooManyReadingsError

log = structlog.get_logger("api.database")

_APPLICATION = "alatau-api"
DATABASE_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# Undefined schema, table, column or function: the code is newer than the database.
_NOT_MIGRATED = frozenset({"3F000", "42P01", "42703", "42883"})


@dataclasses.dataclass(slots=True)
class _Shared:
    """What all views of one database have in common."""

    pool: asyncpg.Pool | None = None
    streams: int = 0
    doubtful: set[int] = dataclasses.field(default_factory=set)  # server processes of connections
    attempted: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


@dataclasses.dataclass(frozen=True, slots=True)
class _View:
    scope: Scope
    caller: str


class Database:
    """The pool. ``run`` opens it, however long that takes; until then requests are refused, not delayed."""

    def __init__(
        self, options: ApiOptions, *, shared: _Shared | None = None, view: _View | None = None
    ) -> None:
        self._options = options
        self._shared = shared or _Shared()
        self._view = view

    def seen_by(self, scope: Scope, caller: str) -> Database:
        """Return the same database, with only what is in a scope; of exports, those of ``caller``."""
        return Database(self._options, shared=self._shared, view=_View(scope, caller))

    @property
    def attempted(self) -> asyncio.Event:
        """Set when it was tried to open the pool, whatever came of it."""
        return self._shared.attempted

    @property
    def in_use(self) -> int:
        """Connections that a request holds."""
        pool = self._shared.pool
        return pool.get_size() - pool.get_idle_size() if pool else 0

    @property
    def long_answers(self) -> int:
        """Answers without pages that are being given."""
        return self._shared.streams

    async def run(self) -> None:
        """Open the pool, trying again until it is open."""
        while self._shared.pool is None:
            try:
                self._shared.pool = await self._open()
            except DATABASE_ERRORS as error:
                log.warning("database away", error=str(error) or type(error).__name__)
                self.attempted.set()
                await asyncio.sleep(self._options.retry_seconds)
        self.attempted.set()

    async def _open(self) -> asyncpg.Pool:
        milliseconds = round(self._options.statement_timeout_seconds * 1000)
        settings = {
            "statement_timeout": str(milliseconds),
            "idle_in_transaction_session_timeout": "60s",
            # A plan for any range cannot leave chunks out while it is made.
            "plan_cache_mode": "force_custom_plan",
            "timezone": "UTC",
        }
        return await open_pool(
            self._options.database_url,
            application=_APPLICATION,
            size=self._options.pool_size,
            prepare=lambda connection: make_give_way(connection, self._options.niceness),
            reset=self._reset,
            settings=settings,
        )

    async def _reset(self, connection: asyncpg.Connection) -> None:
        """Ask the server to reset a connection whose borrower failed or was cancelled, and see that it still answers.

        Of the others there is nothing to reset: what a request changes ends with its transaction, or its scope. A
        question to the server for each would be a twentieth of the time of a request.
        """
        process = connection.get_server_pid()
        if process in self._shared.doubtful:
            self._shared.doubtful.discard(process)
            await connection.reset()

    async def close(self) -> None:
        """Close the pool; nothing is left open."""
        if self._shared.pool is not None:
            await self._shared.pool.close()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; the database's errors leave as problems that say what to do."""
        if self._shared.pool is None:
            raise unavailable("the database is not reachable; ask again soon, and see /readyz")
        try:
            async with contextlib.AsyncExitStack() as stack:
                connection = await self._acquire(stack, self._shared.pool)
                if self._view is not None:
                    await self._narrow(stack, connection, self._view)
                try:
                    yield connection
                except BaseException:
                    self._shared.doubtful.add(connection.get_server_pid())
                    raise
        except asyncpg.QueryCanceledError as error:
            raise ProblemError(
                ProblemType.TIMEOUT,
                "the query took longer than a query may, and was stopped; "
                "ask for a shorter range, fewer metrics, or one district or device",
            ) from error
        except TooManyReadingsError as error:
            raise ProblemError(
                ProblemType.TOO_LARGE,
                f"{error}, for twa, twa_linear, increase, rate or exceed; ask for a shorter range, fewer metrics, or "
                "one district or device",
                parameter="agg",
            ) from error
        except DATABASE_ERRORS as error:
            raise _as_problem(error) from error

    @contextlib.asynccontextmanager
    async def streaming(self) -> AsyncIterator[Connection]:
        """Lend a connection to an answer that lasts as long as its client takes; there are few of these at once.

        All that is read on it is of one moment.
        """
        if self._shared.streams >= self._options.max_streams:
            raise unavailable(
                f"{self._shared.streams} long answers are being given, and no more at once; ask again soon, or let a "
                "file be made: POST /api/v1/exports"
            )
        self._shared.streams += 1
        try:
            async with self.snapshot(self._options.stream_timeout_seconds) as connection:
                yield connection
        finally:
            self._shared.streams -= 1

    @contextlib.asynccontextmanager
    async def snapshot(self, seconds: float) -> AsyncIterator[Connection]:
        """Lend a connection on which all that is read is of one moment, each query in at most ``seconds``."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await allow_seconds(connection, seconds)
            yield connection

    async def _narrow(self, stack: contextlib.AsyncExitStack, connection: Connection, view: _View) -> None:
        try:
            await stack.enter_async_context(seen_through(connection, view.scope, view.caller))
        except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
            raise unavailable(
                "keys with a scope can't be served: the database lacks a role for them; run: alatau migrate, "
                "with ALATAU_DATABASE_SUPERUSER_URL",
                retry_after_seconds=30,
            ) from error

    async def _acquire(self, stack: contextlib.AsyncExitStack, pool: asyncpg.Pool) -> Connection:
        busy = self.in_use >= self._options.pool_size
        try:
            return await stack.enter_async_context(pool.acquire(timeout=self._options.pool_wait_seconds))
        except TimeoutError as error:
            if busy:
                raise unavailable(
                    f"all {self._options.pool_size} database connections are busy; ask again soon"
                ) from error
            raise


def _as_problem(error: BaseException) -> BaseException:
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate in _NOT_MIGRATED:
        return unavailable(
            "the database lacks what this version needs; run: alatau migrate", retry_after_seconds=30
        )
    storage_error = classify(error)
    if isinstance(storage_error, RetryableError):
        log.warning("database away", error=str(storage_error))
        return unavailable("the database is not reachable; ask again soon, and see /readyz")
    return storage_error or error
