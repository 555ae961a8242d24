"""All rules at once: what holds now by each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import asyncpg
import structlog

from alerts.finding import Finding
from alerts.latest_rules import aggregate, ratio, silence, threshold
from alerts.scene import Report, Scene
from alerts.window_rules import exceedance, frozen, rate
from sensors.errors import RuleError
from sensors.rules import (
    Aggregate,
    Definition,
    Exceedance,
    Frozen,
    Rate,
    Ratio,
    Rule,
    Silence,
    Threshold,
    check_rule,
)
from sensors.times import SECOND
from storage.alert_rules import StoredRule, Window
from storage.kinds import Connection

_BUCKET = 300 * SECOND
log = structlog.get_logger("alerts.rules")


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluated:
    """What holds by the rules, and the names of those that could not be evaluated."""

    findings: list[Finding]
    blind: set[str]


class Evaluator:
    """Evaluates rules; those that look at buckets of five minutes only when there is another one."""

    def __init__(self) -> None:
        self._slow: dict[str, tuple[Rule, int, list[Finding]]] = {}

    async def evaluate(
        self, connection: Connection, rules: Sequence[StoredRule], windows: Sequence[Window], scene: Scene
    ) -> Evaluated:
        """Return what holds now. A rule that is wrong, or whose query fails, leaves its alerts as they are."""
        result = Evaluated([], set())
        for stored in rules:
            rule = stored.rule
            if not rule.enabled:
                continue
            try:
                found = await self._rule(connection, rule, scene)
            except (RuleError, asyncpg.PostgresError) as error:
                if connection.is_closed():
                    raise
                log.warning("a rule can't be evaluated", rule=rule.name, error=str(error))
                result.blind.add(rule.name)
            else:
                result.findings.extend(found)
        self._slow = {stored.rule.name: self._slow[stored.rule.name] for stored in rules
                      if stored.rule.name in self._slow}  # fmt: skip
        return dataclasses.replace(result, findings=muffle(result.findings, windows, scene.now))

    async def _rule(self, connection: Connection, rule: Rule, scene: Scene) -> list[Finding]:
        definition = check_rule(rule, scene.catalogue)
        bucket = scene.now // _BUCKET
        if isinstance(definition, Frozen | Exceedance):
            known = self._slow.get(rule.name)
            if known is None or known[:2] != (rule, bucket):
                known = (rule, bucket, await _findings(connection, rule, definition, scene))
                self._slow[rule.name] = known
            found = known[2]
        else:
            found = await _findings(connection, rule, definition, scene)
        schedule = definition.schedule
        if schedule is None or schedule.holds(scene.now, scene.catalogue.city.timezone):
            return found
        return [dataclasses.replace(one, begins=False) for one in found]


async def _findings(
    connection: Connection, rule: Rule, definition: Definition, scene: Scene
) -> list[Finding]:
    report = Report(rule, definition, scene)
    match definition:
        case Threshold():
            threshold(report, definition)
        case Ratio():
            ratio(report, definition)
        case Aggregate():
            aggregate(report, definition)
        case Silence():
            silence(report, definition)
        case Rate():
            await rate(report, definition, connection)
        case Frozen():
            await frozen(report, definition, connection)
        case Exceedance():
            await exceedance(report, definition, connection)
    return report.findings


def muffle(findings: Sequence[Finding], windows: Sequence[Window], now: int) -> list[Finding]:
    """Return findings so that what is being maintained raises nothing new; what there is goes on."""
    under_way = [w for w in windows if w.starts.timestamp() * SECOND <= now < w.ends.timestamp() * SECOND]
    if not under_way:
        return list(findings)
    return [
        dataclasses.replace(one, begins=False) if any(_concerns(w, one) for w in under_way) else one
        for one in findings
    ]


def _concerns(window: Window, finding: Finding) -> bool:
    if window.device is not None:
        return window.device == finding.device
    return window.district in (None, finding.district) and window.kind in (None, finding.kind)
