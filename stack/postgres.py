"""A PostgreSQL server with TimescaleDB, for as long as it is needed."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, SIGQUIT
from types import TracebackType
from typing import Self

from stack.accounts import require_reach, server_account
from stack.cluster import (
    SUPERUSER,
    configure,
    discard_stale_lock,
    initialize,
    is_stopping,
    running_postmaster,
    superuser_password,
)
from stack.commands import run
from stack.errors import StackError
from stack.ports import LOOPBACK, accepts_connections, require_free
from stack.process import POLL_INTERVAL, Child, Program
from stack.servers import Servers

START_TIMEOUT = 120.0
"""Seconds for a start; after a crash the log is replayed first."""

STOP_TIMEOUT = 60.0
"""Seconds for a stop, which writes everything out; past them the next start replays the log."""

# What a server says that starts while sessions of a killed one have not noticed yet, and for how long they may.
_ORPHANS, _ORPHANS_TIMEOUT = "pre-existing shared memory block", 15.0
_SIGNAL_TIMEOUT = 0.5


class PostgresServer:
    """A server on `data_dir`, which is made if missing, listening on the loopback interface only.

        async with PostgresServer(servers, data_dir, port) as database:
            connect(database.superuser_url)

    Root's servers run as an unprivileged account that must be able to reach `data_dir`: see
    `stack.layout.place_data`. `overrides` are PostgreSQL settings.
    """

    def __init__(
        self,
        servers: Servers,
        data_dir: Path,
        port: int,
        *,
        log: Path | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self._servers = servers
        self._data_dir = data_dir.resolve()
        self._port = port
        self._log = log or self._data_dir.with_name(f"{self._data_dir.name}.log")
        self._overrides = overrides or {}
        self._child: Child | None = None

    @property
    def data_dir(self) -> Path:
        """Return the data directory."""
        return self._data_dir

    @property
    def log(self) -> Path:
        """Return the log file."""
        return self._log

    @property
    def port(self) -> int:
        """Return the TCP port."""
        return self._port

    @property
    def superuser_url(self) -> str:
        """Return the address of the maintenance database, with the superuser's password."""
        password = superuser_password(self._data_dir)
        return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{self._port}/postgres"

    async def start(self) -> None:
        """Start, and return when connections are accepted; raises StackError, and nothing is left behind."""
        if self._child is not None:
            raise RuntimeError("the server was started already")
        account = await asyncio.to_thread(server_account, self._data_dir)
        require_reach(self._data_dir.parent, account)
        await asyncio.to_thread(initialize, self._servers, self._data_dir, account)
        await self._wait_for_predecessor()
        require_free(self._port, "PostgreSQL")
        discard_stale_lock(self._data_dir)
        await asyncio.to_thread(configure, self._servers, self._data_dir, self._port, self._overrides)
        argv = [str(self._servers.postgres_bin / "postgres"), "-D", str(self._data_dir)]
        program = Program("PostgreSQL", argv, self._log, SIGINT, account, self._data_dir)
        deadline = time.monotonic() + _ORPHANS_TIMEOUT
        while not await self._started(program, is_last=time.monotonic() > deadline):  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL)

    async def _started(self, program: Program, *, is_last: bool) -> bool:
        """Start the server; return False where sessions of a killed one are still ending, unless it is the last
        time."""
        self._child = child = Child(program)
        try:
            await child.wait_ready(self._is_ready, START_TIMEOUT)
        except StackError:
            await self.stop()
            if is_last or _ORPHANS not in child.last_lines():
                raise
            return False
        except BaseException:
            await self.stop()
            raise
        return True

    async def stop(self) -> None:
        """End sessions and transactions, write everything out, and return when the server has ended."""
        if self._child is not None:
            await self._child.stop((SIGINT, STOP_TIMEOUT), (SIGQUIT, 10.0))
            self._child = None

    async def wait(self) -> int:
        """Wait until the server ends, by whatever cause; return its exit status."""
        if self._child is None:
            raise RuntimeError("the server was not started")
        return await self._child.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _is_ready(self) -> bool:
        if not await accepts_connections(self._port):
            return False
        # The port answers during recovery too; only pg_isready tells the two apart without a login.
        argv = [str(self._servers.postgres_bin / "pg_isready"), "-h", LOOPBACK, "-p", str(self._port)]
        return (await asyncio.to_thread(run, argv)).returncode == 0

    async def _wait_for_predecessor(self) -> None:
        # A server whose parent was killed is still writing its data out.
        started = time.monotonic()
        while (pid := running_postmaster(self._data_dir)) is not None:
            waited = time.monotonic() - started
            patience = STOP_TIMEOUT if is_stopping(self._data_dir) else _SIGNAL_TIMEOUT
            if waited > patience:
                break
            await asyncio.sleep(POLL_INTERVAL)
        if pid is not None:
            raise StackError(
                f"PostgreSQL (pid {pid}) runs on {self._data_dir} already.",
                f"Stop the `./alatau up` that started it, or the server itself with `kill -INT {pid}`.",
            )
