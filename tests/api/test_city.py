from __future__ import annotations

import itertools

import httpx2

from sensors.catalogue import Catalogue
from tests.api.answers import fetch


async def test_districts_say_that_their_outlines_are_illustrative(
    client: httpx2.AsyncClient, catalogue: Catalogue
) -> None:
    answer = await fetch(client, "districts")
    assert answer["city"] == {"name": "alatau", "title": "Alatau City", "timezone": "Asia/Almaty"}
    assert [one["name"] for one in answer["districts"]] == ["gate", "golden", "growing", "green"]
    assert "illustrative" in answer["outlines"]


async def test_districts_as_geojson_are_closed_counterclockwise_rings(client: httpx2.AsyncClient) -> None:
    by_header = await client.get("/api/v1/districts", headers={"Accept": "application/geo+json"})
    by_parameter = await client.get("/api/v1/districts", params={"format": "geojson"})
    assert by_header.json() == by_parameter.json()
    assert by_header.headers["content-type"] == "application/geo+json"
    for feature in by_header.json()["features"]:
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring)) > 0
        assert "illustrative" in feature["properties"]["outline"]


async def test_kinds_list_their_metrics_in_order(client: httpx2.AsyncClient, catalogue: Catalogue) -> None:
    kinds = (await fetch(client, "kinds"))["kinds"]
    assert [kind["name"] for kind in kinds] == [kind.name for kind in catalogue.kinds]
    assert [m["name"] for m in kinds[0]["metrics"]] == list(catalogue.kinds[0].columns)


async def test_a_metric_names_every_kind_that_measures_it(client: httpx2.AsyncClient) -> None:
    metrics = {metric["name"]: metric for metric in (await fetch(client, "metrics"))["metrics"]}
    assert {"air_quality", "weather"} <= set(metrics["temperature"]["kinds"])
    assert metrics["temperature"]["unit"] == "Cel"
    assert metrics["vehicles"]["behaviour"] == "counter"
    assert metrics["pm2_5"]["resolution"] == 0.1
