"""Changing the broker's accounts while it runs, through dynamic security's control topic."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import urllib.parse
from typing import Any

import orjson
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.errors import BrokerError

_REQUEST = "$CONTROL/dynamic-security/v1"
_RESPONSE = "$CONTROL/dynamic-security/v1/response"


@dataclasses.dataclass(frozen=True, slots=True)
class BrokerAdmin:
    """Sends commands to dynamic security, on a connection of their own each: registering is rare."""

    url: str
    username: str
    password: str
    timeout: float = 5.0

    async def add_device(self, device: str, secret: str) -> None:
        """Let a device in with its secret; one that is there already gets this secret.

        Raises BrokerError.
        """
        await asyncio.to_thread(self._add_device, device, secret)

    def _add_device(self, device: str, secret: str) -> None:
        error = self._command({"command": "createClient", "username": device, "password": secret})
        if error and "already exists" in error:
            error = self._command({"command": "setClientPassword", "username": device, "password": secret})
        if error:
            raise BrokerError(f"the broker refused the account of {device}: {error}")

    def _command(self, command: dict[str, Any]) -> str | None:
        """Run one command and return the broker's error, or None. Blocks."""
        exchange = _Exchange(orjson.dumps({"commands": [command]}))
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.username_pw_set(self.username, self.password)
        client.on_connect = exchange.on_connect
        client.on_subscribe = exchange.on_subscribe
        client.on_message = exchange.on_message
        parts = urllib.parse.urlsplit(self.url)
        try:
            client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
        except OSError as error:
            raise BrokerError(
                f"no broker at {parts.hostname}:{parts.port} ({error}); start it, or set ALATAU_MQTT_URL"
            ) from error
        client.loop_start()
        try:
            if not exchange.done.wait(self.timeout):
                raise BrokerError(
                    f"the broker at {parts.hostname}:{parts.port} did not answer in {self.timeout:g} s; "
                    "its log tells why"
                )
        finally:
            client.disconnect()
            client.loop_stop()
        if exchange.refused:
            raise BrokerError(
                f"the broker refused {self.username}: {exchange.refused}; "
                "its password is ALATAU_BROKER_ADMIN_PASSWORD"
            )
        return exchange.error


class _Exchange:
    """One command and its answer; its callbacks run in paho's thread."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.done = threading.Event()
        self.refused: str | None = None
        self.error: str | None = None

    def on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.refused = str(reason)
            self.done.set()
            return
        client.subscribe(_RESPONSE, qos=1)

    def on_subscribe(self, client: mqtt.Client, *_: Any) -> None:
        client.publish(_REQUEST, self.request, qos=1)

    def on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        answers = orjson.loads(message.payload).get("responses", [])
        self.error = answers[0].get("error") if answers else "an empty answer"
        self.done.set()
