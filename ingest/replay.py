"""Feeding dead letters again, through the same decoding and checks, after their cause was mended."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable

import asyncpg
from mqtt5 import PublishPacket

from ingest.arrivals import Arrivals
from ingest.decode import Fault
from ingest.decoders.table import FORMATS
from ingest.intake import Cut
from ingest.messages import unregistered
from ingest.routes import Routes
from ingest.statuses import read_status
from ingest.wire import Wire
from sensors.checks import Reason, TimeWindow
from sensors.errors import CatalogueError
from sensors.times import to_microseconds
from sensors.topics import Channel, Topics
from storage.catalogue import load_catalogue
from storage.dead_letters import StoredLetter, note_replay
from storage.device_status import Heard, record_statuses
from storage.devices import load_routes
from storage.latest import flush_latest
from storage.lessons import Lesson, load_lessons
from storage.wire_sources import load_bindings
from storage.writer import Batch, write


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of feeding a letter again."""

    letter: StoredLetter
    stored: int
    refused: str | None

    def __str__(self) -> str:
        """Return it as it is noted on the letter."""
        return (
            f"still refused: {self.refused}" if self.refused else f"accepted, {self.stored} readings stored"
        )


class Replay:
    """Feeds letters again on one connection, which must be allowed to write readings and letters."""

    def __init__(
        self, connection: asyncpg.Connection, routes: Routes, topics: Topics, lessons: Iterable[Lesson]
    ) -> None:
        self._lessons = collections.deque(lessons)
        self._connection = connection
        self._routes = routes
        self._topics = topics

    @classmethod
    async def open(cls, connection: asyncpg.Connection, topics: Topics) -> Replay:
        """Load the catalogue, the devices and whose each source is, as they are now."""
        stored = await load_catalogue(connection)
        if stored is None:
            raise CatalogueError("no catalogue is applied; run: alatau catalog apply FILE")
        routes = Routes(topics, Wire(FORMATS))
        routes.set_catalogue(stored[1])
        routes.add(await load_routes(connection))
        routes.wire.bind(await load_bindings(connection))
        return cls(connection, routes, topics, await load_lessons(connection))

    async def feed(self, letter: StoredLetter) -> Verdict:
        """Decode, check and store one letter as it arrived then, and note the verdict on it.

        Time is checked against the letter's arrival: waiting here did not make it older.
        """
        is_status = self._topics.device_of(letter.topic, Channel.STATUS) is not None
        verdict = await (self._feed_status(letter) if is_status else self._feed_readings(letter))
        await note_replay(
            self._connection, letter.dead_letter_id, str(verdict), accepted=verdict.refused is None
        )
        return verdict

    async def _feed_status(self, letter: StoredLetter) -> Verdict:
        status = read_status(letter.topic, letter.payload, self._topics)
        if not isinstance(status, Fault):
            device, said = status
            heard = Heard(device, said, to_microseconds(letter.received_at), is_replayed=True)
            recorded = await record_statuses(self._connection, [heard])
            if device not in recorded.unknown:
                return Verdict(letter, 0, None)
            status = unregistered(device)
        return Verdict(letter, 0, status.detail)

    async def _feed_readings(self, letter: StoredLetter) -> Verdict:
        received = to_microseconds(letter.received_at)
        # By a later birth what was named by an earlier one might be called wrongly; what came before any waits for one.
        until = math.inf if letter.reason == Reason.NO_BIRTH else received
        due = []
        while self._lessons and self._lessons[0].received <= until:
            due.append(self._lessons.popleft())
        await self._routes.wire.learn(due)
        cut = Cut(self._routes, Arrivals())
        cut.feed([PublishPacket(letter.topic, letter.payload)], received)
        cut.route_again()
        # Their numbers were kept when the letters were: a replay enters none, and sifts by none.
        readings = [*cut.check(received, TimeWindow()), *(one.readings for one in cut.clockless)]
        written = await write(self._connection, Batch(readings))
        for batch in readings:
            await flush_latest(self._connection, [batch])
        refused = "; ".join(again.detail for again in cut.letters()) or None
        return Verdict(letter, written.stored + written.merged, refused)
