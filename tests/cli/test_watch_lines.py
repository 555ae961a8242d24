"""How ``alatau device watch`` shows a message: one line, whatever a device has sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from cli.watch_lines import heading, line

TIME = "2026-11-22T10:00:01.250000Z"
REFUSED = {
    "time": TIME,
    "verdict": "refused",
    "topic": "alatau/v1/air-1/telemetry",
    "payload": '{"pm2.5": 83.4}',
    "bytes": 15,
    "reason": "unknown_metric",
    "detail": 'air_quality has no metric "pm2.5"; did you mean "pm2_5"?',
}
STORED = {
    "time": TIME,
    "verdict": "stored",
    "readings": 1,
    "age_seconds": 0.41,
    "values": {"pm2_5": 83.4, "temperature": -3.1},
    "units": {"pm2_5": "ug/m3", "temperature": "Cel"},
}
SEVEN = {f"m{n}": 1.0 for n in range(7)}
LINES: list[tuple[dict[str, Any], str]] = [
    (STORED, "10:00:01.250  ✓ stored   0.4 s old: pm2_5 83.4 ug/m3 · temperature -3.1 Cel"),
    (
        {**STORED, "readings": 30, "values": {"pm2_5": 83.4}},
        "10:00:01.250  ✓ stored   30 readings, the newest 0.4 s old: pm2_5 83.4 ug/m3",
    ),
    (
        {**STORED, "values": SEVEN, "units": dict.fromkeys(SEVEN, "1")},
        "10:00:01.250  ✓ stored   0.4 s old: m0 1 · m1 1 · m2 1 · m3 1 · m4 1 · m5 1 · 1 more",
    ),
    (
        REFUSED,
        '10:00:01.250  ✗ refused  air_quality has no metric "pm2.5"; did you mean "pm2_5"?  '
        'telemetry {"pm2.5": 83.4}',
    ),
    (
        {**STORED, **REFUSED, "verdict": "part", "values": {"pm2_5": 1.0}, "detail": "pm10 -1 is not …"},
        '10:00:01.250  ◐ in part  0.4 s old: pm2_5 1 ug/m3; pm10 -1 is not …  telemetry {"pm2.5": 83.4}',
    ),
    (
        {**REFUSED, "payload": None, "bytes": 90, "detail": "not JSON"},
        "10:00:01.250  ✗ refused  not JSON  telemetry 90 bytes",
    ),
    (
        {"time": TIME, "verdict": "counted", "reason": "undecodable", "times": 12},
        "10:00:01.250  ✗ again    undecodable, 12 more that are only counted",
    ),
    (
        {"time": TIME, "verdict": "receipt", "through": 18},
        "10:00:01.250  ⇤ receipt  all up to number 18 is kept",
    ),
    ({"time": TIME, "verdict": "status", "said": "offline"}, "10:00:01.250  ● status   offline"),
]


@pytest.mark.parametrize(("event", "shown"), LINES, ids=[event["verdict"] for event, _ in LINES])
def test_each_verdict_is_a_line(event: dict[str, Any], shown: str) -> None:
    assert line(event).plain == shown


@given(st.text(max_size=300), st.text(max_size=300))
def test_nothing_that_a_device_sent_moves_the_cursor_or_changes_a_colour(payload: str, detail: str) -> None:
    shown = line({**REFUSED, "payload": payload, "detail": detail}).plain
    assert shown.isprintable()
    assert len(shown) < 10 * 300 + 200


def test_what_looks_like_markup_stays_as_it_was_sent() -> None:
    shown = line({**REFUSED, "payload": "[bold red]\x1b[2J[/]"})
    assert isinstance(shown, Text)
    assert "[bold red]\\x1b[2J[/]" in shown.plain


def test_the_heading_says_what_is_known_of_the_device() -> None:
    device = {
        "id": "air-1",
        "kind": "air_quality",
        "district": "gate",
        "disabled": False,
        "status": {"said": "online", "at": TIME},
        "stored_through": 17,
    }
    assert heading(device) == (
        "air-1, air_quality in gate; says that it is online since 2026-11-22T10:00:01.250000Z; "
        "all up to number 17 is kept. Waiting for messages:"
    )
    assert "disabled: the broker does not let it in; has said nothing" in heading(
        {**device, "disabled": True, "status": None}
    )
