"""What devices say of themselves, and their last wills for them: on connections of its own, so that the path of the
telemetry has nothing to do with it.

Of several workers one follows, and another takes its place when it ends: the broker has kept what was said last.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

import asyncpg
import structlog
from mqtt5 import PublishPacket

from ingest.decode import Explanation, Fault
from ingest.decoders.gathering import shown
from ingest.errors import RefusedError, SessionError
from ingest.feedback import Feedback
from ingest.letters import LetterQuota, Target
from ingest.messages import no_topic, unregistered
from ingest.metrics import IngestMetrics
from ingest.options import IngestOptions
from ingest.routes import Routes
from ingest.session import Session
from sensors.checks import Reason
from sensors.statuses import Said
from sensors.topics import Channel, Topics
from storage.database import connect_alone
from storage.dead_letters import DeadLetter, Fold, Letters, fold_letters, insert_letters
from storage.deadline import deadline
from storage.device_status import Heard, record_statuses
from storage.errors import StorageError, classify
from storage.turns import take_turn

_TURN = "alatau.statuses"
_LINGER_SECONDS = 0.1  # how long the first waits for company: a city that comes back says so at once
_PAUSE, _PAUSE_REFUSED = 2.0, 60.0
_DEADLINE_SECONDS = 30.0
_MOST = 10_000  # statuses that wait for their commit; then reading pauses
_SHOWN = 40  # characters of a payload that is none
log = structlog.get_logger("ingest.statuses")


def read_status(topic: str, payload: bytes, topics: Topics) -> tuple[str, Said] | Fault:
    """Return which device says what, or what is wrong with that."""
    device = topics.device_of(topic, Channel.STATUS)
    if device is None:
        return no_topic(topic, topics.of("<device>", Channel.STATUS))
    try:
        return device, Said(payload.decode())
    except ValueError:
        found = payload[:_SHOWN].decode(errors="replace")
        detail = (
            f"status {found!r} is none; publish online after each connect, and let the last will be offline"
        )
        return Fault(Reason.BAD_STATUS, Explanation(detail, "", shown(found), "online or offline"))


class _Refused(NamedTuple):
    packet: PublishPacket
    device: str | None
    fault: Fault
    received: int


@dataclasses.dataclass(slots=True)
class Batch:
    """What has arrived since the last commit. A small machine without clock, event loop or I/O."""

    topics: Topics
    # Of each device the last: what it said before is over.
    heard: dict[str, tuple[Heard, PublishPacket]] = dataclasses.field(default_factory=dict)
    refused: list[_Refused] = dataclasses.field(default_factory=list)
    packet_ids: list[int] = dataclasses.field(default_factory=list)
    messages: int = 0

    def feed(self, packet: PublishPacket, received: int) -> None:
        """Take a message that arrived at ``received``, Unix µs."""
        self.messages += 1
        if packet.packet_id is not None:
            self.packet_ids.append(packet.packet_id)
        status = read_status(packet.topic, packet.payload, self.topics)
        if isinstance(status, Fault):
            device = self.topics.device_of(packet.topic, Channel.STATUS)
            self.refused.append(_Refused(packet, device, status, received))
        else:
            device, said = status
            self.heard[device] = Heard(device, said, received, packet.retain), packet

    def refuse_unknown(self, devices: Iterable[str]) -> None:
        """Refuse the statuses of devices that are not registered. What the broker still keeps of one that was deleted
        is nobody's fault."""
        for device in sorted(devices):
            heard, packet = self.heard[device]
            if not heard.is_replayed:
                self.refused.append(_Refused(packet, device, unregistered(device), heard.at))


