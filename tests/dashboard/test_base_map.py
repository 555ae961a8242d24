"""The operator's own base map on the first screen: its tiles are drawn, and its words stay words."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from sensors.catalogue import Catalogue
from tests.base_maps import protomaps
from tests.dashboard.city import Town
from tests.dashboard.conftest import Visitor

pytestmark = pytest.mark.servers

DRAWN = """() => {
  const map = document.querySelector(".map-stage")?.map;
  if (!map?.getLayer("devices") || !map.getSource("tiles")) return [];
  const layers = map.getStyle().layers.filter((one) => one.source === "tiles").map((one) => one.id);
  return [...new Set(map.queryRenderedFeatures({ layers }).map((one) => one.properties.kind))].sort();
}"""
ORDER = 'document.querySelector(".map-stage").map.getStyle().layers.map((one) => one.id)'


async def test_its_tiles_are_drawn_below_the_districts_and_its_source_is_named(
    visitor: Visitor, town: Town, catalogue: Catalogue
) -> None:
    outline = catalogue.district_of["gate"].outline
    center = [sum(one) / len(outline) for one in zip(*outline, strict=True)]
    town.place.base_map.write_bytes(protomaps(*center))
    try:
        visit = await visitor()
        await visit.open("/ui")
        async with asyncio.timeout(20):
            while await visit.page.evaluate(DRAWN) != ["highway", "ocean", "rail"]:  # noqa: ASYNC110 - a frame tells nobody
                await asyncio.sleep(0.05)
        order: list[str] = await visit.page.evaluate(ORDER)
        of_tiles = [place for place, name in enumerate(order) if name.startswith("tiles-")]
        assert order.index("land") < min(of_tiles)
        assert max(of_tiles) < order.index("districts")
        attribution = visit.page.locator(".map-attribution")
        await expect(attribution).to_have_text("© OpenStreetMap 2026")
        await expect(attribution.locator("*")).to_have_count(0)
    finally:
        town.place.base_map.unlink()
