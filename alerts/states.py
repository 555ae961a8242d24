"""From what holds now to the states of alerts: pending → firing → acknowledged → resolved. No clock, no I/O.

- What is found is pending until it has held for ``hold``, then it fires; at once where that is 0.
- What fires, acknowledged or not, is resolved when it has not been found for ``clear``. Of what has ended before on the
  same day this is a minute at least, and doubles each time up to an hour: one that comes and goes stays one alert.
- What was pending and is not found is over at once, and nobody hears of it.
- Another severity is a step of what fires, acknowledged or not, as another state is; another sentence is none.
- What nothing is known of, because its evaluation failed, stays as it is.
"""

from __future__ import annotations

import dataclasses
import math
import zoneinfo
from collections.abc import Collection, Iterable, Mapping

from alerts import phrases
from alerts.finding import Finding
from alerts.speech import Speech
from sensors.messages import AlertMessage
from sensors.times import SECOND, from_microseconds
from storage.alert_states import ActiveAlert, AlertChange, AlertContent, NewAlert
from storage.alerts import AlertState, Severity

_MINUTE = 60 * SECOND
_HOUR = 60 * _MINUTE
# What an alert says is renewed this often while nothing else of it changes: each time, its row is written anew and told
# to every stream.
REFRESH = 5 * _MINUTE


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a pass makes of the alerts."""

    new: list[NewAlert]
    changes: list[AlertChange]


def plan(
    active: Iterable[ActiveAlert],
    findings: Iterable[Finding],
    now: int,
    zone: zoneinfo.ZoneInfo,
    blind: Collection[str] = (),
) -> Plan:
    """Return what becomes of the alerts at ``now`` (Unix µs); ``zone`` is that of the clock that they speak of.

    ``blind`` are names of rules, and kinds of those without a name, whose evaluation failed. Of findings with the same
    fingerprint the last one counts.
    """
    found = {finding.fingerprint: finding for finding in findings}
    made = Plan([], [])
    for alert in active:
        finding = found.pop(alert.fingerprint, None)
        if finding is not None:
            change = _go_on(alert, finding, now)
        elif (alert.rule or alert.kind_of_rule) in blind:
            continue
        else:
            change = _end(alert, now, zone)
        if change is not None:
            made.changes.append(change)
    made.new.extend(_begin(finding, now) for finding in found.values() if finding.begins)
    return made


def clear_time(clear: int, ended: int) -> int:
    """Return for how long an alert must be gone, µs, of which ``ended`` have ended within a day."""
    if ended == 0:
        return clear
    return int(max(clear, min(max(clear, _MINUTE) * math.ldexp(1, min(ended, 30)), _HOUR)))


def by_fingerprint(active: Iterable[ActiveAlert]) -> Mapping[str, ActiveAlert]:
    """Return alerts by what they are about."""
    return {alert.fingerprint: alert for alert in active}


def _begin(finding: Finding, now: int) -> NewAlert:
    fires = now - finding.since >= finding.hold
    return NewAlert(
        fingerprint=finding.fingerprint,
        rule=finding.rule,
        kind_of_rule=finding.kind_of_rule,
        device=finding.device,
        district=finding.district,
        kind=finding.kind,
        metric=finding.metric,
        state=AlertState.FIRING if fires else AlertState.PENDING,
        content=_content(finding, finding.since),
    )


def _content(finding: Finding, since: int) -> AlertContent:
    return AlertContent(
        severity=Severity(finding.severity),
        title=finding.title,
        sentence=finding.sentence,
        since=from_microseconds(since),
        value=finding.value,
        low=finding.low,
        high=finding.high,
        evidence=finding.evidence,
        clear_seconds=finding.clear / SECOND,
        message=finding.message,
    )


def _go_on(alert: ActiveAlert, finding: Finding, now: int) -> AlertChange | None:
    since = min(alert.since, finding.since)
    fires = alert.state is AlertState.PENDING and finding.begins and now - since >= finding.hold
    is_graded = finding.severity != alert.severity
    is_due = finding.sentence != alert.sentence and now - alert.said_at >= REFRESH
    if not (fires or is_graded or is_due or alert.gone_since is not None):
        return None
    # Of what is pending nobody has heard.
    is_step = fires or (is_graded and alert.state is not AlertState.PENDING)
    return AlertChange(
        alert.id,
        AlertState.FIRING if fires else alert.state,
        None,
        _content(finding, since) if fires or is_graded or is_due else None,
        finding.sentence if is_step else None,
        finding.message if is_step else None,
    )


def _end(alert: ActiveAlert, now: int, zone: zoneinfo.ZoneInfo) -> AlertChange | None:
    gone_since = now if alert.gone_since is None else alert.gone_since
    patience = 0 if alert.state is AlertState.PENDING else clear_time(alert.clear, alert.ended)
    if now - gone_since >= patience:
        over = phrases.phrase("text.over", time=phrases.time(gone_since))
        said = f"{Speech(now, zone).say(over)} {alert.sentence}"
        message: AlertMessage | None = alert.message and {
            "title": alert.message["title"],
            "sentence": [over, *alert.message["sentence"]],
        }
        return AlertChange(alert.id, AlertState.RESOLVED, from_microseconds(gone_since), None, said, message)
    if alert.gone_since is None:
        return AlertChange(alert.id, alert.state, from_microseconds(now), None, None)
    return None
