"""The rig itself: what the browser can do, and that the guard wakes."""

from __future__ import annotations

import re

import pytest

from tests.dashboard.conftest import Visitor
from tests.dashboard.visits import Visit

pytestmark = pytest.mark.servers

# A page of ours with a policy.
PAGE = "/sign-in"


def elsewhere(visit: Visit) -> str:
    """Return the address of the same server by another name, which is another origin."""
    return f"{visit.url.replace('127.0.0.1', 'localhost')}/healthz"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.error('broken')", "console error: broken"),
        ("setTimeout(() => { throw new Error('lost') })", "uncaught: .*lost"),
        ("fetch('/api/v1/nothing')", "console error: .*404"),
        ("fetch(OTHER).catch(() => {})", "CSP violation: connect-src"),
        ("document.body.append(Object.assign(new Image(), {src: OTHER}))", "CSP violation: img-src"),
        ("document.body.setAttribute('style', 'color: red')", "CSP violation: style-src"),
    ],
)
async def test_the_guard_notices_what_a_page_must_not_do(visitor: Visitor, script: str, told: str) -> None:
    visit = await visitor()
    await visit.open(PAGE)
    assert visit.guard.verdict() == ""
    await visit.page.evaluate(f"(OTHER) => {{ {script}; }}", elsewhere(visit))
    await visit.until(lambda: re.search(told, visit.guard.verdict()) is not None)
    visit.guard.expect(f"{told}|console error|another origin")


async def test_the_guard_notices_requests_to_others_where_no_policy_stops_them(visitor: Visitor) -> None:
    visit = await visitor()
    await visit.page.goto("about:blank")
    await visit.page.evaluate("(other) => { fetch(other).catch(() => {}); }", elsewhere(visit))
    await visit.until(lambda: f"another origin: {elsewhere(visit)}" in visit.guard.verdict())
    visit.guard.expect("another origin|console error")


async def test_a_visitor_is_signed_in_and_the_browser_draws_webgl2(visitor: Visitor) -> None:
    visit = await visitor("vera")
    await visit.open(PAGE)
    assert (await visit.ask("session"))["name"] == "vera"
    drawn = "document.createElement('canvas').getContext('webgl2') !== null"
    assert await visit.page.evaluate(drawn)


async def test_the_city_has_a_day_behind_it(visitor: Visitor) -> None:
    visit = await visitor()
    latest = (await visit.ask("latest?limit=1000"))["devices"]
    assert len(latest) >= 52
    series = await visit.ask("series?metric=pm2_5&group_by=district&step=PT1H&start=-PT24H")
    assert {group["group"]["district"] for group in series["groups"]} == {
        "gate",
        "golden",
        "growing",
        "green",
    }
    assert all(min(group["count"][1:-1]) > 0 for group in series["groups"])
