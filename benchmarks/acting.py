"""What an operator and a device do: requests that change something, and a device's own connection to the broker."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from api.contract import PREFIX

GIVE_UP_SECONDS = 20.0
_KEPT_SECONDS = 2.0  # the API closes a connection that nothing is asked on


class Operator:
    """One kept connection to the API, with the key of somebody who may do everything."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GIVE_UP_SECONDS)
        self._key = key
        self._asked_at = 0.0

    def act(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer to a request. Raises RuntimeError if it is a problem."""
        status, answer = self.ask(method, path, body)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"the API answers {status} to {method} {path}: {answer!r}")
        return orjson.loads(answer) if answer else None

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of an answer, asked for with another key if one is given."""
        headers = {"X-API-Key": key or self._key, "Content-Type": "application/json"}
        if time.monotonic() - self._asked_at > _KEPT_SECONDS:
            self._connection.close()  # and opened by the request
        self._asked_at = time.monotonic()
        content = None if body is None else orjson.dumps(body)
        self._connection.request(method, f"{PREFIX}/{path}", content, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Device:
    """A device's connection, by its own account. ``ended_at`` is when it was cut, as ``time.perf_counter`` has it."""

    def __init__(self, port: int, name: str, secret: str) -> None:
        self._opened, self._ended = threading.Event(), threading.Event()
        self.is_let_in = False
        self.ended_at = 0.0
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        self._client.username_pw_set(name, secret)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._opened.wait(GIVE_UP_SECONDS):
            self.close()
            raise RuntimeError(f"the broker does not answer {name}")

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: Any, _more: object) -> None:
        self.is_let_in = not reason.is_failure
        self._opened.set()

    def _on_disconnect(self, *_: object) -> None:
        self.ended_at = time.perf_counter()
        self._ended.set()

    def publish(self, topic: str, payload: str) -> None:
        """Publish at QoS 1."""
        self._client.publish(topic, payload, qos=1)

    def wait_end(self) -> float:
        """Return when the broker has cut the connection. Raises RuntimeError if it does not."""
        if not self._ended.wait(GIVE_UP_SECONDS):
            raise RuntimeError(f"the broker has not cut the session within {GIVE_UP_SECONDS:.0f} s")
        return self.ended_at

    def close(self) -> None:
        """Disconnect, if that did not happen yet."""
        self._client.disconnect()
        self._client.loop_stop()


@contextlib.contextmanager
def device(port: int, name: str, secret: str) -> Iterator[Device]:
    """Connect a device for the time of the block."""
    with contextlib.closing(Device(port, name, secret)) as connected:
        yield connected


def until(is_true: Callable[[], bool], what: str, pause: float = 0.01) -> float:
    """Ask again and again; return when it was so. Raises RuntimeError when that takes too long."""
    started = time.perf_counter()
    while not is_true():
        if time.perf_counter() - started > GIVE_UP_SECONDS:
            raise RuntimeError(f"not within {GIVE_UP_SECONDS:.0f} s: {what}")
        time.sleep(pause)
    return time.perf_counter()
