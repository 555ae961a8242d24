"""How alerts are held against what went wrong."""

from __future__ import annotations

import dataclasses

import pytest

from alerts.quality_changes import Change
from benchmarks.scoring import AlertLog, Truth, score
from sensors.times import SECOND

HOUR = 3600 * SECOND
LOSSY = Truth("lossy", 0, 8 * HOUR, "noise", frozenset({"laeq"}), "noise-1", "gate")
FOUND = Change("completeness", 0, 0.6, 1.0, "noise", "gate", "noise-1")


@pytest.mark.parametrize(
    ("changed", "right"),
    [({}, 1), ({"pattern": "refused"}, 0), ({"device": "noise-2"}, 0), ({"device": None}, 0)],
)
def test_that_a_device_loses_readings_is_told_by_an_alert_of_it_that_says_so(
    changed: dict[str, str | None], right: int
) -> None:
    log = AlertLog()
    log.add(HOUR, [("lossy", dataclasses.replace(FOUND, **changed))])  # type: ignore[arg-type]
    scored = score(log.alerts, [LOSSY], [LOSSY])
    assert (scored.right, scored.found.get("lossy", 0)) == (right, right)


def test_that_it_is_silent_is_not_that_it_loses_readings() -> None:
    log = AlertLog()
    log.add(HOUR, [("lossy", FOUND)])
    outage = dataclasses.replace(LOSSY, fault="outage")
    assert score(log.alerts, [outage], [outage]).right == 0
