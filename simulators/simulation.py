"""The course of a simulation: history as arrays, then single readings as they fall due."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sensors.topics import Channel
from simulators.city import City
from simulators.compose import Composer, history_interval
from simulators.delivery import Delivery
from simulators.errors import SimulatorError
from simulators.faults import FaultInjector
from simulators.options import Clock, Phase, Progress, SimulateOptions
from simulators.outgoing import Outgoing, TruthLog
from simulators.presence import Presence
from simulators.publisher import Publisher
from simulators.schedule import IntervalSchedule, RateSchedule, Schedule

Report = Callable[[Progress], None]

_SECOND = 1_000_000
_DEFAULT_REPLAY = 24 * 3600 * _SECOND
# A gap longer than this is sent as arrays, as a device with a memory would after an outage.
_STORE_AND_FORWARD = 60 * _SECOND
# A load generator does not make up for more than this: its rate is a promise, not a debt.
_RATE_DEBT = 5 * _SECOND
# Readings that fall due within so many seconds of each other go out together.
_PACE = 0.01
_MESSAGES_BETWEEN_PUMPS = 32


class Simulation:
    """One run around a publisher; everything happens in the thread that calls ``run``.

    ``cursor`` divides what has been sent from what has not: every reading before it has been handed over.
    """

    def __init__(
        self,
        options: SimulateOptions,
        city: City,
        delivery: Delivery,
        publisher: Publisher,
        truth: TruthLog,
        report: Report,
        stop: threading.Event,
        clock: Clock,
    ) -> None:
        if not options.speed >= 1:
            raise SimulatorError(f"speed {options.speed:g} is below 1; 60 sends an hour in a minute")
        self._options = options
        self._city = city
        self._delivery = delivery
        self._publisher = publisher
        self._presence = Presence(publisher, [options.topics.of(d.id, Channel.STATUS) for d in city.fleet])
        self._truth = truth
        self._report = report
        self._stop = stop
        self._clock = clock
        self._composer = Composer(city)
        self._schedule: Schedule = (
            IntervalSchedule(city.interval, city.phase)
            if options.rate is None
            else RateSchedule(len(city.fleet), options.rate)
        )
        self._injector = FaultInjector(city, options.faults, self._schedule.spacing)
        self._block = round(options.speed * _SECOND)
        self._phase = Phase.CONNECTING
        self._fraction = 0.0
        self._readings = self._live_readings = self._skipped = self._since_pump = 0
        self._cursor = self._origin = clock.now()
        self._origin_monotonic = self._reported_at = clock.monotonic()
        self._reported_readings = 0
        self._deadline = float("inf")

    def run(self) -> Progress:
        """Connect, send the history, go live, drain; returns the last progress."""
        try:
            self._publisher.open(self._options.connect_timeout, self._stop.is_set)
            self._begin()
            self._go_live()
        finally:
            self._publisher.close(self._options.drain_timeout)
            self._truth.flush()
        self._phase = Phase.STOPPED
        progress = self._progress()
        self._report(progress)
        return progress

    def _begin(self) -> None:
        """Send what lies before the present, and leave the cursor where live goes on."""
        options, now = self._options, self._clock.now()
        asked = None if options.history is None else round(options.history.total_seconds() * _SECOND)
        if options.speed > 1:
            self._cursor = now - (asked or _DEFAULT_REPLAY)
        elif asked:
            self._phase = Phase.HISTORY
            self._cursor = now - asked
            step = options.history_step
            self._send_arrays(now, None if step is None else round(step.total_seconds() * _SECOND))
            self._wait_acknowledged()
            self._fraction = 1.0
        self._origin, self._origin_monotonic = self._cursor, self._clock.monotonic()

    def _send_arrays(self, until: int, step: int | None) -> None:
        """Send [cursor, until) as arrays, then what has fallen due meanwhile, until hardly any is left."""
        interval = history_interval(self._city, step)
        while until - self._cursor > 0 and not self._over():
            for fraction, message in self._composer.history(interval, self._cursor, until):
                if self._phase is Phase.HISTORY:
                    self._fraction = max(self._fraction, fraction)
                if not self._send(message, self._over):
                    return
            self._cursor = until
            now = self._clock.now()
            until = now if now - until > _STORE_AND_FORWARD else until
            interval = self._city.interval

    def _wait_acknowledged(self) -> None:
        while self._publisher.in_flight and not self._over():
            self._pump(0.05)

    def _go_live(self) -> None:
        self._phase = Phase.LIVE
        if self._options.duration is not None:
            self._deadline = self._clock.monotonic() + self._options.duration
        while not self._over():
            self._live_block()
        end = self._clock.monotonic() + self._options.drain_timeout
        for message in self._injector.flush():
            self._send(message, lambda: self._clock.monotonic() > end)
        while self._delivery.waiting and self._clock.monotonic() < end:
            self._pump(0.05)

    def _live_block(self) -> None:
        """Send the readings of the next second of wall time, each when it is due."""
        now = self._now()
        if self._options.rate is None and now - self._cursor > _STORE_AND_FORWARD * self._options.speed:
            self._send_arrays(now, None)
            return
        if self._options.rate is not None and now - self._cursor > _RATE_DEBT + self._block:
            self._skipped += len(self._schedule.due(self._cursor, now)[0])
            self._cursor = now
        end = self._cursor + self._block
        for message in self._composer.live(self._schedule, self._injector, self._cursor, end):
            if not self._wait_until(message.due) or not self._send(message, self._over):
                return
            self._live_readings += message.readings
        if self._wait_until(end - self._block // 2):
            self._cursor = end

    def _wait_until(self, due: int) -> bool:
        """Let the network work until a moment of the city (Unix µs); False when the run is over."""
        while (left := due - self._now()) > 0:
            if self._over():
                return False
            self._pump(max(_PACE, left / self._block))
        return not self._over()

    def _send(self, message: Outgoing, give_up: Callable[[], bool]) -> bool:
        """Hand a message over, waiting for room; False when it was given up."""
        if message.payload is None:
            self._presence.drop_out(message.row)
        else:
            self._presence.come_back(message.row)
            while not self._delivery.offer(message):
                if give_up():
                    return False
                self._pump(0.05)
            self._readings += message.readings
            self._since_pump += 1
            if self._since_pump >= _MESSAGES_BETWEEN_PUMPS:
                self._pump(0.0)
        self._truth.write(message.labels)
        return True

    def _pump(self, timeout: float) -> None:
        self._since_pump = 0
        self._publisher.pump(timeout)
        self._delivery.resend()
        if self._clock.monotonic() - self._reported_at >= 1.0:
            self._truth.flush()
            self._report(self._progress())

    def _over(self) -> bool:
        count = self._options.count if self._phase is Phase.LIVE else None
        return (
            self._stop.is_set()
            or (count is not None and self._live_readings >= count)
            or self._clock.monotonic() >= self._deadline
        )

    def _now(self) -> int:
        """Return the city's present, Unix µs: never ahead of the real one."""
        now = self._clock.now()
        if self._options.speed == 1:
            return now
        elapsed = self._clock.monotonic() - self._origin_monotonic
        return min(now, self._origin + round(elapsed * self._options.speed * _SECOND))

    def _progress(self) -> Progress:
        now, counts = self._clock.monotonic(), self._publisher.counts
        elapsed = max(now - self._reported_at, 1e-6)
        per_second = (self._readings - self._reported_readings) / elapsed
        self._reported_at, self._reported_readings = now, self._readings
        return Progress(
            phase=self._phase,
            fraction=self._fraction,
            published=counts.published,
            acknowledged=counts.acknowledged,
            refused=counts.refused,
            in_flight=self._publisher.in_flight,
            readings=self._readings,
            per_second=per_second,
            faults=self._truth.written,
            skipped=self._skipped,
            reconnects=counts.reconnects,
            connected=self._publisher.connected,
            behind=max(0.0, (self._now() - self._cursor - self._block) / _SECOND),
            refusals=dict(counts.refusals),
            stored=self._delivery.stored,
            waiting=self._delivery.waiting,
            resent=self._delivery.resent,
            dropped=self._delivery.dropped,
        )
