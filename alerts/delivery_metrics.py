"""What is counted of deliveries; ``docs/operations.md`` explains each."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sensors.destinations import DestinationType

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)


class Outcome(enum.StrEnum):
    """What came of an attempt at a delivery; of those that failed, some are dead."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DEAD = "dead"


class DeliveryMetrics:
    """Counters and gauges of deliveries, in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "alatau_deliveries", "Attempts at deliveries.", ["type", "outcome"], registry=registry
        )
        self._waiting = Gauge(
            "alatau_deliveries_waiting", "Deliveries that wait.", ["type"], registry=registry
        )
        self._delay = Histogram(
            "alatau_delivery_delay_seconds",
            "From an alert's event to its delivery.",
            ["type"],
            buckets=_SECONDS,
            registry=registry,
        )
        for type_ in DestinationType:
            self._waiting.labels(type_.value)
            for outcome in Outcome:
                self._deliveries.labels(type_.value, outcome.value)

    def note(self, type_: DestinationType, outcome: Outcome, count: int) -> None:
        """Count attempts that came to the same."""
        self._deliveries.labels(type_.value, outcome.value).inc(count)

    def note_delay(self, type_: DestinationType, seconds: float) -> None:
        """Note how long a delivery took."""
        self._delay.labels(type_.value).observe(seconds)

    def note_waiting(self, waiting: Mapping[str, int]) -> None:
        """Note how many wait, by type."""
        for type_ in DestinationType:
            self._waiting.labels(type_.value).set(waiting.get(type_.value, 0))
