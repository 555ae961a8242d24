"""Stores a cut: again and again while the database is away, row by row when it refuses one."""

from __future__ import annotations

import asyncio
import collections
import random
import time
from collections.abc import Callable

import asyncpg
import structlog

from ingest.alarm import RefusalAlarm
from ingest.directory import Directory
from ingest.intake import Cut
from ingest.letters import LetterQuota
from ingest.metrics import IngestMetrics
from ingest.options import IngestOptions
from sensors.checks import Reason
from sensors.readings import ReadingBatch
from storage.database import connect_alone
from storage.deadline import deadline
from storage.errors import PermanentError, RetryableError, classify
from storage.wire_sources import ClaimedMeanwhileError
from storage.writer import Batch, Written, write

_CLAIMS_AWAITED = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
# A transaction takes a fraction of a second; after this the database hangs, and a fresh connection may not.
_DEADLINE_SECONDS, _MOST_PATIENCE = 30.0, 8
_AWAY = "database away; nothing is acknowledged until it is back"
log = structlog.get_logger("ingest.commit")


class Committer:
    """Owns the connection that writes. ``clock`` returns Unix µs."""

    def __init__(
        self, options: IngestOptions, directory: Directory, metrics: IngestMetrics, clock: Callable[[], int]
    ) -> None:
        self._options = options
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._quota = LetterQuota(options.letters)
        self.alarm = RefusalAlarm(options.alarm)
        self._was_raised = False
        self._connection: asyncpg.Connection | None = None
        self.is_available = False
        self._since: float | None = None

    def note_available(self, *, available: bool) -> None:
        """Note whether the database answers."""
        self.is_available = available

    def seconds_in_transaction(self) -> float:
        """Return for how long the transaction under way has been so; 0 when there is none."""
        return 0.0 if self._since is None else time.perf_counter() - self._since

    async def connection(self) -> asyncpg.Connection:
        """Return the open connection, opening it if need be. Raises StorageError."""
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await connect_alone(
                    self._options.database_url, application=self._options.worker
                )
            except Exception as error:
                raise classify(error) or error from error
        return self._connection

    async def commit(self, cut: Cut) -> list[ReadingBatch]:
        """Store a cut, however long that takes, and return its readings.

        When this returns, its transaction has committed. Ends otherwise only by cancellation.
        """
        pause, away = _FIRST_PAUSE, False
        while True:
            try:
                readings = await self._store(cut)
            except RetryableError as error:
                self.note_available(available=False)
                self._metrics.retries.inc()
                log.warning(_AWAY, error=str(error))
                away = True
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            self.note_available(available=True)
            if away:
                log.info("database is back", messages=cut.messages, ends=(_AWAY,))
            return readings

    async def _store(self, cut: Cut) -> list[ReadingBatch]:
        if cut.stored is None:
            cut.stored = await self._store_halves(cut) if cut.parts else await self._store_whole(cut)
        return cut.stored

    async def _store_whole(self, cut: Cut) -> list[ReadingBatch]:
        for _ in range(_CLAIMS_AWAITED):
            try:
                return await self._store_as_read(cut)
            except ClaimedMeanwhileError:
                await self._directory.refresh(anew=True)
                cut.begin_again()
        raise RetryableError("a source is claimed by now, but its device is not known yet")

    async def _store_as_read(self, cut: Cut) -> list[ReadingBatch]:
        if cut.unrouted:
            # A device may have been registered a moment ago.
            await self._directory.refresh(cut.unknown_devices())
            cut.route_again()
        readings = cut.check(self._clock(), self._options.window)
        before = self._quota.copy() if cut.faulty else self._quota
        try:
            written = await self._write(cut, readings)
        except ClaimedMeanwhileError:
            self._quota = before
            raise
        except PermanentError as error:
            self._quota = before  # no letter of this transaction was kept
            if cut.messages == 1:
                cut.refuse(str(error))
                return await self._store_refused(cut)
            log.warning("the database refused a row; looking for it", error=str(error), messages=cut.messages)
            return await self._store_halves(cut)
        return [*readings, *written.clockless]

    async def _store_refused(self, cut: Cut) -> list[ReadingBatch]:
        try:
            await self._write(cut, [])
        except PermanentError:
            cut.disown()
            try:
                await self._write(cut, [])
            except PermanentError as error:
                # Not even the letter is taken: nothing is lost by waiting until somebody has looked at it.
                raise RetryableError(f"a dead letter was refused: {error}") from error
        return []

    async def _store_halves(self, cut: Cut) -> list[ReadingBatch]:
        readings = []
        cut.faulty.clear()
        for half in cut.halves():
            readings += await self._store(half)
            cut.faulty |= half.faulty
            cut.receipts |= half.receipts
        return readings

    async def _write(self, cut: Cut, readings: list[ReadingBatch]) -> Written:
        letters = cut.settle(self._quota, self._clock())
        slot = cut.arrivals.slot()
        batch = Batch(
            readings,
            letters,
            (self._options.worker, *slot) if slot else None,
            cut.numbers(),
            cut.clockless,
            cut.foreign.sightings.seen(),
            cut.foreign.heard,
            cut.foreign.lessons,
        )
        connection = await self.connection()
        started = self._since = time.perf_counter()
        try:
            async with deadline(connection, _DEADLINE_SECONDS * cut.patience):
                written = await write(connection, batch)
        except Exception as error:
            if isinstance(error, ClaimedMeanwhileError):
                raise
            ours = classify(error)
            if isinstance(error, TimeoutError):
                # Perhaps it is only large, and the database slow.
                cut.patience = min(2 * cut.patience, _MOST_PATIENCE)
            if isinstance(ours, RetryableError):
                # Its state is unknown: the next attempt begins on a fresh one.
                connection.terminate()
            raise ours or error from error
        finally:
            self._since = None
        cut.arrivals.committed()
        if written.entered is not None:
            names = cut.sequence.names()
            cut.receipts = {names[device]: through for device, through in written.entered.through.items()}
        self._count(cut, batch, written, time.perf_counter() - started)
        return written

    def _count(self, cut: Cut, batch: Batch, written: Written, seconds: float) -> None:
        metrics, now = self._metrics, self._clock()
        metrics.commit_seconds.observe(seconds)
        metrics.cut_messages.observe(cut.messages)
        metrics.stored.inc(written.stored)
        metrics.merged.inc(written.merged)
        metrics.duplicate.inc(written.duplicate)
        metrics.limited.inc(cut.limited)
        metrics.left_out.inc(cut.foreign.left_out)
        refused = collections.Counter(letter.reason for letter in batch.letters.kept)
        for reason, count in refused.items():
            metrics.dead_letters.labels(reason.value).inc(count)
        for fold in batch.letters.folds:
            metrics.letters_folded.labels(fold.letter.reason.value).inc(fold.count)
            refused[fold.letter.reason] += fold.count
        if written.entered is not None:
            metrics.numbered.inc(len(cut.sequence))
            metrics.gaps_detected.inc(written.entered.detected)
            metrics.gaps_abandoned.inc(written.entered.abandoned)
        self._watch(cut.messages, refused, now)
        for readings in batch.readings:
            metrics.lag_seconds.observe((now - int(readings.time[0])) / 1e6)

    def _watch(self, messages: int, refused: collections.Counter[Reason], now: int) -> None:
        self.alarm.note(messages, refused, now)
        is_raised = self.alarm.is_raised(now)
        if is_raised and not self._was_raised:
            log.error("nearly everything is refused", summary=self.alarm.summary())
        elif self._was_raised and not is_raised:
            log.info("most messages are accepted again", summary=self.alarm.summary())
        self._was_raised = is_raised

    def abort(self) -> None:
        """Drop the connection at once, and with it the transaction that may be under way."""
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.close(timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self._connection.terminate()
