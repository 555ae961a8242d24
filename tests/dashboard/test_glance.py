"""The first screen in a real browser, before a running city: what it says is what the database holds."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import re
import time

import pytest
from playwright.async_api import Browser, Page, expect

from alerts.finding import Finding
from alerts.states import plan
from api.ui import read_site
from sensors.catalogue import Catalogue
from sensors.fleet import plan_fleet
from storage.alert_states import load_active, store_states
from storage.devices import register_devices
from tests.alerts.making import ZONE, of_device
from tests.api.people import PASSWORD
from tests.dashboard.city import DEVICES, Town
from tests.dashboard.conftest import Visitor
from tests.dashboard.visits import Visit, sign_in, visit

pytestmark = pytest.mark.servers

AIR = "sim-air-quality-gate-0001"
NARROW = {"width": 390, "height": 844}
# What is fixed in the page, but for names and figures: which letters each language is written in.
LETTERS = {"en-GB": "[A-Za-z]", "ru-RU": "[А-Яа-яЁё]", "kk-KZ": "[А-Яа-яӘәҒғҚқҢңӨөҰұҮүҺһІі]"}
ALERTS = {"en-GB": "Alerts", "ru-RU": "Тревоги", "kk-KZ": "Дабылдар"}
DRAWN = """() => {
  const map = document.querySelector(".map-stage").map;
  if (!map?.getLayer("devices") || !map.loaded()) return 0;
  return new Set(map.queryRenderedFeatures({ layers: ["devices"] }).map((one) => one.id)).size;
}"""


async def first_screen(visit: Visit) -> Page:
    """Open the page, and wait until the city's state is told."""
    await visit.open("/ui")
    await expect(visit.page.locator("h1.glance-sentence a").first).to_be_visible()
    return visit.page


async def drawn(page: Page, least: int, most: int = 10**6) -> None:
    """Wait until the map has drawn as many points: what it says itself, asked past the page's policy."""
    async with asyncio.timeout(30):
        while not least <= await page.evaluate(DRAWN) <= most:  # noqa: ASYNC110 - a frame tells nobody
            await asyncio.sleep(0.05)


async def loaded(page: Page) -> list[str]:
    """Return the addresses of all that the page has loaded."""
    names: list[str] = await page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    return names


async def raise_alerts(town: Town, findings: list[Finding]) -> None:
    """Do what a pass does that finds these and nothing else."""
    now = int(time.time() * 1_000_000)
    owner = town.city.owner
    async with owner.transaction():
        made = plan(await load_active(owner, now, lock=True), findings, now, ZONE)
        await store_states(owner, made.new, made.changes, now)


async def test_the_sentence_says_what_the_database_holds(visitor: Visitor, town: Town) -> None:
    visit = await visitor()
    await raise_alerts(town, [of_device(AIR, "air_quality", "gate", "pm2_5")])
    page = await first_screen(visit)
    sentence = page.locator("h1.glance-sentence")
    firing = await town.city.owner.fetchval("SELECT count(*) FROM alatau.alert WHERE state = 'firing'")
    await expect(sentence).to_contain_text(f"{firing} alert")
    row = await town.city.owner.fetchrow(
        """
        SELECT count(*) AS expected,
               count(*) FILTER (WHERE l.time IS NULL
                                OR now() - l.time > make_interval(secs => greatest(60, 3 * interval_seconds))
                                OR s.at > l.received_at) AS silent
        FROM alatau.device LEFT JOIN alatau.latest l USING (device_id)
             LEFT JOIN (SELECT device_id, at FROM alatau.device_status WHERE said = 'offline') s USING (device_id)
        WHERE disabled_at IS NULL
        """
    )
    assert row is not None
    said = (
        f"{row['silent']} of {row['expected']} devices silent" if row["silent"] else f"all {row['expected']}"
    )
    await expect(sentence).to_contain_text(said)
    state = await visit.ask("state")
    worst = max((one for one in state["districts"] if one["air"]), key=lambda one: one["air"]["index"])
    await expect(sentence).to_contain_text(worst["air"]["category"].replace("_", " "))


