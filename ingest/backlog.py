"""What the broker holds for us, as Mosquitto says it: on a connection of its own.

The telemetry's connection cannot tell: it is not read while the window is full, which is when one wants to know.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math

import mqtt5
import structlog

from ingest.errors import RefusedError, SessionError
from ingest.session import Session, SessionOptions
from sensors.topics import BROKER_RETAINED, BROKER_STORED

_PAUSE = 5.0
_PAUSE_REFUSED = 60.0
log = structlog.get_logger("ingest.backlog")


class Backlog:
    """Follows the broker's own count of messages. A broker that has none, or does not show it, is no error."""

    def __init__(self, session: SessionOptions) -> None:
        # Nothing of this session is worth keeping, and the counts are retained messages.
        self._options = dataclasses.replace(
            session,
            client_id=f"{session.client_id}-backlog",
            receive_maximum=100,
            session_expiry_seconds=0,
        )
        self._counts: dict[str, int] = {}

    @property
    def messages(self) -> int | None:
        """Messages that wait at the broker or are with a worker, a few seconds old; None: it does not say."""
        if len(self._counts) < 2:
            return None
        # The two counts are taken one after the other.
        return max(0, self._counts[BROKER_STORED] - self._counts[BROKER_RETAINED])

    def value(self) -> float:
        """Return the same for a gauge."""
        return math.nan if self.messages is None else self.messages

    async def run(self) -> None:
        """Follow the counts for ever; ends by cancellation."""
        while True:
            pause = _PAUSE
            try:
                session = await Session.open(
                    self._options, [], self._take, retained=(BROKER_STORED, BROKER_RETAINED)
                )
            except RefusedError:
                log.info("the broker does not let us see what it holds")
                pause = _PAUSE_REFUSED
            except SessionError:
                pass  # the telemetry's connection says so
            else:
                try:
                    await session.wait_lost()
                finally:
                    self._counts.clear()
                    session.abort()
            await asyncio.sleep(pause)

    def _take(self, session: Session, packets: list[mqtt5.PublishPacket], _size: int) -> bool:
        for packet in packets:
            if packet.payload.isdigit():
                self._counts[packet.topic] = int(packet.payload)
        session.acknowledge([packet.packet_id for packet in packets if packet.packet_id is not None])
        return True
