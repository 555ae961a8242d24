"""The closed set of maintenance's metrics; ``docs/operations.md`` explains each."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)


class MaintenanceMetrics:
    """Counters and gauges of the process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.database_up = Gauge(
            "alatau_maintenance_database_available", "1 while the database answers.", registry=self.registry
        )
        self.rounds = Counter(
            "alatau_maintenance_rounds", "Rounds of a loop that succeeded.", ["loop"], registry=self.registry
        )
        self.failures = Counter(
            "alatau_maintenance_failures", "Times that a loop failed.", ["loop"], registry=self.registry
        )
        self.last_success = Gauge(
            "alatau_maintenance_last_success_seconds",
            "When a loop's last round succeeded, Unix time.",
            ["loop"],
            registry=self.registry,
        )
        self.round_seconds = Histogram(
            "alatau_maintenance_round_seconds",
            "Time of one round of a loop.",
            ["loop"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rollup_rows = Counter(
            "alatau_maintenance_rollup_rows",
            "Rows of 5 minutes made of a kind's readings.",
            ["kind"],
            registry=self.registry,
        )
        self.rollup_notes = Counter(
            "alatau_maintenance_rollup_notes",
            "Notes of changed readings that were worked off.",
            ["kind"],
            registry=self.registry,
        )
        self.rollup_behind = Gauge(
            "alatau_maintenance_rollup_behind_seconds",
            "How far before now a kind's rollups end, when they were last made.",
            ["kind"],
            registry=self.registry,
        )
        self.dropped_chunks = Counter(
            "alatau_maintenance_chunks_dropped",
            "Chunks that retention dropped.",
            ["tier"],
            registry=self.registry,
        )
        self.dropped_bytes = Counter(
            "alatau_maintenance_bytes_dropped",
            "Bytes of chunks that retention dropped.",
            ["tier"],
            registry=self.registry,
        )
        self.compressed_chunks = Counter(
            "alatau_maintenance_chunks_compressed",
            "Chunks of readings that were compressed.",
            registry=self.registry,
        )
        self.failing: dict[str, str] = {}  # by loop, what its last round failed with

    def succeeded(self, loop: str, seconds: float) -> None:
        """Count a round of a loop; it fails no longer."""
        self.failing.pop(loop, None)
        self.rounds.labels(loop).inc()
        self.round_seconds.labels(loop).observe(seconds)
        self.last_success.labels(loop).set(time.time())

    def failed(self, loop: str, error: str) -> None:
        """Count a failure of a loop."""
        self.failing[loop] = error
        self.failures.labels(loop).inc()