async def test_every_device_is_drawn_as_a_point_and_its_district_coloured(
    visitor: Visitor, town: Town
) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    placed = await town.city.owner.fetchval("SELECT count(*) FROM alatau.device WHERE longitude IS NOT NULL")
    await drawn(page, placed)
    levels = await page.evaluate(
        """() => {
          const map = document.querySelector(".map-stage").map;
          return [0, 1, 2, 3].map((id) => map.getFeatureState({ source: "districts", id }).level);
        }"""
    )
    state = await visit.ask("state")
    assert levels == [one["worst"]["level"] for one in state["districts"]]
    # Whoever does not see colours reads the same.
    for one in state["districts"]:
        label = page.locator(f'.map-label[href$="district={one["district"]}"]')
        await expect(label).to_have_attribute("data-level", str(one["worst"]["level"]))
        await expect(label).not_to_have_text("…")


async def test_what_the_first_screen_loads_of_our_files_is_light(visitor: Visitor) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    await drawn(page, 1)
    site = read_site()
    paths = {name.split("?")[0].partition("/ui/")[2] for name in await loaded(page) if "/ui/" in name}
    # Of another's base map it is only asked whether there is one. The worker loads on its own.
    paths |= {path for path in site.files if path.endswith("-worker.mjs")}
    files = {path.removeprefix(f"assets/{site.version}/") for path in paths} - {"map"} | {"index.html"}
    assert sum(len(gzip.compress(site.files[name])) for name in files) <= 600_000


async def test_a_published_reading_is_seen_within_two_seconds(visitor: Visitor, town: Town) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    await expect(page.locator(".pulse")).to_have_attribute("data-state", "live")
    town.publish("sim-noise-gate-0001", {"laeq": 61.5})
    newest = page.locator('.newest[data-device="sim-noise-gate-0001"]')
    await expect(newest).to_contain_text("61.5", timeout=2_000)


async def test_an_alert_comes_is_acknowledged_and_goes_by_itself(visitor: Visitor, town: Town) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    await expect(page.locator(".pulse")).to_have_attribute("data-state", "live")
    device = "sim-noise-green-0001"
    await raise_alerts(town, [of_device(device, "noise", "green", "laeq")])
    row = page.locator(".glance-alerts li", has_text=device).first
    await expect(row).to_be_visible()
    await row.get_by_role("button", name=re.compile("Acknowledge")).click()
    await expect(row.get_by_role("button")).to_have_count(0)
    by = "SELECT acknowledged_by FROM alatau.alert a JOIN alatau.device d USING (device_id) WHERE d.id = $1"
    assert "anna" in await town.city.owner.fetchval(f"{by} ORDER BY a.id DESC LIMIT 1", device)
    # It is over in the database: in a pass of later, which finds nothing.
    await town.city.owner.execute(
        "UPDATE alatau.alert SET state = 'resolved', resolved_at = now(), changed_at = now(), said_at = now() "
        "WHERE state <> 'resolved'"
    )
    await expect(page.locator(".glance-alerts li", has_text=device)).to_have_count(0)


async def test_who_may_only_look_gets_no_button(visitor: Visitor, town: Town) -> None:
    visit = await visitor("vera")
    await raise_alerts(town, [of_device(AIR, "air_quality", "gate", "pm2_5")])
    page = await first_screen(visit)
    await expect(page.locator(".glance-alerts li").first).to_be_visible()
    await expect(page.locator(".glance-alerts li button")).to_have_count(0)


async def test_a_device_that_comes_later_is_drawn_and_one_that_goes_is_not(
    visitor: Visitor, town: Town, catalogue: Catalogue
) -> None:
    visit = await visitor()
    await visit.page.clock.install(time=dt.datetime.now(dt.UTC))
    page = await first_screen(visit)
    placed = await town.city.owner.fetchval("SELECT count(*) FROM alatau.device WHERE longitude IS NOT NULL")
    await drawn(page, placed)
    fleet = plan_fleet(catalogue, DEVICES + 1)
    late = next(one for one in fleet if not one.id.endswith("0001"))
    await register_devices(town.city.owner, [late], catalogue)
    try:
        await page.clock.fast_forward(60_000)
        await drawn(page, placed + 1)
    finally:
        await town.city.owner.execute("DELETE FROM alatau.device WHERE id = $1", late.id)
    await page.clock.fast_forward(60_000)
    await drawn(page, placed, most=placed)


async def test_what_can_not_be_refreshed_grows_old_and_says_so(visitor: Visitor) -> None:
    visit = await visitor()
    await visit.page.clock.install(time=dt.datetime.now(dt.UTC))
    page = await first_screen(visit)
    visit.guard.expect("ERR_|Failed to load|Worker failed")
    await page.context.set_offline(True)
    await page.clock.fast_forward(40_000)
    await expect(page.locator("h1.glance-sentence")).to_have_class(re.compile("is-stale"))
    await expect(page.locator(".as-of")).to_contain_text("not refreshed")


