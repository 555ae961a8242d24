"""An alert as everybody is told of it: answers of the API, the stream, webhooks, the broker."""

from __future__ import annotations

from typing import Any

from sensors.catalogue import Catalogue
from storage.alerts import StoredAlert


def alert_shape(alert: StoredAlert, catalogue: Catalogue | None) -> dict[str, Any]:
    """Return the members of an alert; its unit is null without a catalogue, or a metric that it has no more."""
    metric = catalogue.metric_of.get(alert.metric) if catalogue and alert.metric else None
    is_bounded = alert.low is not None or alert.high is not None
    acknowledged = {
        "by": alert.acknowledged_by,
        "at": alert.acknowledged_at,
        "note": alert.acknowledged_note or "",
    }
    return {
        "id": str(alert.id),
        "rule": alert.rule,
        "kind_of_rule": alert.kind_of_rule,
        "severity": alert.severity,
        "state": alert.state,
        "title": alert.title,
        "sentence": alert.sentence,
        "message": alert.message,
        "since": alert.since,
        "changed_at": alert.changed_at,
        "acknowledged": acknowledged if alert.acknowledged_by is not None else None,
        "resolved_at": alert.resolved_at,
        "device": alert.device,
        "kind": alert.kind,
        "district": alert.district,
        "metric": alert.metric,
        "unit": metric.unit if metric else None,
        "value": alert.value,
        "expected": {"low": alert.low, "high": alert.high} if is_bounded else None,
        "evidence": dict(alert.evidence),
    }
