"""The documentation of alerts: its rules are rules, and it names every kind, member and state."""

from __future__ import annotations

import msgspec

from sensors.catalogue import Catalogue
from sensors.rules import DEFINITIONS, Definition, RuleKind, check_rule, read_rules
from storage.alerts import AlertState
from tests.docs.markdown import blocks, first_column, read

TEXT = read("docs/alerts.md")


def test_there_is_a_rule_of_every_kind_and_each_is_right(catalogue: Catalogue) -> None:
    (block,) = blocks("toml", "rules")
    rules = read_rules(block.text.encode(), "rules.toml")
    assert {rule.kind for rule in rules} == set(RuleKind)
    for rule in rules:
        check_rule(rule, catalogue)


def test_every_member_of_every_definition_is_explained() -> None:
    common = {field.encode_name for field in msgspec.structs.fields(Definition)}
    rows = {line.split("`")[1]: line for line in TEXT.splitlines() if line.startswith("| `")}
    for kind, definition in DEFINITIONS.items():
        for field in msgspec.structs.fields(definition):
            assert field.encode_name in common or f"`{field.encode_name}`" in rows[kind], (kind, field.name)


def test_every_state_is_explained_and_no_other() -> None:
    assert first_column(TEXT, "States") == list(AlertState)
