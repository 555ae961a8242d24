"""Asks the database what is new, once a second for all clients together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable

import asyncpg
import structlog

from api.database import DATABASE_ERRORS
from api.live_alerts import AlertWatch
from api.live_filter import Topic
from api.live_hub import Hub
from api.live_picture import News, Picture
from api.live_ticks import Cursor, LookBack, Tick, make_tick
from api.niceness import make_give_way
from api.options import ApiOptions
from api.problems import ProblemError
from api.services import Clock
from api.snapshot import CatalogueWatch
from sensors.catalogue import Catalogue
from sensors.times import SECOND, from_microseconds, to_microseconds
from storage.alerts import ALERTS_CHANNEL
from storage.database import connect
from storage.device_status import StatusChange, statuses_since
from storage.devices import places_of
from storage.latest_changes import LATEST_CHANNEL, Change, Sight, changes_since, look

_APPLICATION = "alatau-api-live"
_DEADLINE_SECONDS = 30.0  # of one look; the first reads the whole table
_LINGER_SECONDS = 60.0  # after the last client, in case it comes back
log = structlog.get_logger("api.live")


class LiveReader:
    """Reads on a connection of its own, which it has only while there are clients."""

    def __init__(self, options: ApiOptions, hub: Hub, snapshot: CatalogueWatch, clock: Clock) -> None:
        self._options = options
        self._hub = hub
        self._snapshot = snapshot
        self._clock = clock
        self._woken = asyncio.Event()
        self._picture = Picture()
        self._alerts = AlertWatch()
        self._seen: Sight | None = None
        self._time = 0  # of the last tick, Unix µs

    async def run(self) -> None:
        """Read until cancelled, connecting again whenever the connection is lost."""
        await self._snapshot.attempted.wait()
        while True:
            await self._hub.is_wanted.wait()
            try:
                await self._read_while_wanted()
            except (ProblemError, *DATABASE_ERRORS) as error:
                log.warning("nothing is told to streams", error=str(error) or type(error).__name__)
                await asyncio.sleep(self._options.retry_seconds)

    async def _read_while_wanted(self) -> None:
        live, clock = self._options.live, asyncio.get_running_loop().time
        async with self._connection() as connection:
            wanted = clock()
            while (began := clock()) - wanted < _LINGER_SECONDS:
                self._woken.clear()
                async with asyncio.timeout(_DEADLINE_SECONDS):
                    await self._look(connection)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(began + live.poll_seconds):
                        await self._woken.wait()
                await asyncio.sleep(began + live.every_seconds - clock())
                if self._hub.is_wanted.is_set():
                    wanted = clock()
        self._forget()
        self._hub.forget()

    def _forget(self) -> None:
        self._picture, self._alerts, self._seen = Picture(), AlertWatch(), None

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await connect(self._options.database_url, application=_APPLICATION)
        try:
            await make_give_way(connection, self._options.niceness)
            # Who waits for a notification notices a lost connection by its next look.
            for channel in (LATEST_CHANNEL, ALERTS_CHANNEL):
                await connection.add_listener(channel, lambda *_: self._woken.set())
            yield connection
        finally:
            # A lost connection has nobody to say goodbye to.
            with contextlib.suppress(*DATABASE_ERRORS):
                await connection.close(timeout=2)

    async def _look(self, connection: asyncpg.Connection) -> None:
        """Tell what is new since the last look. What fails changes nothing, so that it is told by the next."""
        # The clock may be set back, or stand still; what is told has an order.
        now = max(to_microseconds(self._clock()), self._time + 1)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            sight = await look(connection)
            if self._seen is not None and sight.end < self._seen.end:
                log.warning("the database was restored; streams begin anew")
                self._forget()
            changes = [change async for change in changes_since(connection, self._seen)]
            since = self._since(now) if self._seen is None else self._time
            said = await statuses_since(connection, self._seen, from_microseconds(since))
            alerts = await self._alerts.read(connection, from_microseconds(since))
            overdue = self._picture.overdue(now)
            places = await places_of(connection, overdue) if overdue else {}
        cursor, catalogue = Cursor(sight.begin, now), self._snapshot.current
        if self._seen is None:
            recent = self._alerts.take(alerts, catalogue, from_microseconds(since))
            self._begin(cursor, changes, said, recent, catalogue)
        else:
            readings, statuses = self._take(changes, catalogue, now)
            statuses += self._hear(said, now)
            silent = (self._picture.silence(device, places.get(device), now) for device in overdue)
            statuses += [one for one in silent if one is not None]
            changed = self._alerts.take(alerts, catalogue, None)
            self._hub.tell(_tick(cursor, readings, statuses, changed))
        self._seen, self._time = sight, now

    def _take(
        self, changes: Iterable[Change], catalogue: Catalogue, now: int
    ) -> tuple[list[News], list[News]]:
        """Return the readings and the devices that came back."""
        readings: list[News] = []
        statuses: list[News] = []
        for change in changes:
            some, status = self._picture.take(change, catalogue, now)
            readings += some
            if status is not None:
                statuses.append(status)
        return readings, statuses

    def _hear(self, said: Iterable[StatusChange], now: int) -> list[News]:
        told = (self._picture.hear(one, now) for one in said)
        return [one for one in told if one is not None]

    def _since(self, now: int) -> int:
        return now - round(self._options.live.look_back_seconds * SECOND)

    def _begin(
        self,
        cursor: Cursor,
        changes: Iterable[Change],
        said: Collection[StatusChange],
        alerts: list[News],
        catalogue: Catalogue,
    ) -> None:
        """Begin with the whole table: what came a moment ago is told to those who were here then."""
        live = self._options.live
        since = self._since(cursor.time)
        by_change = sorted(changes, key=lambda change: change.changed)
        recent = [change for change in by_change if to_microseconds(change.received_at) >= since]
        recent = recent[-live.look_back_rows :]
        told = {change.device for change in recent}
        older = [change for change in by_change if change.device not in told]
        self._picture.expect(said)
        self._take(older, catalogue, cursor.time)
        readings, statuses = self._take(recent, catalogue, cursor.time)
        statuses += self._hear(said, cursor.time)
        statuses += self._picture.fell_silent_since(since)
        tick = _tick(cursor, readings, statuses, alerts)
        begin = older[-1].changed + 1 if older else 0
        self._hub.begin(LookBack(live.look_back_seconds, live.look_back_rows, tick, Cursor(begin, since)))


def _tick(cursor: Cursor, readings: list[News], statuses: list[News], alerts: list[News]) -> Tick:
    return make_tick(cursor, {Topic.READINGS: readings, Topic.STATUS: statuses, Topic.ALERTS: alerts})
