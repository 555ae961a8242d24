"""The ingest worker: receives, commits, acknowledges, in that order and never another."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

import structlog
from mqtt5 import PublishPacket

from ingest.arrivals import Arrivals
from ingest.backlog import Backlog
from ingest.commit import Committer
from ingest.decoders.table import FORMATS
from ingest.directory import Directory
from ingest.errors import RefusedError, SessionError
from ingest.intake import Cut
from ingest.kept import KeptReplay
from ingest.latest import LatestFlusher
from ingest.limits import RateLimits
from ingest.metrics import IngestMetrics
from ingest.options import SHARE, IngestOptions
from ingest.posts import Post, Posts
from ingest.readiness import Facts, Readiness, judge
from ingest.routes import Routes
from ingest.session import Session
from ingest.statuses import Statuses
from ingest.telling import Telling
from ingest.wire import Wire
from sensors.topics import Channel
from storage.arrivals import load_arrivals
from storage.deadline import deadline
from storage.errors import StorageError, classify
from storage.lessons import load_lessons

# Short at most: while we are away, a broker that dies again takes with it what came meanwhile.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_LASTING_SECONDS = 5.0  # a connection that lasted so long was a good one
_LAST_FLUSH_SECONDS, _LAST_RECEIPTS_SECONDS = 3.0, 1.0
# One event for each incident: ``cli/repetition.py`` writes it once a minute, however often it happens.
_AWAY, _REFUSED = "broker away; trying again", "the broker refuses us; trying again"
_LOST = "connection to the broker lost"
_LOADING_SECONDS = 30.0
log = structlog.get_logger("ingest")


def _now() -> int:
    return time.time_ns() // 1000


class Ingest:
    """One worker. Nothing in it depends on being the only one."""

    def __init__(self, options: IngestOptions) -> None:
        self.options = options
        self.metrics = IngestMetrics()
        self._routes = Routes(options.topics, Wire(options.formats))
        self._arrivals = Arrivals()
        self._limits = RateLimits(self._routes.intervals, options.rates)
        self._kept = KeptReplay(options.database_url, options.topics)
        self._directory = Directory(options.database_url, self._routes, self._kept.wake)
        self._committer = Committer(options, self._directory, self.metrics, _now)
        self._latest = LatestFlusher(options, self.metrics, time.monotonic)
        self._telling = Telling(options, self._routes, self.metrics, _now)
        self._session: Session | None = None  # where the pending messages come from
        self._pending = self._new_cut()
        self._arrived = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._closing = False
        self._last_arrival = 0
        self.posts = Posts(options.posts, self._next_arrival, self._arrived.set, time.monotonic)
        self._backlog = Backlog(options.session)
        self._statuses = Statuses(options, self._routes, self.metrics, _now)
        self.metrics.devices.set_function(lambda: len(self._routes))
        self.metrics.limited_devices.set_function(lambda: self._limits.limited_devices(_now()))
        self.metrics.statuses_followed.set_function(lambda: self._statuses.is_following)
        self.metrics.refusal_alarm.set_function(lambda: self.is_refusing_most)
        self.metrics.backlog.set_function(self._backlog.value)
        self.metrics.database_up.set_function(self._has_database)
        self.metrics.http_waiting.set_function(lambda: self.posts.held)

    def _new_cut(self) -> Cut:
        return Cut(self._routes, self._arrivals, self._limits)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then drain: what has arrived is committed and acknowledged; the broker keeps
        the rest."""
        async with asyncio.TaskGroup() as group:
            directory = group.create_task(self._directory.run(), name="ingest.directory")
            latest = group.create_task(self._latest.run(), name="ingest.latest")
            receipts = group.create_task(self._telling.run(lambda: self._session), name="ingest.receipts")
            writer = group.create_task(self._write_loop(), name="ingest.writer")
            receiver = group.create_task(self._receive_loop(), name="ingest.receiver")
            backlog = group.create_task(self._backlog.run(), name="ingest.backlog")
            statuses = group.create_task(self._statuses.run(), name="ingest.statuses")
            beside = {directory, latest, receipts, backlog, statuses}
            if self.options.formats:
                beside.add(group.create_task(self._kept.run(), name="ingest.kept"))
            await stop.wait()
            log.info("stopping; draining what has arrived", messages=self._pending.messages)
            receiver.cancel()
            if self._session is not None:
                self._session.pause()
            self._closing = True
            self.posts.close()
            self._arrived.set()
            await asyncio.wait({writer}, timeout=self.options.drain_timeout_seconds)
            if not writer.done():
                log.warning("drain timed out; the broker keeps what is not acknowledged")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_RECEIPTS_SECONDS):
                    await self._telling.tell_rest(self._session)
            await self._end({*beside, writer})
        if self._session is not None:
            await self._session.close()
        # What this leaves is healed from the rows at the next start.
        last = asyncio.create_task(self._latest.flush(), name="ingest.last_flush")
        await asyncio.wait({last}, timeout=_LAST_FLUSH_SECONDS)
        await self._end({last})
        await self._latest.close()
        await self._committer.close()

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        """End tasks. A transaction that is cancelled waits for the answer to its rollback, which a database that
        hangs never gives: then its connection is dropped, and what makes of that another attempt is ended again."""
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=1.0)
            if tasks:
                self._committer.abort()
                self._statuses.abort()
                await self._latest.close()

    # -- receiving --------------------------------------------------------------------------------

    async def _receive_loop(self) -> None:
        pause, first = _FIRST_PAUSE, True
        await self._load_arrivals()
        self.posts.open()
        while True:
            # What the last connection brought is written first: memory holds one window, never two, and
            # while the database is away the broker does the waiting.
            await self._drained.wait()
            try:
                session = await Session.open(
                    self.options.session, self._filters(), self._take, self._retained_filters()
                )
                await session.unsubscribe(self._former_filters())
            except SessionError as error:
                log.warning(_REFUSED if isinstance(error, RefusedError) else _AWAY, error=str(error))
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            self._session = session
            self._opened(session, first=first)
            first, opened = False, time.monotonic()
            await session.wait_lost()
            self.metrics.broker_up.set(0)
            log.warning(_LOST)
            if time.monotonic() - opened > _LASTING_SECONDS:
                pause = _FIRST_PAUSE
            else:
                # Somebody with our number drives us out, or the broker does: not again at once.
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _load_arrivals(self) -> None:
        """Wait for the database, then take over the arrival times of an earlier run."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._load_arrivals_once()
            except StorageError as error:
                log.warning("waiting for the database", error=str(error))
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._committer.note_available(available=True)
                return

    async def _load_arrivals_once(self) -> None:
        try:
            await self._directory.refresh()
            connection = await self._committer.connection()
            async with deadline(connection, _LOADING_SECONDS):
                self._arrivals.load(await load_arrivals(connection, self.options.worker))
                if self.options.formats:
                    await self._routes.wire.learn(await load_lessons(connection))
        except Exception as error:
            # Also the driver's own, of a database that dies just now.
            raise classify(error) or error from error

    def _filters(self) -> list[str]:
        telemetry, share = self.options.topics.every(Channel.TELEMETRY), self.options.share
        return [f"$share/{share}/{telemetry}" if share else telemetry]

    def _retained_filters(self) -> list[str]:
        return [pattern for one in self.options.formats for pattern in one.patterns]

    def _former_filters(self) -> list[str]:
        """Return what this worker may have subscribed to when it was alone, or one of a share, or read formats."""
        telemetry = self.options.topics.every(Channel.TELEMETRY)
        formats = () if self.options.formats else FORMATS
        return [
            telemetry if self.options.share else f"$share/{SHARE}/{telemetry}",
            *(pattern for one in formats for pattern in one.patterns),
        ]

    def _opened(self, session: Session, *, first: bool) -> None:
        self.metrics.broker_up.set(1)
        self.metrics.reconnects.inc()
        log.info(
            "receiving",
            broker=self.options.session.host,
            session_present=session.session_present,
            ends=(_AWAY, _REFUSED, _LOST),
        )
        if not session.session_present:
            self._arrivals.forget()  # its packet ids begin anew
        if not session.session_present and not first:
            self.metrics.sessions_lost.inc()
            log.error("the broker had forgotten our session; what it held in it is lost")

    def _take(self, session: Session, packets: list[PublishPacket], size: int) -> bool:
        """Take what one read brought; called by the session, perhaps before its subscription is answered."""
        self._session = session
        arrived = self._next_arrival(len(packets))
        self._pending.feed(packets, arrived, size)
        self.metrics.received.inc(len(packets))
        self.metrics.in_flight.inc(len(packets))
        self._drained.clear()
        self._arrived.set()
        return self._has_room()

    def _next_arrival(self, messages: int = 1) -> int:
        """Return the time of arrival of the first of so many messages; none has that of another."""
        arrived = max(_now(), self._last_arrival + 1)
        self._last_arrival = arrived + messages - 1
        return arrived

    def _has_room(self) -> bool:
        # Receive Maximum bounds the number of what the broker sends at QoS 1; this bounds QoS 0, and bytes.
        options = self.options
        return (
            self._pending.messages < options.session.receive_maximum
            and self._pending.size < options.pending_bytes
        )

    # -- committing -------------------------------------------------------------------------------

    async def _write_loop(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._closing:
                await asyncio.sleep(self.options.linger_seconds)
            self._arrived.clear()
            cut, self._pending = self._pending, self._new_cut()
            session, posts = self._session, self.posts.take_into(cut)
            self.metrics.in_flight.inc(len(posts))
            if cut.messages:
                await self._finish(cut, session, posts)
            if not self._pending.messages:
                self._drained.set()
                if self._closing and self.posts.is_empty:
                    return

    async def _finish(self, cut: Cut, session: Session | None, posts: list[Post]) -> None:
        readings = await self._committer.commit(cut)
        self.posts.settle(posts, cut)
        self._latest.add(readings)
        self._telling.note(cut)
        if session is not None:
            # Packet ids belong to one connection: on a later one they would acknowledge a stranger's.
            session.acknowledge(cut.packet_ids())
            self.metrics.acknowledged.inc(cut.messages - len(posts))
            # First, because telling waits while the socket is full, and who does not read finds no lost link.
            if self._has_room() and not self._closing:
                session.resume()
            await self._telling.answer(cut, session)
        self.metrics.in_flight.dec(cut.messages)

    @property
    def is_refusing_most(self) -> bool:
        """Whether nearly everything of the last minute was refused."""
        return self._committer.alarm.is_raised(_now())

    # -- for the status port ----------------------------------------------------------------------

    def _has_database(self) -> bool:
        return self._committer.is_available and not self._latest.is_away

    def readiness(self) -> Readiness:
        """Return whether readings flow, and a sentence that says what keeps them."""
        return judge(
            Facts(
                is_stopping=self._closing,
                is_database_available=self._has_database(),
                is_broker_connected=self._session is not None and self._session.is_open,
                seconds_in_transaction=self._committer.seconds_in_transaction(),
                held=self.metrics.messages_held(),
                window=self.options.session.receive_maximum,
                backlog=self._backlog.messages,
            )
        )
