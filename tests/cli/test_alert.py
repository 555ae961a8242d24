"""``rule`` and ``alert --status``: what is looked for, and what is wrong."""

from __future__ import annotations

import json
import pathlib

import asyncpg
import pytest

from alerts.service import builtin_rules
from storage.alert_rules import put_builtin_rules
from tests.alerts.making import PATTERN, passed
from tests.cli.command import Alatau

pytestmark = pytest.mark.servers

HIGH = ("threshold", "metric=pm2_5", "above=150", "clear=120", "lasting=PT5M")
FILE = """
[[rule]]
name = "noisy-nights"
kind = "threshold"
severity = "critical"
[rule.definition]
metric = "laeq"
above = 70
districts = ["gate"]
schedule = { days = ["fri", "sat"], from = "22:00", to = "06:00" }
"""


async def test_a_rule_is_added_changed_switched_and_removed(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    assert alatau("rule", "add", "high", *HIGH).out == "1 of 1 rules are new or changed"
    assert alatau("rule", "add", "high", *HIGH).out == "0 of 1 rules are new or changed"
    listed = alatau("rule", "list").out
    assert "high threshold warning on api metric=pm2_5, above=150, clear=120, lasting=PT5M" in listed
    assert alatau("rule", "switch", "high", "--off").out == "high is off"
    assert "high threshold warning off api" in alatau("rule", "list").out
    assert alatau("rule", "remove", "high").out == "high is removed"
    again = alatau("rule", "remove", "high")
    assert (again.code, "there is no rule high" in again.errors) == (1, True)
    acts = await connection.fetch("SELECT action FROM alatau.audit WHERE subject = 'high' ORDER BY audit_id")
    assert [act["action"] for act in acts] == ["put rule", "switch rule off", "delete rule"]


def test_a_file_of_rules_is_applied(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(FILE)
    assert alatau("rule", "apply", str(file)).out == "1 of 1 rules are new or changed"
    assert "noisy-nights threshold critical on file" in alatau("rule", "list").out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("x", "threshold", "metric=pm25", "above=1"), 'did you mean "pm2_5"?'),
        (("x", "threshold", "metric=pm2_5"), "give either above or below"),
        (("x", "threshold", "metric=pm2_5", "above=1", "clear=2"), "clear 2 is beyond the limit 1"),
        (("x", "threshold", "metric=pm2_5", "over=1"), 'did you mean "above"?'),
        (("x", "threshold", "metric"), "write metric=pm2_5"),
        (("x", "silence", "kinds=noise", "at_least=5m"), "write PT5M"),
        (("x", "silence", "kinds=noice"), 'did you mean "noise"?'),
        (("x", "rate", "metric=laeq", "within=PT1M"), "give either rise or fall"),
        (("x", "ratio", "metric=laeq", "to=pm2_5", "above=1"), "no kind measures laeq and pm2_5"),
        (("x", "frozen", "metric=laeq", "unchanged=P30D"), "write between PT0S and P7D"),
        (("X y", "frozen", "metric=laeq"), "is no name of a rule"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_with_what_would_be_right(
    alatau: Alatau, arguments: tuple[str, ...], told: str
) -> None:
    refused = alatau("rule", "add", *arguments)
    assert (refused.code, refused.out) == (1, "")
    assert told in refused.errors


def test_a_file_that_is_wrong_is_named(alatau: Alatau, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rules.toml"
    for text, told in (
        ("[[rule]", "correct it there"),
        ("[[rules]]", 'did you mean "rule"?'),
        (2 * FILE, "twice"),
    ):
        file.write_text(text)
        refused = alatau("rule", "apply", str(file))
        assert refused.code == 1
        assert "rules.toml" in refused.errors
        assert told in refused.errors
    assert "No such file" in alatau("rule", "apply", str(tmp_path / "none.toml")).errors


async def test_what_comes_with_us_is_switched_off_and_not_removed(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    await put_builtin_rules(connection, builtin_rules())
    refused = alatau("rule", "remove", "pm10-day")
    assert (refused.code, "rule switch pm10-day --off" in refused.errors) == (1, True)
    assert alatau("rule", "switch", "pm10-day", "--off").code == 0
    # The next start of the process leaves it so.
    assert await put_builtin_rules(connection, builtin_rules()) == 0
    assert "pm10-day exceedance warning off api" in alatau("rule", "list").out


async def test_what_is_wrong_is_shown_to_people_and_programs(
    alatau: Alatau, connection: asyncpg.Connection
) -> None:
    assert alatau("alert", "--status").out == "No alert: nothing is known to be wrong."
    await passed(connection, [PATTERN])
    shown = alatau("alert", "--status").out
    assert "warning firing 2026-01-15 11:20 PM2.5 of air-1 is 163.2 µg/m³ since 16:20." in shown
    (one,) = json.loads(alatau("alert", "--status", "--json").out)
    assert (one["severity"], one["state"], one["sentence"]) == ("warning", "firing", PATTERN.sentence)
    assert alatau("alert", "--json").code == 2
