"""The way down from the city to a device and an alert, and the explorer, in a real browser."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import pathlib
import re
import urllib.parse

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.city import Town
from tests.dashboard.conftest import Visitor

pytestmark = pytest.mark.servers

DEVICE = "sim-air-quality-gate-0001"
EXPLORED = "/ui/explore?metric=pm2_5&agg=avg,max&group_by=district&step=PT1H&compare=-P7D"
# Views with the widest parts, each in a language, as a phone shows them.
NARROW = {
    "/ui/district?district=gate": "kk",
    "/ui/kind?kind=air_quality": "ru",
    f"/ui/device?device={DEVICE}": "kk",
    "/ui/devices": "ru",
    "/ui/explore?metric=pm2_5,laeq&group_by=district": "en",
}
FOCUSED = "document.activeElement.textContent"


async def loaded(page: Page, panels: int = 1) -> None:
    """Wait until every panel of a view has what it asked for."""
    await expect(page.locator("main .panel").nth(panels - 1)).to_be_visible()
    await expect(page.locator("main .panel[aria-busy]")).to_have_count(0)


async def tab_to(page: Page, text: str) -> None:
    """Press Tab until something with this text has the focus."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if (await page.evaluate(FOCUSED)).strip() == text:
            return
    pytest.fail(f"Tab does not come to {text!r}")


async def raise_alert(town: Town, device: str) -> int:
    """Store an alert about a device as the process of alerts does, and return its number."""
    number = await town.city.owner.fetchval(
        """
        INSERT INTO alatau.alert (kind_of_rule, fingerprint, severity, state, title, sentence, since, changed_at,
                                  fired_at, device_id, district, kind, metric, value, low, high, evidence,
                                  clear_seconds)
        SELECT 'anomaly', 'test ' || id, 'critical', 'firing', 'PM2.5 unusually high', 'PM2.5 is 163, 3 to 41 is usual',
               now() - interval '2 hours', now(), now(), device_id, district, kind, 'pm2_5', 163.0, 3.0, 41.0, $2, 0
        FROM alatau.device WHERE id = $1 RETURNING id
        """,
        device,
        {"neighbours": {"count": 3, "unusual": 0}, "times_in_30_days": 2},
    )
    await town.city.owner.execute(
        """
        INSERT INTO alatau.alert_event (alert_id, time, state, severity, value, sentence)
        VALUES ($1, now(), 'firing', 'critical', 163.0, 'PM2.5 is 163')
        """,
        number,
    )
    return int(number)


async def test_the_way_from_a_district_to_a_device_and_back_is_walked_by_keyboard(visitor: Visitor) -> None:
    visit = await visitor()
    page = visit.page
    await visit.open("/ui/district?district=gate")
    await loaded(page, 5)
    await tab_to(page, "Air quality station")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="Air quality station")).to_be_visible()
    await loaded(page, 10)
    await tab_to(page, DEVICE)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name=DEVICE)).to_be_visible()
    await loaded(page, 10)
    chart = page.get_by_role("group", name=re.compile(r"^PM2\.5\. PM2\.5: .* to .*"))
    await chart.focus()
    await page.keyboard.press("Home")
    first = await chart.locator("output").inner_text()
    await page.keyboard.press("End")
    assert await chart.locator("output").inner_text() != first
    await page.go_back()
    await expect(page.get_by_role("heading", level=1, name="Air quality station")).to_be_visible()


