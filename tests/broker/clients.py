"""A client that says what the broker answers: paho-mqtt, MQTT 5."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

_SECONDS = 10.0
ALLOWED = "Success"
NOT_AUTHORIZED = "Not authorized"


class Client:
    """One connection that does not come back by itself; ``left`` is set when it is gone."""

    def __init__(self, client_id: str, username: str | None, password: str | None) -> None:
        self.entered: queue.Queue[str] = queue.Queue()
        self.left = threading.Event()
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._answers: queue.Queue[str] = queue.Queue()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        if username is not None:
            self.client.username_pw_set(username, password)
        self.client.on_connect = lambda _c, _d, _f, reason, _p: self.entered.put(str(reason))
        self.client.on_disconnect = lambda *_: self.left.set()
        # That nobody listens is no refusal.
        self.client.on_publish = lambda _c, _d, _mid, reason, _p: self._answers.put(
            str(reason) if reason.is_failure else ALLOWED
        )
        self.client.on_subscribe = lambda _c, _d, _mid, reasons, _p: self._answers.put(str(reasons[0]))
        self.client.on_message = lambda _c, _d, message: self.messages.put(
            (message.topic, bytes(message.payload))
        )

    def connect(self, port: int) -> str:
        """Connect, and return what the broker says to it."""
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        return self.entered.get(timeout=_SECONDS)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """Publish at QoS 1, and return what the broker says; "gone" when it ends the connection instead."""
        self.client.publish(topic, payload, qos=1, retain=retain)
        return self._answer()

    def subscribe(self, topic: str) -> str:
        """Subscribe, and return what the broker says; "gone" when it ends the connection instead."""
        self.client.subscribe(topic, qos=1)
        return self._answer()

    def _answer(self) -> str:
        for _ in range(100):
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=_SECONDS / 100)
            if self.left.is_set():
                return "gone"
        raise TimeoutError("the broker said nothing")

    def break_off(self) -> None:
        """End the connection without a word, so that the last will is published."""
        connection = self.client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        # In a ring with it, paho's own sockets may be found before it, which closes them.
        self.client.on_connect = self.client.on_disconnect = self.client.on_publish = None
        self.client.on_subscribe = self.client.on_message = None


@contextlib.contextmanager
def connected(
    port: int,
    username: str,
    password: str,
    *,
    client_id: str = "",
    trust: ssl.SSLContext | None = None,
    **will: Any,
) -> Iterator[Client]:
    """Lend a client that the broker has let in, whose id is its user name unless given; with ``trust`` over TLS;
    ``will`` is its last will.
    """
    client = Client(client_id or username, username, password)
    if trust is not None:
        client.client.tls_set_context(trust)
    if will:
        client.client.will_set(**will)
    try:
        assert client.connect(port) == ALLOWED
        yield client
    finally:
        client.close()
