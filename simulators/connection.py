"""One MQTT connection of the simulator: paho's client, driven from outside, with a bounded window.

No thread of its own: ``Publisher`` waits for all sockets at once and calls ``readable``, ``writable`` and
``tick``. A connection that is lost comes back after a full-jitter backoff; paho then sends again, with the
same packet identifiers, what had not been acknowledged.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import pathlib
import random
import urllib.parse
from collections.abc import Callable
from typing import Protocol, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from sensors.transport import explain
from simulators.errors import SimulatorError

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_SESSION_EXPIRY = 3600
_CONNECT_TIMEOUT = 10.0
_BACKOFF_BASE = 0.25
_BACKOFF_LIMIT = 20.0
# Bad user name or password, not authorised, banned, bad authentication method, identifier not valid:
# asking again changes nothing.
FINAL_REFUSALS = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})
# A packet of our own, the status message, may need a place in the window beside the readings.
_RESERVED = 2


class Link(enum.StrEnum):
    """What a connection is doing."""

    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclasses.dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is; ``tls`` with the system's trust unless ``tls_ca`` names a file."""

    host: str
    port: int
    tls: bool = False
    tls_ca: str | None = None
    keep_alive: int = 30

    @classmethod
    def at(cls, url: str, tls_ca: pathlib.Path | None = None) -> Self:
        """Return the broker that a URL names; SimulatorError says what is wrong with it."""
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in _PORTS or not parts.hostname or port == -1:
            raise SimulatorError(
                f'"{url}" is not an MQTT address; write mqtt://host:1883 or mqtts://host:8883'
            )
        tls = parts.scheme == "mqtts" or tls_ca is not None
        return cls(parts.hostname, port or _PORTS[parts.scheme], tls, str(tls_ca) if tls_ca else None)


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Who connects; ``status_topic`` is where it says online and offline, None to say nothing.

    ``receipts`` is what it subscribes to, None for nothing; it is not up before the broker has granted that.
    """

    client_id: str
    username: str | None = None
    password: str | None = None
    status_topic: str | None = None
    receipts: str | None = None


@dataclasses.dataclass(slots=True)
class Counts:
    """What has become of the messages, over all connections."""

    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    reconnects: int = 0
    refusals: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


OnSocket = Callable[["Connection", int | None], None]


class Inbox(Protocol):
    """Who is told of what a connection receives, and of its coming up, in the thread that drives it."""

    def receive(self, topic: str, payload: bytes) -> None:
        """Take a message of the topics subscribed to."""
        ...

    def came_up(self, number: int) -> None:
        """Note that connection ``number`` is up, for the first time or again."""
        ...


class Connection:
    """One account's connection; at most ``window`` messages wait for their acknowledgement.

    ``on_socket`` is told the descriptor of each new socket, and None before it is closed; ``inbox`` may be set
    while the connection is down, with the ``number`` by which it knows this connection.
    """

    def __init__(
        self,
        broker: Broker,
        account: Account,
        window: int,
        counts: Counts,
        rng: random.Random,
        monotonic: Callable[[], float],
        on_socket: OnSocket,
    ) -> None:
        self.link = Link.DOWN
        self.reason = ""
        self.in_flight = 0
        self.number = 0
        self.inbox: Inbox | None = None
        self._broker = broker
        self._account = account
        self._window = window
        self._limit = window
        self._counts = counts
        self._rng = rng
        self._monotonic = monotonic
        self._attempts = 0
        self._was_up = False
        self._next_attempt = 0.0
        self._deadline = 0.0
        self._status_ids: set[int] = set()
        self._client = self._build(on_socket)

    def _build(self, on_socket: OnSocket) -> paho.Client:
        account = self._account
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=account.client_id, protocol=paho.MQTTv5)
        client.username_pw_set(account.username, account.password)
        client.max_inflight_messages = self._window + _RESERVED
        client.connect_timeout = _CONNECT_TIMEOUT
        if self._broker.tls:
            client.tls_set(ca_certs=self._broker.tls_ca)
        if account.status_topic is not None:
            client.will_set(account.status_topic, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_open = lambda _client, _data, sock: on_socket(self, sock.fileno())
        client.on_socket_close = lambda _client, _data, _sock: on_socket(self, None)
        return client

    @property
    def has_room(self) -> bool:
        """Whether a reading can be published now."""
        return self.link is Link.UP and self.in_flight < self._limit

    @property
    def wants_write(self) -> bool:
        """Whether packets wait for the socket to take them."""
        return self._client.want_write()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1; only when ``has_room``."""
        self._client.publish(topic, payload, qos=1)
        self.in_flight += 1
        self._counts.published += 1

    def say(self, status: bytes) -> None:
        """Publish the account's retained status, where it has a topic for it."""
        if self._account.status_topic is not None:
            self.retain(self._account.status_topic, status)

    def retain(self, topic: str, status: bytes) -> None:
        """Publish a retained status beside the readings."""
        self._status_ids.add(self._client.publish(topic, status, qos=1, retain=True).mid)

    @property
    def settled(self) -> bool:
        """Whether everything has been acknowledged, the status included."""
        return not self.in_flight and not self._status_ids

    def tick(self, now: float) -> None:
        """Keep the connection alive or get it back; ``now`` is monotonic, in seconds."""
        if self.link is Link.UP:
            self._client.loop_misc()
        elif self.link is Link.CONNECTING and now > self._deadline:
            self._lost("no answer to CONNECT")
        elif self.link is Link.DOWN and now >= self._next_attempt:
            self._connect(now)

    def readable(self) -> None:
        """Read all that the socket holds, then write what that has caused."""
        self._client.loop_read()
        # TLS may hold decrypted bytes that the socket no longer shows.
        while (sock := self._client.socket()) is not None and getattr(sock, "pending", int)():
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()

    def writable(self) -> None:
        """Write what waits."""
        self._client.loop_write()

    def disconnect(self) -> None:
        """Leave for good: the broker then keeps the last will to itself."""
        connected = self.link is Link.UP
        self.link = Link.CLOSED
        if connected:
            self._client.disconnect()
            self._client.loop_write()

    def _connect(self, now: float) -> None:
        self.link = Link.CONNECTING
        self._deadline = now + _CONNECT_TIMEOUT
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_EXPIRY
        try:
            self._client.connect(
                self._broker.host,
                self._broker.port,
                keepalive=self._broker.keep_alive,
                clean_start=False,
                properties=session,
            )
        except OSError as error:
            self._lost(explain(error))

    def _lost(self, reason: str) -> None:
        self.link = Link.DOWN
        self.reason = reason
        ceiling = min(_BACKOFF_LIMIT, _BACKOFF_BASE * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        self._next_attempt = self._monotonic() + self._rng.uniform(0.0, ceiling)

    def _on_connect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.reason = str(reason)
            # An account that was let in before is right: the broker may be reading its accounts anew.
            final = reason.value in FINAL_REFUSALS and not self._was_up
            self.link = Link.REFUSED if final else Link.DOWN
            return
        granted = int(getattr(properties, "ReceiveMaximum", 65535))
        self._limit = max(1, min(self._window, granted - _RESERVED))
        if self._account.receipts is None:
            self._up()
        else:
            self._client.subscribe(self._account.receipts, qos=0)

    def _up(self) -> None:
        self._counts.reconnects += self._was_up
        self._was_up = True
        self._attempts = 0
        self.link = Link.UP
        self.say(b"online")
        if self.inbox is not None:
            self.inbox.came_up(self.number)

    def _on_subscribe(
        self, _client: paho.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        if reasons[0].is_failure:
            self.reason = f"{reasons[0]}: {self._account.receipts}"
            self.link = Link.REFUSED
            self._client.disconnect()
        else:
            self._up()

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if self.inbox is not None:
            self.inbox.receive(message.topic, bytes(message.payload))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self.link not in (Link.CLOSED, Link.REFUSED):
            # After a refused CONNECT the reason is known, and this one says less.
            self._lost(self.reason if self.link is Link.DOWN else str(reason))

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        if mid in self._status_ids:
            self._status_ids.discard(mid)
            return
        self.in_flight -= 1
        if reason.is_failure:
            self._counts.refused += 1
            self._counts.refusals[str(reason)] += 1
        else:
            self._counts.acknowledged += 1
