"""One cause gives one alert: what a rule tells of already, the search leaves out."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

from alerts.finding import Finding
from sensors.rules import Rule
from storage.alert_states import ActiveAlert
from storage.alerts import AlertState

# By the pattern of the search, the kind of rule that tells of the same.
_SAME = {"silence": "silence", "stuck": "frozen"}


class Covered:
    """What the findings of rules tell of: silent devices and districts, and metrics that stand still."""

    def __init__(
        self, findings: Sequence[Finding], rules: Sequence[Rule], active: Mapping[str, ActiveAlert]
    ) -> None:
        self._active = active
        self._rules = {rule.name: rule for rule in rules}
        self._metrics: dict[tuple[str, str], set[str | None]] = collections.defaultdict(set)
        self._crowds: list[Finding] = []
        for finding in findings:
            if finding.kind_of_rule not in _SAME.values() or not (
                finding.begins or finding.fingerprint in active
            ):
                continue  # what begins nothing gives no alert
            if finding.device is None:
                self._crowds.append(finding)
            else:
                self._metrics[finding.kind_of_rule, finding.device].add(finding.metric)

    def without(self, findings: Sequence[Finding]) -> list[Finding]:
        """Return what the search has found less what is covered; what fires already goes on."""
        return [one for one in findings if self._fires(one) or not self._holds(one)]

    def _fires(self, finding: Finding) -> bool:
        alert = self._active.get(finding.fingerprint)
        return alert is not None and alert.state is not AlertState.PENDING

    def _holds(self, finding: Finding) -> bool:
        same = _SAME.get(str(finding.evidence.get("pattern")))
        if same is None or finding.kind_of_rule == "quality":
            return False
        if same == "silence" and any(self._is_of(finding, crowd) for crowd in self._crowds):
            return True
        if finding.device is None:
            return False
        metrics = self._metrics.get((same, finding.device), set())
        also = finding.evidence.get("also")
        return bool(metrics & {finding.metric, *(also if isinstance(also, list) else ())})

    def _is_of(self, finding: Finding, crowd: Finding) -> bool:
        """Return whether a finding is of the devices that a rule has found silent together."""
        rule = self._rules.get(crowd.rule or "")
        if rule is None or crowd.district not in (None, finding.district):
            return False
        asked = {name: rule.definition.get(name, ()) for name in ("kinds", "districts", "devices")}
        told = {"kinds": finding.kind, "districts": finding.district, "devices": finding.device}
        return all(not names or told[name] in names for name, names in asked.items())
