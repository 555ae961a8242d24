"""How well alerts tell what went wrong: alerts against a simulated city's ground truth."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from alerts.anomaly_findings import Anomaly
from alerts.quality_changes import Change
from sensors.times import SECOND, parse_timestamp
from simulators.lasting import Episode, Lasting
from simulators.outgoing import Label

# What comes again within this time after it was last there is the same alert, as the states' damping has it.
AGAIN = 1800 * SECOND
# An alert may begin so long after the end of what it tells of: it is seen when its buckets are complete.
GRACE = 1800 * SECOND


@dataclasses.dataclass(slots=True)
class Alert:
    """What one fingerprint said from its first to its last evaluation, Unix µs."""

    first: int
    last: int
    pattern: str
    device: str | None
    kind: str | None
    district: str | None
    metrics: set[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """One thing that went wrong."""

    fault: str
    begin: int
    end: int
    kind: str
    metrics: frozenset[str]
    device: str | None
    district: str | None


class AlertLog:
    """Puts the findings of each evaluation together to alerts."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self._open: dict[str, Alert] = {}

    def add(self, now: int, findings: Iterable[tuple[str, Anomaly | Change]]) -> None:
        """Take all findings of an evaluation with their fingerprints."""
        for fingerprint, anomaly in findings:
            metrics: set[str] = set()
            if isinstance(anomaly, Anomaly) and anomaly.metric:
                metrics = {anomaly.metric.name, *anomaly.also}
            known = self._open.get(fingerprint)
            if known is None or now - known.last > AGAIN:
                known = Alert(
                    now, now, anomaly.pattern, anomaly.device, anomaly.kind, anomaly.district, metrics
                )
                self._open[fingerprint] = known
                self.alerts.append(known)
            known.last = now
            known.metrics |= metrics


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """``delays`` are seconds from a fault's beginning to its first alert, by fault; the rest is missed and wrong."""

    alerts: int
    right: int
    found: Mapping[str, int]
    there: Mapping[str, int]
    delays: Mapping[str, Sequence[float]]
    missed: Sequence[Truth]
    wrong: Sequence[Alert]

    @property
    def precision(self) -> float:
        """Share of alerts that tell of something that went wrong."""
        return self.right / max(self.alerts, 1)

    @property
    def recall(self) -> float:
        """Share of what went wrong that an alert told of."""
        return sum(self.found.values()) / max(sum(self.there.values()), 1)


def truths_of(episodes: Iterable[Episode], labels: Iterable[Label], start: int, end: int) -> list[Truth]:
    """Return what went wrong and began between two times, Unix µs."""
    result = [
        Truth(e.fault.value, e.begin, e.end, e.kind, frozenset(e.metrics), e.device, e.district)
        for e in episodes
    ]
    for label in labels:
        at = parse_timestamp(label.time)
        metrics = frozenset([label.metric] if label.metric else [])
        result.append(Truth(label.fault, at, at, label.kind, metrics, label.device, None))
    return [truth for truth in result if start <= truth.begin < end]


def score(alerts: Sequence[Alert], truths: Sequence[Truth], counted: Sequence[Truth]) -> Score:
    """Hold alerts against all truths; only those in ``counted`` have to be found.

    An alert is right if it is of the device, or of the district or city, and names a metric of what went wrong while
    it did. A device's alert of an event that its whole district feels is wrong: it is one of fifty.
    """
    by_device: dict[str, list[Truth]] = collections.defaultdict(list)
    events: dict[str, list[Truth]] = collections.defaultdict(list)
    for truth in truths:
        (events[truth.kind] if truth.device is None else by_device[truth.device]).append(truth)
    first: dict[int, int] = {}
    wrong = []
    for alert in alerts:
        candidates = by_device[alert.device] if alert.device else events[alert.kind or ""]
        matched = [truth for truth in candidates if _tells(alert, truth)]
        if not matched:
            wrong.append(alert)
        for truth in matched:
            seen = max(alert.first, truth.begin)
            first[id(truth)] = min(first.get(id(truth), seen), seen)
    found: collections.Counter[str] = collections.Counter()
    there = collections.Counter(truth.fault for truth in counted)
    delays: dict[str, list[float]] = collections.defaultdict(list)
    for truth in counted:
        if id(truth) in first:
            found[truth.fault] += 1
            delays[truth.fault].append((first[id(truth)] - truth.begin) / SECOND)
    missed = [truth for truth in counted if id(truth) not in first]
    return Score(len(alerts), len(alerts) - len(wrong), found, there, delays, missed, wrong)


def _tells(alert: Alert, truth: Truth) -> bool:
    if alert.last < truth.begin or alert.first > truth.end + GRACE:
        return False
    if truth.fault == Lasting.DISTRICT_EVENT and alert.district not in (None, truth.district):
        return False
    if truth.fault == Lasting.OUTAGE:
        return alert.pattern == "silence"
    if truth.fault == Lasting.LOSSY:
        return alert.pattern == "completeness"
    return bool(alert.metrics & truth.metrics)


def median_minutes(delays: Sequence[float]) -> float:
    """Return the median of delays (seconds) in minutes."""
    return float(np.median(delays)) / 60 if len(delays) else float("nan")
