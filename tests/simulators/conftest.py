"""Fixtures of the simulator's tests: a real broker to stop and start, and a listener."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from stack.ports import free_port
from stack.servers import Servers


@dataclasses.dataclass
class LocalBroker:
    """A Mosquitto on a loopback port that a test may stop and start again."""

    executable: pathlib.Path
    directory: pathlib.Path
    port: int
    settings: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        config = self.directory / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\n{self.settings}\n")
        self.process = subprocess.Popen(  # noqa: S603
            [str(self.executable), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._answers)

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(signal_number)
            self.process.wait(10)
            self.process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


# Not 0 for an unlimited queue: Mosquitto 2.0.21 then disconnects a client at its first denied message.
OPEN_BROKER = "allow_anonymous true\nmax_inflight_messages 500\nmax_queued_messages 100000"


@pytest.fixture
def broker(servers: Servers, directory_for_servers: pathlib.Path) -> Iterator[LocalBroker]:
    """A broker that lets anyone in."""
    directory = pathlib.Path(tempfile.mkdtemp(dir=directory_for_servers))
    directory.chmod(0o755)  # the broker reads its files with fewer rights than ours
    started = LocalBroker(servers.mosquitto, directory, free_port(), OPEN_BROKER)
    started.start()
    yield started
    started.stop()


def wait_for(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Return when the condition holds; TimeoutError when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.01)


class Listener:
    """Subscribes to everything below the root and keeps it."""

    def __init__(self, broker: LocalBroker) -> None:
        self.received: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        subscribed: list[int] = []
        self._client.on_subscribe = lambda *_args: subscribed.append(1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.subscribe("alatau/v1/#", qos=1)
        self._client.loop_start()
        wait_for(lambda: bool(subscribed))

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))

    def of(self, channel: str) -> list[tuple[str, bytes]]:
        """Return topics and payloads of one channel."""
        return [(topic, payload) for topic, payload in self.received if topic.endswith(f"/{channel}")]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(broker: LocalBroker) -> Iterator[Listener]:
    """Everything the broker passes on."""
    opened = Listener(broker)
    yield opened
    opened.close()
