"""Publishes over many connections from one thread, and refuses to build a queue.

``offer`` either hands a message to a connection whose window has room, or returns False; the caller then
lets the network work (``pump``) and offers it again. So memory is bounded by connections times window, and
the city is generated only as fast as the broker acknowledges.
"""

from __future__ import annotations

import random
import resource
import selectors
from collections.abc import Callable, Sequence

from simulators.connection import Account, Broker, Connection, Counts, Inbox, Link
from simulators.errors import BrokerError, SimulatorError

_TICK = 0.25
_CONNECTS_PER_TICK = 100
_SPARE_DESCRIPTORS = 64


class Publisher:
    """Owns the connections; device number ``row`` always uses the same one, which keeps its order."""

    def __init__(
        self,
        broker: Broker,
        accounts: Sequence[Account],
        *,
        window: int,
        rng: random.Random,
        monotonic: Callable[[], float],
    ) -> None:
        _allow_descriptors(len(accounts))
        self.counts = Counts()
        self._monotonic = monotonic
        self._selector = selectors.DefaultSelector()
        self._descriptors: dict[Connection, int] = {}
        self._writing: set[Connection] = set()
        self._next_tick = 0.0
        self._where = f"{broker.host}:{broker.port}"
        try:
            self._connections = [
                Connection(broker, account, window, self.counts, rng, monotonic, self._on_socket)
                for account in accounts
            ]
        except OSError as error:
            self._selector.close()
            raise SimulatorError(
                f"TLS: {broker.tls_ca}: {error.strerror or error}; give a PEM file"
            ) from error

    def listen(self, inbox: Inbox) -> None:
        """Hand what the connections receive to ``inbox``, and tell it when one comes up; before ``open``."""
        for number, connection in enumerate(self._connections):
            connection.number, connection.inbox = number, inbox

    def connection_of(self, row: int) -> int:
        """Return the number of the device's connection."""
        return row % len(self._connections)

    def has_room(self, row: int) -> bool:
        """Whether a message of the device can be published now."""
        return self._connections[row % len(self._connections)].has_room

    def is_refused(self, row: int) -> bool:
        """Whether the broker does not let the device in; ``offer`` then only counts."""
        return self._connections[row % len(self._connections)].link is Link.REFUSED

    @property
    def in_flight(self) -> int:
        """Readings published and not yet acknowledged."""
        return sum(connection.in_flight for connection in self._connections)

    @property
    def connected(self) -> int:
        """Connections that are up."""
        return sum(connection.link is Link.UP for connection in self._connections)

    def open(self, timeout: float, cancelled: Callable[[], bool]) -> None:
        """Connect; returns when every connection is up or refused, or at the timeout when one is up.

        Raises BrokerError when none is up by then, with the reason the broker or the network gave.
        """
        deadline = self._monotonic() + timeout
        while not cancelled():
            self.pump(0.05)
            links = {connection.link for connection in self._connections}
            late = self._monotonic() > deadline
            if links <= {Link.UP, Link.REFUSED} or late:
                if Link.UP in links:
                    return
                reason = next((c.reason for c in self._connections if c.reason), "no answer")
                hint = "check the account" if Link.REFUSED in links else "is it running?"
                raise BrokerError(f"the broker at {self._where} can't be used: {reason}; {hint}")

    def offer(self, row: int, topic: str, payload: bytes) -> bool:
        """Publish unless the device's connection has no room; False means: pump, and offer it again."""
        connection = self._connections[row % len(self._connections)]
        if not connection.has_room:
            if connection.link is not Link.REFUSED:
                return False
            # The broker will never take it: counted, so that the other devices go on.
            self.counts.refused += 1
            self.counts.refusals[connection.reason] += 1
            return True
        connection.publish(topic, payload)
        if connection.wants_write:
            self._watch(connection)
        return True

    def say(self, row: int, topic: str, status: bytes) -> bool:
        """Publish a device's retained status; False where its connection is not up."""
        connection = self._connections[row % len(self._connections)]
        if connection.link is not Link.UP:
            return False
        connection.retain(topic, status)
        self._watch(connection)
        return True

    def pump(self, timeout: float) -> None:
        """Let the network work for at most ``timeout`` seconds, less when something happens."""
        now = self._monotonic()
        if now >= self._next_tick:
            self._next_tick = now + _TICK
            self._tick_all(now)
        for key, events in self._selector.select(min(timeout, _TICK)):
            connection: Connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.writable()
            if events & selectors.EVENT_READ:
                connection.readable()
            self._watch(connection)

    def close(self, timeout: float) -> int:
        """Say offline, wait for acknowledgements, disconnect; returns how many stayed without one."""
        deadline = self._monotonic() + timeout
        self._settle(deadline)
        # Last, because a connection that comes back in between says online again.
        for connection in self._connections:
            if connection.link is Link.UP:
                connection.say(b"offline")
                self._watch(connection)
        self._settle(deadline)
        for connection in self._connections:
            connection.disconnect()
        self._selector.close()
        return self.in_flight

    def _settle(self, deadline: float) -> None:
        waiting = [c for c in self._connections if c.link is not Link.REFUSED and not c.settled]
        while waiting and self._monotonic() < deadline:
            self.pump(0.05)
            waiting = [c for c in waiting if c.link is not Link.REFUSED and not c.settled]

    def _tick_all(self, now: float) -> None:
        connects = 0
        for connection in self._connections:
            if connection.link is Link.DOWN:
                connects += 1
                if connects > _CONNECTS_PER_TICK:
                    self._next_tick = now  # the next pump goes on with the others
                    continue
            connection.tick(now)
            self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Wait for the socket to take more, if packets are waiting for that."""
        descriptor = self._descriptors.get(connection)
        wants = connection.wants_write
        if descriptor is not None and wants != (connection in self._writing):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wants else 0)
            self._selector.modify(descriptor, events, connection)
            (self._writing.add if wants else self._writing.discard)(connection)

    def _on_socket(self, connection: Connection, descriptor: int | None) -> None:
        known = self._descriptors.pop(connection, None)
        if known is not None:
            self._selector.unregister(known)
            self._writing.discard(connection)
        if descriptor is not None:
            self._descriptors[connection] = descriptor
            self._selector.register(descriptor, selectors.EVENT_READ, connection)


def _allow_descriptors(connections: int) -> None:
    """Raise the process's soft limit of open files as far as the connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _SPARE_DESCRIPTORS
    unlimited = resource.RLIM_INFINITY
    if soft in (unlimited,) or soft >= needed:
        return
    if hard not in (unlimited,) and hard < needed:
        raise SimulatorError(
            f"{connections} connections need {needed} open files, the limit is {hard}; "
            "raise it with ulimit -n or send over fewer connections"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
