"""Ingest's part of the stored level, played on the wire: receipts for what has arrived."""

from __future__ import annotations

import collections
import json

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.simulators.conftest import LocalBroker, wait_for


class Platform:
    """Keeps every reading by device and number, and answers with what is kept in one piece.

    ``is_mute`` keeps the receipts back, as when the database is away; ``refusal``, if any, is told before each.
    It hears only what the broker has for it: one without persistence loses the rest.
    """

    def __init__(self, broker: LocalBroker) -> None:
        self.kept: collections.defaultdict[str, dict[int, dict[str, object]]] = collections.defaultdict(dict)
        self.through: collections.Counter[str] = collections.Counter()
        self.messages: collections.Counter[str] = collections.Counter()
        self.repeated = 0
        self.unnumbered: list[bytes] = []
        self.is_mute = False
        self.refusal = ""
        self._floor: collections.Counter[str] = collections.Counter()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "platform", protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        subscribed: list[int] = []
        self._client.on_subscribe = lambda *_args: subscribed.append(1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        wait_for(lambda: bool(subscribed))

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def answer(self) -> None:
        """Publish each device's receipt (again)."""
        for device, through in list(self.through.items()):
            self._receipt(device, through)

    def numbers(self, device: str) -> list[int]:
        """Return the numbers kept of a device, in order."""
        return sorted(self.kept[device])

    def _on_connect(self, *_args: object) -> None:
        self._client.subscribe("alatau/v1/+/telemetry", qos=1)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        device = message.topic.split("/")[2]
        try:
            decoded = json.loads(message.payload)
        except ValueError:
            self.unnumbered.append(bytes(message.payload))
            return
        self.messages[device] += 1
        for reading in decoded if isinstance(decoded, list) else [decoded]:
            number = reading.pop("seq", None)
            if number is None:
                self.unnumbered.append(bytes(message.payload))
                continue
            self._floor[device] = max(self._floor[device], reading.pop("oldest", 1))
            if number in self.kept[device]:
                self.repeated += 1
                assert self.kept[device][number] == reading, "a number stands for one reading"
            self.kept[device][number] = reading
        through = max(self.through[device], self._floor[device] - 1)
        while through + 1 in self.kept[device]:
            through += 1
        self.through[device] = through
        if self.refusal:
            self.tell(device, self.refusal)
        if not self.is_mute:
            self._receipt(device, through)

    def tell(self, device: str, error: str) -> None:
        """Tell the device of a refused reading."""
        self._client.publish(f"alatau/v1/{device}/errors", error, qos=0)

    def _receipt(self, device: str, through: int) -> None:
        self._client.publish(f"alatau/v1/{device}/stored", json.dumps({"through": through}), qos=0)
