"""Publishing so that it is known what the broker has taken."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.address import parse_address
from broker.errors import BrokerError
from sensors.transport import explain


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """A message for one topic. An empty one that is retained takes away what was retained before."""

    topic: str
    payload: bytes
    is_retained: bool = False


class Publisher:
    """One connection of an account, made when it is first needed and anew after it broke.

    What the broker had not acknowledged when it broke is not sent again by itself: an older state would come after a
    newer one. ``ca`` is the file of the authority to trust with mqtts://; None is the system's.
    """

    def __init__(
        self, url: str, username: str, password: str, ca: str | None = None, timeout: float = 10.0
    ) -> None:
        self._address, self._ca = parse_address(url), ca
        self._username, self._password = username, password
        self._timeout = timeout
        self._client: mqtt.Client | None = None
        self._entered: asyncio.Future[str | None] | None = None  # what the broker said to the connection
        self._waiting: dict[int, asyncio.Future[str | None]] = {}
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Publisher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish at QoS 1, in order; return when the broker has acknowledged all. Raises BrokerError."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout):
                    client = self._client or await self._open()
                    answers = [self._send(client, one) for one in publications]
                    refused = [reason for reason in await asyncio.gather(*answers) if reason is not None]
            except BaseException as error:
                await self._close()
                if isinstance(error, TimeoutError):
                    told = f"the broker at {self._address} did not answer in {self._timeout:g} s"
                    raise BrokerError(f"{told}; its log tells why") from None
                raise
        if refused:
            raise BrokerError(f"the broker refuses what {self._username} publishes: {refused[0]}")

    def _send(self, client: mqtt.Client, one: Publication) -> asyncio.Future[str | None]:
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        # Its answer is handed to this loop, and so comes after this.
        self._waiting[client.publish(one.topic, one.payload, qos=1, retain=one.is_retained).mid] = answer
        return answer

    async def _open(self) -> mqtt.Client:
        loop = asyncio.get_running_loop()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.username_pw_set(self._username, self._password)
        client.connect_timeout = self._timeout
        entered: asyncio.Future[str | None] = loop.create_future()

        # paho's thread calls these.
        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(_settle, entered, str(reason) if reason.is_failure else None)

        def on_publish(_client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(self._answer, mid, str(reason) if reason.is_failure else None)

        def on_disconnect(*_: Any) -> None:
            loop.call_soon_threadsafe(self._lose, client, entered)

        client.on_connect, client.on_publish, client.on_disconnect = on_connect, on_publish, on_disconnect
        try:
            if self._address.is_tls:
                client.tls_set(ca_certs=self._ca)
            await asyncio.to_thread(client.connect, self._address.host, self._address.port)
        except OSError as error:
            raise BrokerError(f"no broker at {self._address}: {explain(error) or error!r}") from error
        client.loop_start()
        self._client = client
        if (refused := await entered) is not None:
            raise BrokerError(
                f"the broker refused {self._username}: {refused}; see ALATAU_BROKER_ALERTS_PASSWORD"
            )
        return client

    def _answer(self, mid: int, reason: str | None) -> None:
        if (answer := self._waiting.pop(mid, None)) is not None:
            _settle(answer, reason)

    def _lose(self, client: mqtt.Client, entered: asyncio.Future[str | None]) -> None:
        _settle(entered, "the connection broke")
        if client is self._client:
            self._client = None
            broke = BrokerError(f"the connection to the broker at {self._address} broke")
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(broke)
            self._waiting.clear()

    async def _close(self) -> None:
        client, self._client = self._client, None
        self._waiting.clear()
        if client is not None:
            with contextlib.suppress(OSError):
                client.disconnect()
            await asyncio.to_thread(client.loop_stop)


def _settle(answer: asyncio.Future[str | None], reason: str | None) -> None:
    if not answer.done():
        answer.set_result(reason)
