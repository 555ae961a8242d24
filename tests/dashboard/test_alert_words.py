"""What alerts say on the page: in the reader's language, and in English as everybody else is told."""

from __future__ import annotations

import dataclasses
import re

import pytest
from playwright.async_api import expect

from alerts import phrases
from alerts.phrases import phrase
from alerts.speech import Speech
from sensors.catalogue import Catalogue
from sensors.messages import Language
from tests.alerts.making import ZONE, of_device, worded
from tests.alerts.told import EXAMPLES, NOON, PM
from tests.dashboard.city import Town
from tests.dashboard.conftest import Visitor
from tests.dashboard.test_glance import raise_alerts

pytestmark = pytest.mark.servers

DEVICE = "sim-air-quality-gate-0001"
# Says phrases as the page does in each of its languages.
SAY = """
async ([said, now]) => {
  const root = document.querySelector("script[type=module]").src.replace("/app.js", "");
  const { chooseLanguage, LANGUAGES } = await import(`${root}/i18n.js`);
  const { sentenceOf } = await import(`${root}/views/message.js`);
  const city = await (await import(`${root}/views/city.js`)).theCity();
  const found = {};
  for (const language of Object.keys(LANGUAGES)) {
    await chooseLanguage(language);
    found[language] = said.map((one) => sentenceOf({ sentence: "", message: { sentence: [one] } }, city, now));
  }
  return found;
}
"""


async def test_the_page_says_every_phrase_in_each_of_its_languages_as_mails_do(
    visitor: Visitor, catalogue: Catalogue
) -> None:
    visit = await visitor("vera")
    await visit.open("/ui/alerts")
    await expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    said = await visit.page.evaluate(SAY, [[one for one, _ in EXAMPLES], NOON // 1000])
    assert said["en"] == [english for _, english in EXAMPLES]
    for language in Language:
        speech = Speech(NOON, ZONE, catalogue, language)
        assert said[language] == [speech.say(one) for one, _ in EXAMPLES]


async def test_who_reads_kazakh_reads_alerts_in_it(visitor: Visitor, town: Town) -> None:
    metric, device = phrases.metric(PM), phrases.device(DEVICE)
    limit, value = phrases.quantity(150, PM), phrases.quantity(1163.24, PM)
    words = worded(
        phrase("title.above", metric=metric, limit=limit, where=device),
        phrase(
            "text.above", metric=metric, device=device, value=value, limit=limit, since=phrases.time(NOON)
        ),
    )
    high = of_device(DEVICE, "air_quality", "gate", "pm2_5")
    finding = dataclasses.replace(high, fingerprint="high", **words)
    await raise_alerts(town, [finding])
    visit = await visitor(locale="kk-KZ")
    page = visit.page
    await visit.open("/ui/alerts")
    title = f"PM2.5 150,0 µg/m³ шегінен жоғары: {DEVICE}"
    row = page.locator("ol.alerts li", has_text=title)
    sentence = re.compile(
        rf"^{DEVICE} құрылғысы: PM2\.5 1\s163 µg/m³, 150,0 µg/m³ шегінен жоғары\. "
        r"Басталған уақыты: 15 қаң\.( 2026)?, 17:00\.$"
    )
    await expect(row.locator(".alert-sentence")).to_have_text(sentence)
    await row.get_by_role("button", name="Қабылдау").click()
    await expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(title)
    await page.keyboard.press("Escape")
    await row.get_by_role("link", name=title).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    await expect(page.locator("section.sentence")).to_have_text(sentence)