async def test_an_address_gives_the_same_view_after_reloading_going_back_and_sharing(
    visitor: Visitor,
) -> None:
    visit = await visitor()
    page = visit.page
    await visit.open(EXPLORED)
    await loaded(page)
    charts = page.locator("time-plot")
    await expect(charts).to_have_attribute("aria-label", re.compile("Gate District, average: "))
    await page.get_by_role("button", name="Together").click()
    await expect(charts).to_have_attribute("aria-label", re.compile(r"^PM2\.5\. average: "))
    together = page.url
    assert "group_by" not in together
    assert "compare=-P7D" in urllib.parse.unquote(together)
    await page.go_back()
    await expect(charts).to_have_attribute("aria-label", re.compile("Gate District, average: "))
    await expect(page.get_by_role("button", name="District", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    shared = await visitor("vera")
    await shared.open(together.removeprefix(visit.url))
    await expect(shared.page.locator("time-plot")).to_have_attribute(
        "aria-label", re.compile(r"^PM2\.5\. average: ")
    )
    await expect(shared.page.get_by_role("combobox", name="Step")).to_have_value("PT1H")


async def test_dragging_over_a_chart_asks_for_that_part_of_the_range(visitor: Visitor) -> None:
    visit = await visitor()
    page = visit.page
    await visit.open("/ui/explore?metric=pm2_5")
    await loaded(page)
    box = await page.locator(".u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=4)
    await page.mouse.up()
    await page.wait_for_url("**start=*")
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)
    answer = await visit.ask(f"series?metric=pm2_5&start={asked['start'][0]}&end={asked['end'][0]}&step=PT1H")
    assert 11 <= len(answer["groups"][0]["start"]) <= 14  # half a day, and what is begun at its ends


async def test_the_file_of_the_explorer_is_the_answer_of_the_api(
    visitor: Visitor, tmp_path: pathlib.Path
) -> None:
    visit = await visitor()
    page = visit.page
    # A range that is over, so that both answers are about the same.
    end = dt.datetime.fromisoformat((await visit.ask(f"latest?device={DEVICE}"))["devices"][0]["time"])
    span = f"start={_written(end - dt.timedelta(hours=12))}&end={_written(end)}"
    await visit.open(f"/ui/explore?metric=pm2_5&agg=avg,max&group_by=district&step=PT1H&compare=-P7D&{span}")
    await loaded(page)
    async with page.expect_download() as started:
        await page.get_by_role("link", name="CSV").click()
    download = await started.value
    assert download.suggested_filename == "series.csv"
    await download.save_as(tmp_path / "explored.csv")
    rows = csv.DictReader(io.StringIO((tmp_path / "explored.csv").read_text()))
    found = {
        (
            row["district"],
            dt.datetime.fromisoformat(row["start"]),
            int(row["count"]),
            float(row["avg"]) if row["avg"] else None,
        )
        for row in rows
    }
    answer = await visit.ask(f"series?metric=pm2_5&agg=avg,max&group_by=district&step=PT1H&{span}")
    expected = {
        (group["group"]["district"], dt.datetime.fromisoformat(start), count, average)
        for group in answer["groups"]
        for start, count, average in zip(group["start"], group["count"], group["avg"], strict=True)
    }
    assert len(expected) >= 4 * 12
    assert found == expected


def _written(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_an_alert_is_explained_and_acknowledged_with_a_note_through_the_page(
    visitor: Visitor, town: Town
) -> None:
    number = await raise_alert(town, DEVICE)
    visit = await visitor()
    page = visit.page
    await visit.open(f"/ui/device?device={DEVICE}")
    await page.get_by_role("link", name="PM2.5 unusually high").click()
    await expect(page.get_by_text("Its neighbours show nothing unusual")).to_be_visible()
    chart = page.get_by_role("group", name=re.compile("Expected was 3–41"))
    await expect(chart).to_be_visible()
    await page.get_by_label("Note").fill("a crew is on its way")
    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_text("a crew is on its way")).to_be_visible()
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    stored = await visit.ask(f"alerts/{number}")
    assert (stored["state"], stored["acknowledged"]["note"]) == ("acknowledged", "a crew is on its way")
    assert [step["state"] for step in stored["history"]] == ["firing", "acknowledged"]
    # Another page hears of it without being asked to.
    await visit.open("/ui/alerts")
    await loaded(page)
    row = page.get_by_role("listitem").filter(has_text="PM2.5 unusually high")
    await expect(row).to_contain_text("Acknowledged")
    await town.city.owner.execute(
        "UPDATE alatau.alert SET state = 'resolved', resolved_at = now(), changed_at = now(), said_at = now() "
        "WHERE id = $1",
        number,
    )
    await expect(row).to_have_count(0)


async def test_an_alert_of_no_value_shows_how_many_readings_came(visitor: Visitor, town: Town) -> None:
    number = await town.city.owner.fetchval(
        """
        INSERT INTO alatau.alert (kind_of_rule, fingerprint, severity, state, title, sentence, since, changed_at,
                                  fired_at, device_id, district, kind, evidence, clear_seconds)
        SELECT 'quality', 'lossy ' || id, 'warning', 'firing', 'Half is lost', 'Half of its readings are lost.',
               now() - interval '2 hours', now(), now(), device_id, district, kind, '{}', 0
        FROM alatau.device WHERE id = 'sim-noise-gate-0001' RETURNING id
        """
    )
    visit = await visitor()
    await visit.open(f"/ui/alert?alert={number}")
    chart = visit.page.get_by_role("group", name="Readings that came. Half of its readings are lost.")
    await expect(chart).to_be_visible()
    await town.city.owner.execute("DELETE FROM alatau.alert WHERE id = $1", number)


async def test_who_may_only_look_is_not_asked_to_acknowledge(visitor: Visitor, town: Town) -> None:
    number = await raise_alert(town, "sim-air-quality-green-0001")
    visit = await visitor("vera")
    await visit.open("/ui/alerts")
    await loaded(visit.page)
    row = visit.page.get_by_role("listitem").filter(has_text="PM2.5 unusually high")
    await expect(row).to_contain_text("Firing")
    await expect(visit.page.get_by_role("button", name=re.compile("^Acknowledge:"))).to_have_count(0)
    await visit.open(f"/ui/alert?alert={number}")
    await loaded(visit.page)
    await expect(visit.page.locator(".history li")).to_have_count(1)
    await expect(visit.page.get_by_label("Note")).to_have_count(0)
    await town.city.owner.execute("DELETE FROM alatau.alert WHERE id = $1", number)


async def test_a_page_that_nothing_streams_to_does_not_say_that_it_connects(visitor: Visitor) -> None:
    visit = await visitor()
    await visit.open(EXPLORED)
    await loaded(visit.page)
    await expect(visit.page.locator(".pulse")).to_be_hidden()
    await visit.page.get_by_role("link", name="Alerts", exact=True).click()
    await expect(visit.page.locator(".pulse")).to_have_attribute("data-state", "live")


async def test_a_refused_message_is_shown_with_its_reason_to_who_may_see_it(
    visitor: Visitor, town: Town
) -> None:
    script = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    town.publish(DEVICE, json.dumps({"pm2.5": script}).encode())
    operator = await visitor()
    await operator.open(f"/ui/device?device={DEVICE}")
    await expect(operator.page.get_by_text('did you mean "pm2_5"?').first).to_be_visible()
    # What anybody may send is text, whatever it says.
    await expect(operator.page.locator("pre").first).to_contain_text(script)
    viewer = await visitor("vera")
    viewer.guard.expect("403")
    await viewer.open(f"/ui/device?device={DEVICE}")
    await expect(viewer.page.get_by_role("alert").filter(has_text="operator")).to_be_visible()
    await expect(viewer.page.get_by_text('did you mean "pm2_5"?')).to_have_count(0)


async def test_a_device_that_is_gone_by_its_last_will_is_shown_so_in_words(
    visitor: Visitor, town: Town
) -> None:
    device = "sim-noise-gate-0001"
    visit = await visitor()
    await visit.open(f"/ui/device?device={device}")
    lead = visit.page.locator(".page-head .lead")
    town.publish(device, {"laeq": 50.5})
    await expect(lead).to_contain_text("Reporting")
    town.say(device, "offline")
    await expect(lead).to_contain_text(
        re.compile(r"Silent.*; went offline at \d\d:\d\d, said by its last will or by itself$")
    )
    town.say(device, "online")
    await expect(lead).to_contain_text("Reporting")


async def test_a_device_is_found_by_typing_a_part_of_its_id(visitor: Visitor) -> None:
    visit = await visitor()
    page = visit.page
    await visit.open("/ui/devices")
    await loaded(page)
    box = page.get_by_role("searchbox")
    await box.press_sequentially("sim-air-quality-gate")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text(DEVICE)
    await expect(page.get_by_role("searchbox")).to_be_focused()
    assert "q=sim-air-quality-gate" in page.url


async def test_views_fit_a_phone_in_every_language(visitor: Visitor) -> None:
    visit = await visitor(viewport={"width": 390, "height": 800}, is_mobile=True)
    page = visit.page
    for path, language in NARROW.items():
        if page.url.startswith(visit.url):
            await page.evaluate("language => localStorage.setItem('alatau.language', language)", language)
        await visit.open(path)
        await loaded(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, path
        text = await page.locator("body").inner_text()
        assert not re.findall(r"\b(?:drill|air|nav)\.[a-z_.]+\b", text), path
