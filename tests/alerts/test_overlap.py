"""What a rule tells of already, the search leaves out."""

from __future__ import annotations

import dataclasses

import pytest

from alerts.finding import Finding
from alerts.overlap import Covered
from sensors.rules import Rule, RuleKind
from storage.alert_states import ActiveAlert
from storage.alerts import AlertState, Severity
from tests.alerts.making import NOON, PATTERN

RULES = [
    Rule("silent", RuleKind.SILENCE, {}),
    Rule("lamps", RuleKind.SILENCE, {"kinds": ["street_light"]}),
    Rule("frozen", RuleKind.FROZEN, {"metric": "pm2_5"}),
]


def searched(pattern: str, device: str | None = "air-1", **changes: object) -> Finding:
    """Return what the search says."""
    fingerprint = f"anomaly/{pattern}/{device}"
    evidence = {"pattern": pattern, "also": ["pm10"]}
    metric = None if pattern == "silence" else "pm2_5"
    of = dataclasses.replace(
        PATTERN, fingerprint=fingerprint, device=device, metric=metric, evidence=evidence
    )
    return dataclasses.replace(of, **changes)  # type: ignore[arg-type]


def ruled(rule: str, kind: str, device: str | None = "air-1", **changes: object) -> Finding:
    """Return what a rule says."""
    metric = "pm2_5" if kind == "frozen" else None
    of = dataclasses.replace(
        PATTERN,
        fingerprint=f"{rule}/{device or 'gate'}",
        rule=rule,
        kind_of_rule=kind,
        device=device,
        metric=metric,
    )
    return dataclasses.replace(of, **changes)  # type: ignore[arg-type]


def alert(fingerprint: str, state: AlertState = AlertState.FIRING) -> dict[str, ActiveAlert]:
    """Return that there is one."""
    known = ActiveAlert(
        1, fingerprint, None, "anomaly", Severity.WARNING, state, "", None, NOON, NOON, None, 0, 0
    )
    return {fingerprint: known}


def left(found: Finding, by_rules: list[Finding], active: dict[str, ActiveAlert] | None = None) -> bool:
    """Return whether the search still says it."""
    return bool(Covered(by_rules, RULES, active or {}).without([found]))


@pytest.mark.parametrize(
    ("found", "by_rules", "is_left"),
    [
        (searched("silence"), [ruled("silent", "silence")], False),
        (searched("silence"), [ruled("silent", "silence", "air-2")], True),
        (searched("silence"), [ruled("frozen", "frozen")], True),
        (searched("stuck"), [ruled("frozen", "frozen")], False),
        (searched("stuck"), [ruled("frozen", "frozen", metric="pm10")], False),
        (searched("stuck"), [ruled("frozen", "frozen", metric="no2")], True),
        (searched("stuck"), [ruled("silent", "silence")], True),
        (searched("departure"), [ruled("silent", "silence"), ruled("frozen", "frozen")], True),
        # A rule that may begin nothing now, by its schedule or while something is maintained, gives no alert.
        (searched("silence"), [ruled("silent", "silence", begins=False)], True),
        # Of a district, or the city, that is silent.
        (searched("silence"), [ruled("silent", "silence", None)], False),
        (searched("silence"), [ruled("silent", "silence", None, district=None)], False),
        (searched("silence"), [ruled("silent", "silence", None, district="golden")], True),
        (searched("silence", None, kind=None), [ruled("silent", "silence", None)], False),
        (searched("silence"), [ruled("lamps", "silence", None)], True),
        (searched("silence", None, kind=None), [ruled("lamps", "silence", None)], True),
        (searched("silence", kind="street_light"), [ruled("lamps", "silence", None)], False),
    ],
)
def test_the_search_leaves_out_what_a_rule_tells_of(
    found: Finding, by_rules: list[Finding], is_left: bool
) -> None:
    assert left(found, by_rules) == is_left


def test_what_fires_already_goes_on_and_what_is_pending_does_not() -> None:
    found, by_rules = searched("silence"), [ruled("silent", "silence")]
    assert left(found, by_rules, alert(found.fingerprint))
    assert left(found, by_rules, alert(found.fingerprint, AlertState.ACKNOWLEDGED))
    assert not left(found, by_rules, alert(found.fingerprint, AlertState.PENDING))


def test_a_rule_s_alert_that_is_there_covers_also_while_the_rule_may_begin_nothing() -> None:
    by_rules = [ruled("silent", "silence", begins=False)]
    assert not left(searched("silence"), by_rules, alert("silent/air-1"))
