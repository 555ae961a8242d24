"""One MQTT 5 connection on asyncio: frames in, publish packets out, acknowledgements back.

Our own because it is the hot path: ``docs/performance.md`` says what that is worth. It knows only the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import mqtt5

from ingest.errors import RefusedError, SessionError
from sensors.transport import explain

_ACKNOWLEDGEMENT_SUCCESS = b"\x40\x02"  # PUBACK, two bytes follow: the packet id; success goes without saying
_GRANTED = (
    mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE,
    mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE,
)
_KEEP_ALIVE_SECONDS = 30
_ANSWER_TIMEOUT = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to connect. ``receive_maximum`` bounds what is unacknowledged, and with it our memory.

    After each read the session stops reading for ``gather_seconds``, and the kernel gathers what arrives.
    """

    host: str
    port: int
    username: str
    password: str
    client_id: str
    receive_maximum: int = 60_000
    session_expiry_seconds: int = 7 * 86_400
    gather_seconds: float = 0.005
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        # At 65535 the value is left off the wire, and Mosquitto then applies 20 of its own.
        if not 1 <= self.receive_maximum <= 65_534:
            raise ValueError(f"receive_maximum {self.receive_maximum} is not between 1 and 65534")


class Sink(Protocol):
    """Takes what one read brought. Called in the event loop; must not block and must not raise.

    Returns True when the session may go on reading, False to have it paused until ``resume``.
    """

    def __call__(self, session: Session, packets: list[mqtt5.PublishPacket], size: int, /) -> bool: ...


