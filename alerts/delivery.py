"""Delivers what waits in the outbox, to each destination by itself: one that is slow or away holds no other up.

At least once: a delivery is marked after the other side has it. Between these two a crash is possible, after which the
message is sent again, with the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import asyncpg
import structlog

from alerts.delivery_metrics import DeliveryMetrics, Outcome
from alerts.messages import DeliveryError, Message, Sender, load_messages
from sensors.destinations import DestinationType
from storage.database import connect
from storage.deadline import deadline
from storage.deliveries import (
    Due,
    Recipient,
    count_waiting,
    forget_finished,
    give_up,
    hurry,
    load_due,
    load_recipients,
    mark_delivered,
    mark_failed,
)
from storage.destinations import DELIVERIES_CHANNEL
from storage.turns import take_turn

_QUESTION_SECONDS = 30.0
_FORGET_EVERY = 3600.0
_DRAIN_SECONDS = 5.0
_NOT_SET_UP = {
    DestinationType.WEBHOOK: "this process sends no webhooks",
    DestinationType.MQTT: "this process has no account at the broker; set ALATAU_BROKER_ALERTS_PASSWORD",
    DestinationType.EMAIL: "this process knows no mail server; set ALATAU_SMTP_URL and ALATAU_SMTP_FROM",
}
log = structlog.get_logger("alerts.delivery")


@dataclasses.dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """Frozen policy. The wait after a failure doubles from the first to the longest; half of it is left to chance."""

    database_url: str
    first_wait_seconds: float = 5.0
    longest_wait_seconds: float = 3600.0
    give_up_seconds: float = 86_400.0
    turn_seconds: float = 1.0  # between looks whether another process has gone that has the turn
    poll_seconds: float = 10.0  # the outbox is looked at this often, also where no word of it was heard
    most_at_once: int = 100  # of one destination, before others of it are looked at
    keep_finished: dt.timedelta = dt.timedelta(days=90)


def wait_after(attempts: int, options: DeliveryOptions, chance: float) -> float:
    """Return for how many seconds to wait after so many failed attempts; ``chance`` is from 0 to 1."""
    doubled = options.first_wait_seconds * 2.0 ** min(attempts - 1, 32)
    return min(doubled, options.longest_wait_seconds) * (0.5 + chance / 2)


class Allowance:
    """So many messages a minute, all of them at once if need be; ``monotonic`` is in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._left: dict[int, tuple[float, float]] = {}  # by destination, and as of when

    def take(self, destination: int, per_minute: int) -> float:
        """Take one message, and return 0; or return in how many seconds there is one."""
        now = self._monotonic()
        left, since = self._left.get(destination, (float(per_minute), now))
        left = min(left + (now - since) * per_minute / 60, per_minute)
        if left < 1:
            return (1 - left) * 60 / per_minute
        self._left[destination] = left - 1, now
        return 0.0


def _has_test(due: Sequence[Due]) -> bool:
    return any(one.event_id is None for one in due)


