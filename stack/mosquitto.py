"""A Mosquitto broker, for as long as it is needed."""

from pathlib import Path
from signal import SIGHUP, SIGTERM
from types import TracebackType
from typing import Self

from stack.accounts import require_reach, server_account
from stack.ownership import lend
from stack.ports import accepts_connections, require_free
from stack.process import Child, Program
from stack.servers import Servers

START_TIMEOUT = 30.0
"""Seconds for a start; a long persisted queue is read first."""

STOP_TIMEOUT = 60.0
"""Seconds for a stop, which writes the persisted sessions and queues."""


class MosquittoServer:
    """A broker that runs with `config_file`, written by the caller, and is ready when `port` answers.

    The directory of `config_file` must be claimed with `stack.ownership.claim` and hold everything the
    broker reads or writes: at each start and reload it is lent to the account the broker runs as.
    """

    def __init__(self, servers: Servers, config_file: Path, port: int, log: Path) -> None:
        self._servers = servers
        self._config_file = config_file.resolve()
        self._port = port
        self._log = log
        self._account = server_account(self._config_file.parent)
        self._child: Child | None = None
        self._ready = False

    @property
    def port(self) -> int:
        """Return the TCP port that tells whether the broker is ready."""
        return self._port

    @property
    def log(self) -> Path:
        """Return the log file."""
        return self._log

    @property
    def pid(self) -> int:
        """Return the process id of the running broker."""
        if self._child is None:
            raise RuntimeError("the broker was not started")
        return self._child.pid

    async def start(self) -> None:
        """Start, and return when connections are accepted; raises StackError, and nothing is left behind."""
        if self._child is not None:
            raise RuntimeError("the broker was started already")
        require_free(self._port, "the MQTT broker")
        directory = self._config_file.parent
        require_reach(directory.parent, self._account)
        lend(directory, self._account)
        argv = [str(self._servers.mosquitto), "-c", str(self._config_file)]
        self._child = Child(Program("Mosquitto", argv, self._log, SIGTERM, self._account, directory))
        try:
            await self._child.wait_ready(self._is_ready, START_TIMEOUT)
        except BaseException:
            await self.stop()
            raise
        self._ready = True

    def reload(self) -> None:
        """Have the broker read its configuration, access files and certificate again; sessions stay.

        One that does not run or is being started reads them then anyway, and would end of the signal.
        """
        if self._child is None or not self._ready:
            return
        lend(self._config_file.parent, self._account)
        self._child.send(SIGHUP)

    async def restart(self) -> None:
        """Stop and start: plugins, the dynamic-security file included, read their files only then."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """Stop, and return when the broker has written its persistence and ended."""
        if self._child is not None:
            self._ready = False
            await self._child.stop((SIGTERM, STOP_TIMEOUT))
            self._child = None

    async def wait(self) -> int:
        """Wait until the broker ends, by whatever cause; return its exit status."""
        if self._child is None:
            raise RuntimeError("the broker was not started")
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
        return await accepts_connections(self._port)
