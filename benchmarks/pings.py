"""For how long the broker does nothing else: the times of its answers to pings."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import mqtt5
import numpy as np

from broker.accounts import Service
from cli.local import LocalStack

_EVERY_SECONDS = 0.005
_GIVE_UP_SECONDS = 60.0
_PING = mqtt5.PingReqPacket().write()


class Pings:
    """Asks again and again from a thread; ``seconds`` are those of each answer."""

    def __init__(self, stack: LocalStack) -> None:
        account = Service.SIMULATOR
        self._connect = mqtt5.ConnectPacket(
            "bench-pings",
            username=account,
            password=stack.secrets.services[account].encode(),
            clean_start=True,
        ).write()
        self._port = stack.ports.mqtt
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="pings")
        self.seconds: list[float] = []

    def start(self) -> None:
        """Return when the first answer has come."""
        self._thread.start()
        self._ready.wait(_GIVE_UP_SECONDS)

    def stop(self) -> None:
        """End it. Raises OSError of what ended it before."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self._port), _GIVE_UP_SECONDS) as connection:
                connection.sendall(self._connect)
                connection.recv(1024)
                while not self._stop.is_set():
                    started = time.perf_counter()
                    connection.sendall(_PING)
                    if not connection.recv(2):
                        raise ConnectionError("the broker closed the connection of the pings")
                    self.seconds.append(time.perf_counter() - started)
                    self._ready.set()
                    self._stop.wait(_EVERY_SECONDS)
        except OSError as error:
            self._error = error
        finally:
            self._ready.set()

    @property
    def late(self) -> float:
        """99 of 100 answers came within so many seconds."""
        return float(np.percentile(self.seconds, 99))

    @property
    def longest(self) -> float:
        """The longest that an answer took, s."""
        return max(self.seconds)


@contextlib.contextmanager
def pings(stack: LocalStack) -> Iterator[Pings]:
    """Ping the broker for the time of the block."""
    asking = Pings(stack)
    asking.start()
    try:
        yield asking
    finally:
        asking.stop()
