"""The same service with paho-mqtt as its receiver and ``copy_records_to_table`` as its writer: what most would take.

    python -m benchmarks.peer --worker 0

Decoding, checks, batches, dead letters, the window and acknowledging after the commit are the service's own;
only the two are exchanged, here and nowhere in the product. Each is used as well as it can be: paho with its
network thread, without logging, acknowledging by hand; its messages cross to the event loop in batches.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Self

import asyncpg
import numpy as np
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import ingest.service
import storage.writer
from cli.main import command_line
from ingest.errors import RefusedError, SessionError
from ingest.session import SessionOptions, Sink
from sensors.readings import ReadingBatch
from sensors.times import from_microseconds
from storage.copy import reading_columns

_KEEP_ALIVE_SECONDS = 30
_ANSWER_SECONDS = 10.0


@dataclasses.dataclass(slots=True, eq=False)
class Received:
    """A message as the batcher takes it."""

    topic: str
    payload: bytes
    packet_id: int | None
    duplicate: bool


class PahoSession:
    """``ingest.session.Session`` on paho-mqtt. Callbacks run in paho's thread, everything else in the loop."""

    def __init__(self, options: SessionOptions, sink: Sink) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._connected: asyncio.Future[Any] = self._loop.create_future()
        self._subscribed: asyncio.Future[Any] = self._loop.create_future()
        self._waiting: collections.deque[Received] = collections.deque()
        self._paused = False
        self.session_present = False
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            options.client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,  # the service opens a new session itself
        )
        client.username_pw_set(options.username, options.password)
        if options.tls is not None:
            client.tls_set_context(options.tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        self._client = client

    @classmethod
    async def open(
        cls, options: SessionOptions, filters: Iterable[str], sink: Sink, retained: Iterable[str] = ()
    ) -> Self:
        """Connect and subscribe at QoS 1. Raises SessionError."""
        session = cls(options, sink)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await session._connect(options)
                await session._subscribe([*filters, *retained])
        except (OSError, TimeoutError) as error:
            await session.close()
            reason = str(error) or "no answer"
            raise SessionError(f"no broker at {options.host}:{options.port}: {reason}") from error
        except BaseException:
            await session.close()
            raise
        return session

    async def _connect(self, options: SessionOptions) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = options.session_expiry_seconds
        properties.ReceiveMaximum = options.receive_maximum
        await asyncio.to_thread(
            self._client.connect,
            options.host,
            options.port,
            _KEEP_ALIVE_SECONDS,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()
        flags, reason = await self._connected
        if reason.is_failure:
            raise RefusedError(f"the broker refuses {options.username}: {reason}")
        self.session_present = flags.session_present

    async def _subscribe(self, filters: Iterable[str]) -> None:
        self._client.subscribe([(pattern, SubscribeOptions(qos=1)) for pattern in filters])
        if refused := [str(reason) for reason in await self._subscribed if reason.is_failure]:
            raise RefusedError(f"the broker refuses the subscription: {', '.join(refused)}")

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give up subscriptions that an earlier run may have left in the session."""
        self._client.unsubscribe(list(filters))

    # -- in paho's thread -------------------------------------------------------------------------

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        self._loop.call_soon_threadsafe(_answer, self._connected, (flags, reason))

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        self._loop.call_soon_threadsafe(_answer, self._subscribed, reasons)

    def _on_disconnect(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._lost.set)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._waiting.append(
            Received(message.topic, bytes(message.payload), message.mid or None, message.dup)
        )
        # The loop takes all that is there when it comes to it. Counted after the message is there, or one that
        # arrives while the loop takes the last would wait for the next.
        if len(self._waiting) == 1:
            self._loop.call_soon_threadsafe(self._take)

    # -- in the loop ------------------------------------------------------------------------------

    def _take(self) -> None:
        if self._paused:
            return
        packets: list[Any] = []
        while self._waiting:
            packets.append(self._waiting.popleft())
        size = sum(len(packet.payload) + len(packet.topic) for packet in packets)
        if packets and not self._sink(self, packets, size):  # type: ignore[arg-type]
            self._paused = True

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return not self._lost.is_set()

    async def wait_lost(self) -> None:
        """Return when the connection is gone; paho's keep-alive finds half-open links."""
        await self._lost.wait()

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Acknowledge packets of this connection, in their order."""
        acknowledge = self._client.ack
        for packet_id in packet_ids:
            acknowledge(packet_id, 1)

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0."""
        self._client.publish(topic, payload, qos=0)

    def pause(self) -> None:
        """Hand nothing over until ``resume``; paho can't stop reading, Receive Maximum bounds what comes."""
        self._paused = True

    def resume(self) -> None:
        """Hand over what waits, and go on."""
        self._paused = False
        self._take()

    async def close(self) -> None:
        """Say goodbye; the broker keeps the session."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def abort(self) -> None:
        """Drop the connection."""
        self._client.disconnect()


def _answer(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


async def copy_records(
    connection: asyncpg.Connection, batch: ReadingBatch, table_name: str, schema: str | None
) -> None:
    """Write a batch as ``storage.writer`` does, a Python object for each value."""
    values = batch.values.astype(object)
    values[np.isnan(batch.values)] = None
    records = zip(
        map(from_microseconds, batch.time.tolist()),
        map(from_microseconds, batch.received.tolist()),
        batch.device.tolist(),
        *values.T.tolist(),
        strict=True,
    )
    await connection.copy_records_to_table(
        table_name, schema_name=schema, columns=reading_columns(batch), records=records
    )


def main() -> None:
    """Exchange receiver and writer, then run the ordinary service."""
    ingest.service.Session = PahoSession  # type: ignore[assignment, attr-defined]
    storage.writer._copy = copy_records
    command_line("ingest")(["ingest", *sys.argv[1:]])


if __name__ == "__main__":
    main()