async def test_a_narrow_screen_shows_all_of_it_without_scrolling_sideways(visitor: Visitor) -> None:
    visit = await visitor(viewport=NARROW, has_touch=True)
    page = await first_screen(visit)
    await expect(page.locator(".glance-multiples .multiple").first).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    for name in ("City", "Alerts", "Explore", "Devices", "Connect"):
        link = page.get_by_role("link", name=name, exact=True)
        box = await link.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= NARROW["width"]


@pytest.mark.parametrize("locale", LETTERS)
async def test_each_language_is_whole(visitor: Visitor, locale: str) -> None:
    visit = await visitor(locale=locale)
    page = await first_screen(visit)
    assert await page.evaluate("document.documentElement.lang") == locale[:2]
    await expect(page.locator(".glance-alerts h2")).to_have_text(ALERTS[locale])
    await expect(page.locator(".multiple-name a").nth(1)).to_have_text(re.compile(LETTERS[locale]))
    shown = await page.locator("body").inner_text()
    # A key that has no text is shown as itself.
    assert not re.findall(r"\b(?:glance|strip|map|level|air|unit|nav|shell|live|drill)\.[a-z_.]+", shown)


async def test_the_language_is_chosen_and_kept(visitor: Visitor) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    await page.locator('select[name="language"]').select_option("kk")
    await expect(page.locator("nav a").first).to_have_text("Қала")
    await page.reload()
    await expect(page.locator("nav a").first).to_have_text("Қала")


async def test_the_keyboard_reaches_what_is_said_and_opens_it(visitor: Visitor) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    focused = page.locator(":focus")
    await expect(focused).to_have_attribute("href", "/ui/alerts")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/ui/alerts$"))
    await page.go_back()
    await expect(page.locator("h1.glance-sentence a").first).to_be_visible()


async def test_the_map_is_a_table_too(visitor: Visitor) -> None:
    visit = await visitor()
    page = await first_screen(visit)
    await page.get_by_role("button", name="Table", exact=True).click()
    rows = page.locator(".map-table tbody tr")
    await expect(rows).to_have_count(4)
    await expect(page.locator(".map-table")).to_contain_text("US EPA AQI")
    await expect(page.locator(".map-table")).to_contain_text("2024-05-06")


async def test_without_webgl_the_map_is_a_plain_picture(browser: Browser, town: Town) -> None:
    context = await browser.new_context(locale="en-GB")
    try:
        await context.add_init_script(
            "const get = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
            "  return kind.startsWith('webgl') ? null : get.call(this, kind, ...more); };"
        )
        await sign_in(context, town.url, "anna")
        seen = await visit(context, town.url)
        page = await first_screen(seen)
        placed = await town.city.owner.fetchval(
            "SELECT count(*) FROM alatau.device WHERE longitude IS NOT NULL"
        )
        await expect(page.locator(".plan-device")).to_have_count(placed)
        await expect(page.locator(".plan-district[data-level]")).to_have_count(4)
        assert not await page.evaluate(
            "performance.getEntriesByType('resource').some((one) => one.name.includes('maplibre'))"
        )
        assert seen.guard.verdict() == ""
    finally:
        await context.close()


async def test_who_is_not_signed_in_comes_back_to_where_they_wanted_to(visitor: Visitor) -> None:
    visit = await visitor(None)
    visit.guard.expect("401")
    await visit.open("/ui/devices?state=silent")
    await expect(visit.page).to_have_url(re.compile(r"/sign-in\?to="))
    await visit.page.get_by_label("Name").fill("anna")
    await visit.page.get_by_label("Password").fill(PASSWORD)
    await visit.page.get_by_role("button", name="Sign in").click()
    await expect(visit.page).to_have_url(re.compile(r"/ui/devices\?state=silent$"))


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example", "x"]
)
async def test_signing_in_leads_to_no_other_place(visitor: Visitor, to: str) -> None:
    visit = await visitor(None)
    visit.guard.expect("401")
    await visit.open(f"/sign-in?to={to}")
    await visit.page.get_by_label("Name").fill("anna")
    await visit.page.get_by_label("Password").fill(PASSWORD)
    await visit.page.get_by_role("button", name="Sign in").click()
    await expect(visit.page).to_have_url(f"{visit.url}/ui")
