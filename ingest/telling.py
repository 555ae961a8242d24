"""What devices are told: why a message was refused, up to which number theirs are kept, and what a format answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ingest.feedback import Feedback
from ingest.intake import Cut
from ingest.messages import Message
from ingest.metrics import IngestMetrics
from ingest.options import IngestOptions
from ingest.receipts import Receipts
from ingest.routes import Routes
from ingest.session import Session
from sensors.checks import Reason
from sensors.topics import Channel

_RECEIPTS_SECONDS = 0.25  # how often it is looked which devices may be told again


class Telling:
    """Speaks on whichever connection is open; ``clock`` returns Unix µs."""

    def __init__(
        self, options: IngestOptions, routes: Routes, metrics: IngestMetrics, clock: Callable[[], int]
    ) -> None:
        self._topics = options.topics
        self._routes = routes
        self._metrics = metrics
        self._clock = clock
        self._feedback = Feedback(docs=options.docs)
        self._receipts = Receipts()

    def note(self, cut: Cut) -> None:
        """Note up to which number the devices of a cut that has committed are to be told."""
        for device, through in cut.receipts.items():
            self._receipts.note(device, through)

    async def run(self, session: Callable[[], Session | None]) -> None:
        """Tell devices what was kept, a second after the last time at the soonest; ends by cancellation."""
        while True:
            await asyncio.sleep(_RECEIPTS_SECONDS)
            # Devices that wait for a receipt send again, and are answered then.
            if (open_one := session()) is not None and open_one.is_open:
                await self._publish_receipts(self._receipts.due(self._clock()), open_one)

    async def tell_rest(self, session: Session | None) -> None:
        """Tell all that is left to be told of what was kept."""
        rest = self._receipts.rest(self._clock())
        if session is not None and session.is_open:
            await self._publish_receipts(rest, session)

    async def _publish_receipts(self, due: list[tuple[str, bytes]], session: Session) -> None:
        for device, receipt in due:
            await session.publish(self._topics.of(device, Channel.STORED), receipt)
        self._metrics.receipts_sent.inc(len(due))

    async def answer(self, cut: Cut, session: Session) -> None:
        """Tell devices why their messages were refused, and gateways what their format has us say."""
        now, withheld = self._clock(), 0
        for message in cut.faulty.values():
            device = self._device_of(message)
            if device is None:
                continue
            if self._feedback.withhold(device, now):
                withheld += 1
                continue
            told = self._feedback.refuse(device, message.faults[0], message.detail, message.received, now)
            if told is None:
                continue
            self._metrics.errors_told.inc()
            with contextlib.suppress(OSError):
                await session.publish(self._topics.of(device, Channel.ERRORS), told, message.reason)
        self._metrics.errors_withheld.inc(withheld)
        for reply in cut.foreign.replies:
            with contextlib.suppress(OSError):
                await session.publish(reply.topic, reply.payload)

    def _device_of(self, message: Message) -> str | None:
        if message.route is not None:
            return message.route.device
        # Who sends on ever new topics is told no more of them than are kept.
        unknown = message.reason is Reason.UNKNOWN_DEVICE and message.is_kept
        return self._routes.device_of(message.packet.topic) if unknown else None
