"""The reference client: a device that loses no reading, whatever is killed, the device itself included.

For firmware developers to read. What makes it work, in order of appearance:

1. A reading gets its number and is in the journal before anything else is done with it.
2. It is brought to the disk before it is sent, so that no number ever goes out twice for two readings.
3. It stays in the journal until a receipt names it or a higher number: a PUBACK is not enough, since a broker
   that is killed may lose what it has acknowledged.
4. After each reconnect, and when no receipt comes for a while, all that had no receipt is sent again, in order.
5. A full journal drops its oldest, and the next message says so.
"""

from __future__ import annotations

import dataclasses
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from sensors.topics import Channel, Topics
from sensors.transport import explain
from simulators.connection import FINAL_REFUSALS, Broker
from simulators.errors import SpoolError
from simulators.journal import Journal
from simulators.spool import Patience, read_receipt

_POLL = 0.05  # seconds; a new reading leaves within this time
_WINDOW = 10  # messages without a PUBACK
_BACKOFF_LIMIT = 60.0


@dataclasses.dataclass(slots=True)
class StoredCounts:
    """Readings since the start: numbered, named by a receipt, sent again, given up for want of room.

    ``refused`` are messages that the broker did not take.
    """

    published: int = 0
    stored: int = 0
    resent: int = 0
    dropped: int = 0
    refused: int = 0


class StoredPublisher:
    """Publishes readings of one device and keeps each until the platform says that it is stored.

        with Journal(path) as journal, StoredPublisher(broker, "lamp-17", secret, journal) as device:
            device.publish({"power": 0.061}, time.time())
            device.wait_stored(60)

    ``username`` is the one that came with the secret, if it is not the id. One thread of its own does all that
    has to do with the network; it begins and ends with the block. ``on_refusal`` is called in it with each
    message of the device's errors topic. ``problem`` says why there is no connection, and ``is_refused``
    whether the broker has refused this account.
    """

    def __init__(
        self,
        broker: Broker,
        device: str,
        secret: str,
        journal: Journal,
        *,
        username: str | None = None,
        topics: Topics = Topics(),  # noqa: B008 - frozen
        on_refusal: Callable[[str], None] = lambda _text: None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.counts = StoredCounts()
        self.problem = ""
        self.is_refused = False
        self._broker = broker
        self._client_id, self._account = device, (username or device, secret)
        self._topic = {channel: topics.of(device, channel) for channel in Channel}
        self._on_refusal = on_refusal
        self._now = now
        self._monotonic = monotonic
        self._rng = rng or random.Random()  # noqa: S311 - spreads reconnects
        # The journal is the caller's thread's and ours; nothing of paho's is called while this is held.
        self._changed = threading.Condition()
        self._journal = journal
        self._patience = Patience(monotonic())
        self._unacknowledged: set[int] = set()
        self._is_listening = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"publisher {device}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect without waiting: what has had no receipt stays in the journal for the next start."""
        self._closing.set()
        self._thread.join()

    def publish(self, values: Mapping[str, float | None], ts: float | str) -> int:
        """Number a reading of a time (Unix seconds or RFC 3339) and keep it; never waits for the network.

        Returns the number. Raises SpoolError when the disk takes no more, ValueError when the reading is no
        JSON or too large; it is then not kept.
        """
        text = json.dumps({"ts": ts, "values": dict(values)}, separators=(",", ":"), allow_nan=False)
        with self._changed:
            number = self._journal.push(text.encode())
            self.counts.published += 1
            self.counts.dropped = self._journal.spool.dropped
        return number

    def wait_stored(self, timeout: float | None = None, left: int = 0) -> bool:
        """Wait until all but ``left`` readings are stored; False when that took longer than so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._journal.spool) <= left, timeout)

    @property
    def waiting(self) -> int:
        """Readings that have had no receipt yet, of earlier runs too."""
        return len(self._journal.spool)

    def _run(self) -> None:
        attempts = 0
        while not self._closing.is_set():
            self._unacknowledged.clear()
            self._is_listening = False
            try:
                # A client for each connection: paho would send again by itself what the journal sends again.
                self._serve(self._build())
            except SpoolError as error:
                self.problem = str(error)
            except OSError as error:
                self.problem = explain(error)
            attempts = 0 if self._is_listening else attempts + 1
            # Full jitter, so that the devices of a city do not all return at once.
            self._closing.wait(self._rng.uniform(0, min(_BACKOFF_LIMIT, 0.5 * 2 ** min(attempts, 16))))

    def _build(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=paho.MQTTv5)
        client.username_pw_set(*self._account)
        client.will_set(self._topic[Channel.STATUS], b"offline", qos=1, retain=True)
        if self._broker.tls:
            client.tls_set(ca_certs=self._broker.tls_ca)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _serve(self, client: paho.Client) -> None:
        """Keep one connection until it is lost or we close. Raises OSError, SpoolError."""
        client.connect(self._broker.host, self._broker.port, keepalive=self._broker.keep_alive)
        while not self._closing.is_set() and client.loop(_POLL) == MQTTErrorCode.MQTT_ERR_SUCCESS:
            if self._is_listening:
                self._send(client)
        if client.is_connected():
            client.publish(self._topic[Channel.STATUS], b"offline", qos=1, retain=True)
            client.disconnect()

    def _send(self, client: paho.Client) -> None:
        with self._changed:
            if not len(self._journal.spool):
                self._patience.renew(self._monotonic())
            elif self._patience.is_over(self._monotonic()):
                self._journal.spool.rewind()
        while len(self._unacknowledged) < _WINDOW:
            with self._changed:
                message, again = self._journal.spool.take()
                if message:
                    self._journal.sync()
            if not message:
                return
            self.counts.resent += again
            self._unacknowledged.add(client.publish(self._topic[Channel.TELEMETRY], message, qos=1).mid)

    def _receive(self, through: int) -> None:
        with self._changed:
            if through >= self._journal.spool.next:
                # The platform has numbers that we never gave: our memory was lost and we began again with 1.
                # The clock leads out of them, in µs, because nobody gives a million numbers a second.
                self._journal.renumber(max(through + 1, int(self._now() * 1e6)))
            stored = self._journal.receive(through)
            if stored:
                self.counts.stored += stored
                self._patience.renew(self._monotonic())
            self._changed.notify_all()

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        self.is_refused = reason.value in FINAL_REFUSALS
        self.problem = str(reason) if reason.is_failure else ""
        if not reason.is_failure:
            # Receipts first, then readings: a receipt that nobody hears costs a resend.
            client.subscribe([(self._topic[Channel.STORED], 0), (self._topic[Channel.ERRORS], 0)])
            client.publish(self._topic[Channel.STATUS], b"online", qos=1, retain=True)

    def _on_subscribe(
        self, client: paho.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        if refused := [str(reason) for reason in reasons if reason.is_failure]:
            self.problem, self.is_refused = f"no receipts: {refused[0]}", True
            return
        self._is_listening = True
        with self._changed:
            self._journal.spool.rewind()
            self._patience.renew(self._monotonic())

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic == self._topic[Channel.ERRORS]:
            self._on_refusal(message.payload.decode(errors="replace"))
        elif (through := read_receipt(bytes(message.payload))) is not None:
            self._receive(through)

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self._unacknowledged.discard(mid)
        if reason.is_failure:
            self.counts.refused += 1
            self.problem, self.is_refused = str(reason), reason.value in FINAL_REFUSALS
