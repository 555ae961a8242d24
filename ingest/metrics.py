"""The closed set of ingest's metrics; ``docs/operations.md`` explains each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from ingest.http.problems import Problem
from sensors.checks import Reason

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
# Why the server ends a connection, as it counts them.
_ENDED = ("too_many", "head_too_slow", "head_too_large")


class IngestMetrics:
    """Counters and gauges of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.received = self._counter("messages_received", "Messages taken from the broker.")
        self.acknowledged = self._counter("messages_acknowledged", "Messages acknowledged after commit.")
        self.stored = self._counter("readings_stored", "Readings stored as new rows.")
        self.merged = self._counter("readings_merged", "Readings that completed a stored row.")
        self.duplicate = self._counter("readings_duplicate", "Readings that said nothing new.")
        self.numbered = self._counter("readings_numbered", "Readings with a number, stored or refused.")
        self.receipts_sent = self._counter("receipts_sent", "Receipts published to devices.")
        self.gaps_detected = self._counter(
            "sequence_gaps_detected", "Times that a device's numbers began to lack one."
        )
        self.gaps_abandoned = self._counter(
            "sequence_gaps_abandoned", "Gaps in numbers that devices gave up: readings are lost."
        )
        self.statuses = self._counter("statuses_recorded", "Statuses of devices that were news.")
        self.left_out = self._counter("readings_left_out", "Readings of other formats without any metric.")
        self.limited = self._counter("readings_limited", "Readings refused for their device's rate.")
        self.dead_letters = self._by_reason("dead_letters", "Messages kept as dead letters.")
        self.letters_folded = self._by_reason(
            "dead_letters_folded", "Refused messages counted in a kept dead letter."
        )
        self.reconnects = self._counter("broker_connections", "Connections made to the broker.")
        self.sessions_lost = self._counter(
            "broker_sessions_lost",
            "Reconnections where the broker had forgotten our session: readings may be lost.",
        )
        self.retries = self._counter(
            "commit_retries", "Transactions repeated after a passing database error."
        )
        self.errors_told = self._counter("errors_told", "Refusals told to devices.")
        self.errors_withheld = self._counter("errors_withheld", "Refusals not told, because one just was.")
        self.letters_trimmed = self._counter(
            "dead_letters_trimmed", "Oldest dead letters deleted at the bound."
        )
        self.http_messages = self._counter(
            "http_messages", "Messages answered for after their commit, by HTTP."
        )
        self.http_problems = self._by(
            "problem",
            [problem.slug for problem in Problem],
            "http_problems",
            "Requests answered with a problem.",
        )
        self.http_waiting = self._gauge("http_waiting", "Messages by HTTP that wait for their commit.")
        self._http_connections = self._gauge("http_connections", "Connections of devices by HTTP.")
        self._http_refused = self._by(
            "reason", _ENDED, "http_connections_refused", "Connections by HTTP ended by a limit."
        )
        self.in_flight = self._gauge("messages_in_flight", "Messages taken and not yet acknowledged.")
        self.broker_up = self._gauge("broker_connected", "1 while subscribed at the broker.")
        self.database_up = self._gauge("database_available", "1 while transactions commit.")
        self.backlog = self._gauge(
            "broker_backlog_messages", "Messages that the broker holds, as it says itself; NaN: it doesn't."
        )
        self.devices = self._gauge("devices_known", "Devices that messages are routed to.")
        self.statuses_followed = self._gauge(
            "statuses_followed", "1 while this worker follows what devices say of themselves."
        )
        self.limited_devices = self._gauge("devices_limited", "Devices limited within the last minute.")
        self.refusal_alarm = self._gauge("refusal_alarm", "1 while nearly everything is refused.")
        self.cut_messages = self._histogram("cut_messages", "Messages in one transaction.", _SIZES)
        self.commit_seconds = self._histogram("commit_seconds", "Time of one transaction.", _SECONDS)
        self.lag_seconds = self._histogram(
            "lag_seconds",
            "From a reading's own time to its commit; one sample per transaction and kind.",
            _SECONDS,
        )

    def count_connections(self, count: Callable[[], int]) -> None:
        """Ask ``count`` how many connections by HTTP are open."""
        self._http_connections.set_function(count)

    def refuse_connection(self, reason: str) -> None:
        """Count one connection by HTTP that was ended by a limit."""
        self._http_refused.labels(reason).inc()

    def messages_held(self) -> int:
        """Return how many messages are taken and not yet acknowledged."""
        return int(next(iter(self.in_flight.collect())).samples[0].value)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"alatau_ingest_{name}", text, registry=self.registry)

    def _by_reason(self, name: str, text: str) -> Counter:
        return self._by("reason", list(Reason), name, text)

    def _by(self, label: str, values: Iterable[str], name: str, text: str) -> Counter:
        counter = Counter(f"alatau_ingest_{name}", text, [label], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"alatau_ingest_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"alatau_ingest_{name}", text, buckets=buckets, registry=self.registry)