class Deliveries:
    """Works on the outbox; of several processes one. ``chance`` returns numbers from 0 to 1."""

    name = "delivery"

    def __init__(
        self,
        options: DeliveryOptions,
        senders: Mapping[DestinationType, Sender],
        metrics: DeliveryMetrics,
        *,
        monotonic: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._options = options
        self._senders = senders
        self._metrics = metrics
        self._monotonic = monotonic
        self._chance = chance
        self._allowance = Allowance(monotonic)
        self._paused: dict[int, float] = {}  # destinations, until when
        self._failures: dict[int, int] = {}  # of destinations, one after the other
        self._couriers: dict[int, asyncio.Task[None]] = {}
        self._count_at = -math.inf  # all that wait are counted
        self._turn = asyncio.Lock()  # of the connection
        self._is_stopping = False

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then has some seconds to come to its end. Raises errors of the
        database, after which it may be run again."""
        connection = await connect(self._options.database_url, application="alatau-alert-delivery")
        woken = asyncio.Event()
        self._is_stopping = False
        try:
            while not await self._take_turn(connection):  # noqa: ASYNC110 - who has it tells nobody
                await asyncio.sleep(self._options.turn_seconds)
            await connection.add_listener(DELIVERIES_CHANNEL, lambda *_: woken.set())
            forget_at = self._monotonic()
            while True:
                woken.clear()
                if self._monotonic() >= forget_at:
                    async with self._asking(connection):
                        await forget_finished(connection, self._options.keep_finished)
                    forget_at = self._monotonic() + _FORGET_EVERY
                await self._wait(woken, await self._start_couriers(connection))
        except asyncio.CancelledError:
            await self._drain()
            raise
        finally:
            await self._dismiss()
            # A mark under way is made up for: the message is sent again.
            connection.terminate()

    async def _take_turn(self, connection: asyncpg.Connection) -> bool:
        async with deadline(connection, _QUESTION_SECONDS):
            return await take_turn(connection, "alatau.deliveries")

    async def _start_couriers(self, connection: asyncpg.Connection) -> float:
        """Start a courier to each destination that something is due of; return in how many seconds to look again."""
        async with self._asking(connection):
            recipients = await load_recipients(connection)
            if self._monotonic() >= self._count_at:
                self._metrics.note_waiting(await count_waiting(connection))
                self._count_at = self._monotonic() + self._options.poll_seconds
        wait = self._options.poll_seconds
        for recipient in recipients:
            if recipient.number in self._couriers:
                continue
            sender = self._senders.get(recipient.destination.type)
            gathering = sender.gather_seconds if sender else 0.0
            left = max(
                recipient.due_in + gathering, self._paused.get(recipient.number, 0) - self._monotonic()
            )
            if left > 0 and not recipient.has_test:  # who tests wants to know now
                wait = min(wait, left)
            else:
                self._couriers[recipient.number] = asyncio.create_task(
                    self._serve(connection, recipient, sender), name=f"alerts.courier.{recipient.number}"
                )
        return wait

    async def _wait(self, woken: asyncio.Event, seconds: float) -> None:
        """Wait until there may be something to do. Raises what a courier ended with."""
        word = asyncio.create_task(woken.wait(), name="alerts.delivery.word")
        try:
            done, _ = await asyncio.wait(
                {word, *self._couriers.values()}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            word.cancel()
        for number, courier in list(self._couriers.items()):
            if courier in done:
                del self._couriers[number]
                courier.result()

    async def _drain(self) -> None:
        self._is_stopping = True
        if self._couriers:
            await asyncio.wait(self._couriers.values(), timeout=_DRAIN_SECONDS)

    async def _dismiss(self) -> None:
        couriers = list(self._couriers.values())
        self._couriers.clear()
        for courier in couriers:
            courier.cancel()
        await asyncio.gather(*couriers, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _asking(self, connection: asyncpg.Connection) -> AsyncIterator[None]:
        async with self._turn, deadline(connection, _QUESTION_SECONDS):
            yield

    async def _serve(
        self, connection: asyncpg.Connection, recipient: Recipient, sender: Sender | None
    ) -> None:
        """Deliver what is due of one destination, until something fails."""
        limit = max(self._options.most_at_once, sender.at_once if sender else 1)
        async with (
            self._asking(connection),
            # Of one snapshot: an alert may be forgotten meanwhile, with all that is to be told of it.
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            due = await load_due(connection, recipient.number, limit)
            messages = await load_messages(connection, due, recipient.destination.language)
        at_once = sender.at_once if sender else limit
        for first in range(0, len(due), at_once):
            part = slice(first, first + at_once)
            wait = self._allowance.take(recipient.number, recipient.destination.per_minute)
            if wait > 0 and not _has_test(due[part]):
                self._paused[recipient.number] = self._monotonic() + wait
                return
            has_arrived = await self._deliver(connection, recipient, sender, due[part], messages[part])
            if self._is_stopping or not has_arrived:
                return

    async def _deliver(
        self,
        connection: asyncpg.Connection,
        recipient: Recipient,
        sender: Sender | None,
        due: Sequence[Due],
        messages: Sequence[Message],
    ) -> bool:
        """Deliver some messages together, and note what came of it; return whether they arrived."""
        type_ = recipient.destination.type
        try:
            if sender is None:
                raise DeliveryError(_NOT_SET_UP[type_])
            note = await _send(sender, recipient, messages)
        except DeliveryError as error:
            if error.is_of_content and (half := len(due) // 2):
                # One by one at last, if need be: the one that nobody takes keeps no other back.
                parts = (slice(half), slice(half, None))
                first, second = ((recipient, sender, due[part], messages[part]) for part in parts)
                return await self._deliver(connection, *first) and await self._deliver(connection, *second)
            await self._fail(connection, recipient, due, error)
            return False
        # It was away, or had been changed: who tests says that it is there again. One failure is of a message alone.
        is_back = self._failures.pop(recipient.number, 0) > 1 or _has_test(due)
        self._paused.pop(recipient.number, None)
        async with self._asking(connection):
            await mark_delivered(connection, [one.number for one in due], note)
            if is_back:
                await hurry(connection, recipient.number)
        self._metrics.note(type_, Outcome.DELIVERED, len(due))
        for one in due:
            self._metrics.note_delay(type_, one.waited)
        if note is not None:
            log.warning("delivered, but", destination=recipient.destination.name, error=note)
        return True

    async def _fail(
        self,
        connection: asyncpg.Connection,
        recipient: Recipient,
        due: Sequence[Due],
        error: DeliveryError,
    ) -> None:
        options, name = self._options, recipient.destination.name
        attempts = max(one.attempts for one in due) + 1
        wait = max(wait_after(attempts, options, self._chance()), error.after)
        failures = self._failures[recipient.number] = self._failures.get(recipient.number, 0) + 1
        # A test is not tried again.
        dead = [one for one in due if error.is_final or one.event_id is None]
        again = [one for one in due if one not in dead]
        async with self._asking(connection):
            await mark_failed(connection, [one.number for one in dead], str(error), None)
            await mark_failed(connection, [one.number for one in again], str(error), wait)
            # What has waited behind them is for the same destination.
            old = 0
            if not error.is_final:
                told = f"given up: {error}"
                old = await give_up(connection, recipient.number, options.give_up_seconds, told)
        if again:
            # By what the destination did, and not by the message: one that never arrives holds no other up for long.
            pause = max(wait_after(failures, options, self._chance()), error.after)
            self._paused[recipient.number] = self._monotonic() + pause
        type_ = recipient.destination.type
        self._metrics.note(type_, Outcome.FAILED, len(due))
        self._metrics.note(type_, Outcome.DEAD, len(dead) + old)
        log.warning(
            "not delivered", destination=name, error=str(error), dead=len(dead) + old, again_in=round(wait, 1)
        )


async def _send(sender: Sender, recipient: Recipient, messages: Sequence[Message]) -> str | None:
    """Send; whatever goes wrong is a DeliveryError, so that one destination never stops the others."""
    try:
        return await sender.send(recipient, messages)
    except DeliveryError:
        raise
    except Exception as error:  # of a library, at what nobody foresaw
        raise DeliveryError(f"{type(error).__name__}: {error}") from error
