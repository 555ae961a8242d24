"""The closed set of metrics of alerts; ``docs/operations.md`` explains each."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from storage.alert_states import ActiveAlert, AlertChange, NewAlert
from storage.alerts import AlertState, Severity

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)


class AlertMetrics:
    """Counters and gauges of the process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.pass_seconds = Histogram(
            "alatau_alerts_pass_seconds", "Time of one pass.", buckets=_SECONDS, registry=self.registry
        )
        self.last_pass = Gauge(
            "alatau_alerts_last_pass_seconds",
            "When the last pass succeeded, Unix time.",
            registry=self.registry,
        )
        self.failures = Counter(
            "alatau_alerts_failures",
            "Times that a part of the process failed.",
            ["part"],
            registry=self.registry,
        )
        self.blind = Gauge(
            "alatau_alerts_evaluations_failing",
            "Rules and searches that the last pass could not evaluate.",
            registry=self.registry,
        )
        self.active = Gauge(
            "alatau_alerts_active",
            "Alerts that are not over.",
            ["state", "severity"],
            registry=self.registry,
        )
        self.steps = Counter(
            "alatau_alerts_steps",
            "Alerts that came to a state, or to another severity in it.",
            ["state"],
            registry=self.registry,
        )

    def count_steps(self, new: Iterable[NewAlert], changes: Iterable[AlertChange]) -> None:
        """Count what a pass has made of the alerts."""
        for one in new:
            self.steps.labels(one.state.value).inc()
        for change in changes:
            if change.step is not None:
                self.steps.labels(change.state.value).inc()

    def count_active(self, active: Iterable[ActiveAlert]) -> None:
        """Show what there is."""
        counts = Counts((alert.state, alert.severity) for alert in active)
        for state in AlertState:
            if state is not AlertState.RESOLVED:
                for severity in Severity:
                    self.active.labels(state.value, severity.value).set(counts[state, severity])