class Session(asyncio.Protocol):
    """One connection. Its acknowledgements are its own: packet ids start anew with the next one."""

    def __init__(self, options: SessionOptions, sink: Sink) -> None:
        self._options = options
        self._sink = sink
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._answers: dict[type, asyncio.Future[Any]] = {}
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paused = False  # by the sink
        self._gathering = False
        self._heard = False
        self._can_write = asyncio.Event()
        self._can_write.set()
        self.session_present = False

    @classmethod
    async def open(
        cls, options: SessionOptions, filters: Iterable[str], sink: Sink, retained: Iterable[str] = ()
    ) -> Session:
        """Connect and subscribe at QoS 1: to ``filters``, and to those that bring the ``retained`` messages, too.

        Raises SessionError.
        """
        loop = asyncio.get_running_loop()
        session = cls(options, sink)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await loop.create_connection(lambda: session, options.host, options.port, ssl=options.tls)
                await session._connect()
                await session._subscribe(filters, retained)
        except (OSError, TimeoutError) as error:
            session.abort()
            reason = explain(error) or "no answer"
            raise SessionError(f"no broker at {options.host}:{options.port}: {reason}") from error
        except BaseException:
            session.abort()
            raise
        return session

    async def _connect(self) -> None:
        options = self._options
        packet = mqtt5.ConnectPacket(
            options.client_id,
            username=options.username,
            password=options.password.encode(),
            clean_start=False,
            keep_alive=_KEEP_ALIVE_SECONDS,
            session_expiry_interval=options.session_expiry_seconds,
            receive_max=options.receive_maximum,
        )
        answer: mqtt5.ConnAckPacket = await self._ask(packet.write(), mqtt5.ConnAckPacket)
        if answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            raise RefusedError(
                f"the broker refuses {options.username}: {answer.reason_code.name}; "
                "check ALATAU_MQTT_USERNAME and ALATAU_MQTT_PASSWORD"
            )
        self.session_present = answer.session_present

    async def _subscribe(self, filters: Iterable[str], retained: Iterable[str]) -> None:
        handling = mqtt5.RetainHandling
        wanted = [(pattern, handling.SEND_NEVER) for pattern in filters]
        wanted += [(pattern, handling.SEND_ALWAYS) for pattern in retained]
        packet = mqtt5.SubscribePacket(
            1,
            [
                mqtt5.TopicFilter(
                    pattern,
                    # A QoS 2 subscription with late acknowledgements wedges after one crash.
                    max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                    # What is marked as retained was said before we subscribed.
                    retain_as_published=False,
                    retain_handling=how,
                )
                for pattern, how in wanted
            ],
        )
        answer: mqtt5.SubAckPacket = await self._ask(packet.write(), mqtt5.SubAckPacket)
        if refused := [code.name for code in answer.reason_codes if code not in _GRANTED]:
            raise RefusedError(
                f"the broker refuses the subscription: {', '.join(refused)}; give {self._options.username} "
                "the role alatau-ingest"
            )

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give up subscriptions that an earlier run may have left in the session. Raises SessionError."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await self._ask(mqtt5.UnsubscribePacket(2, list(filters)).write(), mqtt5.UnsubAckPacket)
        except TimeoutError as error:
            self.abort()
            raise SessionError("the broker does not answer an unsubscription") from error

    async def _ask(self, request: bytes, answer: type) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._answers[answer] = future
        self._write(request)
        await asyncio.wait({future, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise SessionError("the broker closed the connection before it answered")
        return future.result()

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Hand all publish packets of one read over together; answer the rest here."""
        self._heard = True
        buffer = memoryview(self._tail + data if self._tail else data)
        packets: list[mqtt5.PublishPacket] = []
        position, end = 0, len(buffer)
        read, publish = mqtt5.read, mqtt5.PublishPacket
        try:
            while position < end:
                rest = buffer[position:]
                try:
                    packet, size = read(rest)
                except IndexError:
                    if _is_whole(rest):
                        raise
                    break
                position += size
                if type(packet) is publish:
                    packets.append(packet)
                else:
                    self._control(packet)
        except (ValueError, IndexError):
            # Not MQTT any more: nothing after this point can be trusted.
            self.abort()
            return
        self._tail = bytes(buffer[position:])
        if packets and not self._sink(self, packets, position):
            self.pause()
        self._gather()

    def _gather(self) -> None:
        # A reader that sleeps in the event loop is woken by each of the broker's small writes, and the broker
        # pays for that too: a fifth of its time, and most of ours. One that looks again later is not.
        if not self._gathering and self._options.gather_seconds > 0:
            self._gathering = True
            self._apply_pauses()
            asyncio.get_running_loop().call_later(self._options.gather_seconds, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self._apply_pauses()

    def _apply_pauses(self) -> None:
        if self._transport is None or not self.is_open or self._transport.is_closing():
            return
        if self._paused or self._gathering:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _control(self, packet: Any) -> None:
        if isinstance(packet, mqtt5.DisconnectPacket):
            self.abort()
        elif (future := self._answers.pop(type(packet), None)) is not None and not future.done():
            future.set_result(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits; nothing that arrived here is acknowledged any more."""
        if not self._lost.done():
            self._lost.set_result(None)
        self._can_write.set()

    def pause_writing(self) -> None:
        """Hold publications back while the socket is full."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Let publications go on."""
        self._can_write.set()

    # -- for the service --------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return not self._lost.done()

    async def wait_lost(self) -> None:
        """Return when the connection is gone, or does not answer any more: a half-open link."""
        while True:
            await asyncio.wait({self._lost}, timeout=_KEEP_ALIVE_SECONDS / 2)
            if self._lost.done():
                return
            self._heard = False
            # On a slow link the answer may stand behind what else is coming; that is life, too.
            if not await self._is_alive() and not self._paused and not self._heard:
                self.abort()
                return

    async def _is_alive(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                await self._ask(mqtt5.PingReqPacket().write(), mqtt5.PingRespPacket)
        except (SessionError, TimeoutError):
            return False
        return True

    def acknowledge(self, packet_ids: Iterable[int]) -> None:
        """Acknowledge packets of this connection, in their order, with one write; nothing if it is gone."""
        body = b"".join([_ACKNOWLEDGEMENT_SUCCESS + packet_id.to_bytes(2) for packet_id in packet_ids])
        if body:
            self._write(body)

    async def publish(self, topic: str, payload: bytes, reason: str = "") -> None:
        """Publish at QoS 0, waiting while the socket is full; nothing if the connection is gone.

        ``reason`` is that of a refusal: clients of MQTT 5 have it beside the payload, without reading JSON.
        """
        await self._can_write.wait()
        packet = mqtt5.PublishPacket(topic, payload)
        if reason:
            packet = mqtt5.PublishPacket(
                topic, payload, content_type="application/json", user_properties=[("reason", reason)]
            )
        self._write(packet.write())

    def pause(self) -> None:
        """Stop reading: the window is full, and QoS 0 messages know no Receive Maximum."""
        self._paused = True
        self._apply_pauses()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._apply_pauses()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def close(self) -> None:
        """Say goodbye; the broker keeps the session, and what is not acknowledged in it."""
        self._write(mqtt5.DisconnectPacket().write())
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._lost), _ANSWER_TIMEOUT)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        elif not self._lost.done():
            self._lost.set_result(None)


def _is_whole(buffer: memoryview) -> bool:
    """Return whether a buffer holds all of its first packet; its length is a varint after the first byte."""
    length = 0
    for position in range(1, min(len(buffer), 5)):
        length |= (buffer[position] & 0x7F) << (7 * (position - 1))
        if buffer[position] < 0x80:
            return len(buffer) >= 1 + position + length
    return len(buffer) >= 5