class Statuses:
    """Follows the status topics of all devices. ``clock`` returns Unix µs."""

    def __init__(
        self, options: IngestOptions, routes: Routes, metrics: IngestMetrics, clock: Callable[[], int]
    ) -> None:
        self._options = options
        # Nothing of this session is worth keeping: what was said last is retained.
        self._session_options = dataclasses.replace(
            options.session,
            client_id=f"{options.session.client_id}-status",
            receive_maximum=_MOST,
            session_expiry_seconds=0,
        )
        self._routes = routes
        self._metrics = metrics
        self._clock = clock
        self._quota = LetterQuota(options.letters)
        self._feedback = Feedback(docs=options.docs)
        self._batch = Batch(options.topics)
        self._arrived = asyncio.Event()
        self._last_arrival = 0
        self._connection: asyncpg.Connection | None = None
        self.is_following = False

    async def run(self) -> None:
        """Follow for ever, while it is this worker's turn; ends by cancellation."""
        while True:
            pause = _PAUSE
            try:
                await self._take_turns()
            except RefusedError as error:
                log.warning("statuses of devices are not heard", error=str(error))
                pause = _PAUSE_REFUSED
            except SessionError:
                pass  # the telemetry's connection says so
            except Exception as error:
                ours = error if isinstance(error, StorageError) else classify(error)
                if ours is None:
                    raise
                log.warning("statuses of devices wait for the database", error=str(ours))
            finally:
                self.is_following = False
                self.abort()
            await asyncio.sleep(pause)

    def abort(self) -> None:
        """Drop the connection to the database at once, and the turn with it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _take_turns(self) -> None:
        connection = await connect_alone(
            self._options.database_url, application=f"{self._options.worker}-status"
        )
        self._connection = connection
        while not await self._has_turn(connection):  # noqa: ASYNC110 - who has it tells nobody
            await asyncio.sleep(self._options.standby_seconds)
        self._batch = Batch(self._options.topics)
        filters = [self._options.topics.every(Channel.STATUS)]
        session = await Session.open(self._session_options, [], self._take, retained=filters)
        self.is_following = True
        lost = asyncio.create_task(session.wait_lost(), name="ingest.statuses.link")
        writer = asyncio.create_task(self._write(connection, session), name="ingest.statuses.writer")
        try:
            done, _ = await asyncio.wait({lost, writer}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            session.abort()
            lost.cancel()
            writer.cancel()
            await asyncio.wait({lost, writer})

    async def _has_turn(self, connection: asyncpg.Connection) -> bool:
        async with deadline(connection, _DEADLINE_SECONDS):
            return await take_turn(connection, _TURN)

    def _take(self, _session: Session, packets: list[PublishPacket], _size: int) -> bool:
        # No two at the same time: a dead letter is known by its topic and its time.
        arrived = max(self._clock(), self._last_arrival + 1)
        self._last_arrival = arrived + len(packets) - 1
        for received, packet in enumerate(packets, arrived):
            self._batch.feed(packet, received)
        self._arrived.set()
        return self._batch.messages < _MOST

    async def _write(self, connection: asyncpg.Connection, session: Session) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_LINGER_SECONDS)
            self._arrived.clear()
            batch, self._batch = self._batch, Batch(self._options.topics)
            async with deadline(connection, _DEADLINE_SECONDS):
                await self._store(connection, batch)
            session.acknowledge(batch.packet_ids)
            session.resume()
            await self._tell(session, batch.refused)

    async def _store(self, connection: asyncpg.Connection, batch: Batch) -> None:
        async with connection.transaction():
            recorded = await record_statuses(connection, [heard for heard, _ in batch.heard.values()])
            batch.refuse_unknown(recorded.unknown)
            letters = self._settle(batch.refused)
            await insert_letters(connection, letters.kept)
            await fold_letters(connection, letters.folds)
        self._metrics.statuses.inc(recorded.news)
        for letter in letters.kept:
            self._metrics.dead_letters.labels(letter.reason.value).inc()
        for fold in letters.folds:
            self._metrics.letters_folded.labels(fold.letter.reason.value).inc(fold.count)

    def _settle(self, refused: list[_Refused]) -> Letters:
        """Return which of the messages are kept whole, and which are only counted, as of refused telemetry."""
        kept: list[DeadLetter] = []
        folds: dict[tuple[Target, Reason], list[DeadLetter]] = {}
        now = self._clock()
        for packet, device, fault, received in refused:
            number = None if device is None else self._routes.number_of(device)
            letter = DeadLetter(
                received, packet.topic, packet.payload, fault.reason, fault.detail, number, packet.retain
            )
            has_device = number is not None
            target = self._quota.fold_into(packet.topic, fault.reason, received, now, has_device=has_device)
            if target is None:
                kept.append(letter)
            else:
                folds.setdefault((target, fault.reason), []).append(letter)
        return Letters(kept, [Fold(*target, len(many), many[-1]) for (target, _), many in folds.items()])

    async def _tell(self, session: Session, refused: list[_Refused]) -> None:
        for _, device, fault, received in refused:
            if device is None:
                continue
            told = self._feedback.refuse(device, fault, fault.detail, received, self._clock())
            if told is None:
                self._metrics.errors_withheld.inc()
                continue
            self._metrics.errors_told.inc()
            await session.publish(self._options.topics.of(device, Channel.ERRORS), told, fault.reason)
