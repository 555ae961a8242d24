from __future__ import annotations

import datetime as dt

import httpx2
import pytest

from sensors.catalogue import parse_city_file
from sensors.kinds import DeviceSpec
from storage.catalogue import apply_city_file
from storage.devices import register_devices
from tests.api.answers import NOW, every_page, fetch
from tests.api.conftest import Served
from tests.cities import City

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    await city.write(
        "air_quality",
        [
            ("air-1", NOW - 2 * MINUTE, {"pm2_5": 20.5, "temperature": -3.0}),
            ("air-1", NOW - MINUTE, {"pm2_5": 21.5}),
            ("air-2", NOW - 60 * MINUTE, {"temperature": -5.0}),
        ],
    )
    # What arrives last is not what is latest.
    await city.write("air_quality", [("air-1", NOW - 30 * MINUTE, {"pm2_5": 99.0, "humidity": 80.0})])
    await city.write("weather", [("weather-1", NOW, {"temperature": -4.0})])


async def test_latest_is_by_the_devices_own_time_for_each_metric(client: httpx2.AsyncClient) -> None:
    (device,) = (await fetch(client, "latest", device="air-1"))["devices"]
    assert device["time"] == "2026-01-15T11:59:00Z"
    assert device["received_at"] == "2026-01-15T11:59:02Z"
    assert (device["age_seconds"], device["stale"]) == (60.0, False)
    assert device["values"] == {
        "pm2_5": {
            "value": 21.5,
            "unit": "ug/m3",
            "time": "2026-01-15T11:59:00Z",
            "age_seconds": 60.0,
            "stale": False,
        },
        "temperature": {
            "value": -3.0,
            "unit": "Cel",
            "time": "2026-01-15T11:58:00Z",
            "age_seconds": 120.0,
            "stale": False,
        },
        "humidity": {
            "value": 80.0,
            "unit": "%",
            "time": "2026-01-15T11:30:00Z",
            "age_seconds": 1800.0,
            "stale": True,
        },
    }


async def test_a_device_silent_for_more_than_three_intervals_is_stale(client: httpx2.AsyncClient) -> None:
    (device,) = (await fetch(client, "latest", device="air-2"))["devices"]
    assert device["stale"]
    assert device["age_seconds"] == 3600


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, {"air-1", "air-2", "weather-1"}),
        ({"kind": "weather"}, {"weather-1"}),
        ({"district": "gate,golden"}, {"air-1", "air-2", "weather-1"}),
        ({"metric": "pm2_5"}, {"air-1"}),
        ({"metric": ["pm2_5", "temperature"], "kind": "air_quality"}, {"air-1", "air-2"}),
        ({"metric": "temperature"}, {"air-1", "air-2", "weather-1"}),
        ({"simulated": "true"}, set()),
        ({"metric": "laeq"}, set()),
        ({"bbox": "76.9,43.4,77.1,43.5"}, {"air-1"}),
        ({"bbox": "77.1,43.4,76.9,43.5"}, set()),
        ({"near": "77.001,43.48,100"}, {"air-1"}),
        ({"near": "77.001,43.48,50"}, set()),
        ({"polygon": "76.9,43.4 77.1,43.4 77.0,43.6"}, {"air-1"}),
        ({"polygon": "76.9,43.4 76.95,43.4 76.9,43.6 76.9,43.4"}, set()),
        ({"tag": "pole:7"}, {"air-2"}),
        ({"tag": ["pole:7", "pole:8"]}, set()),
    ],
)
async def test_latest_values_are_filtered(
    client: httpx2.AsyncClient, parameters: dict[str, str | list[str]], expected: set[str]
) -> None:
    devices = (await fetch(client, "latest", **parameters))["devices"]
    assert {device["device"] for device in devices} == expected


async def test_a_value_is_not_stale_within_a_minute_however_short_the_interval(
    client: httpx2.AsyncClient, city: City
) -> None:
    for seconds, is_stale in ((60, False), (61, True)):
        spec = DeviceSpec(f"fast-{seconds}", "noise", "gate", interval="PT1S")
        city.number.update(await register_devices(city.owner, [spec], city.catalogue))
        await city.write("noise", [(spec.id, NOW - dt.timedelta(seconds=seconds), {"laeq": 50.0})])
        (device,) = (await fetch(client, "latest", device=spec.id))["devices"]
        assert device["stale"] == device["values"]["laeq"]["stale"] == is_stale
    await city.owner.execute("DELETE FROM alatau.device WHERE id LIKE 'fast-%'")


async def test_only_the_metrics_asked_for_are_shown(client: httpx2.AsyncClient) -> None:
    (device,) = (await fetch(client, "latest", device="air-1", metric="humidity"))["devices"]
    assert set(device["values"]) == {"humidity"}


async def test_latest_values_are_paged_each_device_once(client: httpx2.AsyncClient) -> None:
    pages = await every_page(client, "latest", limit=1)
    assert [d["device"] for page in pages for d in page["devices"]] == ["air-1", "air-2", "weather-1"]


async def test_latest_values_as_geojson_are_points_or_nowhere(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/v1/latest", headers={"Accept": "application/geo+json"})
    features = {one["id"]: one for one in response.json()["features"]}
    assert features["air-1"]["geometry"] == {"type": "Point", "coordinates": [77.0, 43.48]}
    assert features["air-2"]["geometry"] is None
    assert features["air-1"]["properties"]["values"]["pm2_5"]["value"] == 21.5


async def test_a_metric_added_later_is_absent_until_it_is_measured(application: Served, city: City) -> None:
    file = parse_city_file(
        '[[metric]]\nkind = "weather"\nname = "uv_index"\ntitle = "UV index"\nunit = "1"\n'
        "minimum = 0\nmaximum = 20\nresolution = 1\n",
        "more.toml",
    )
    await apply_city_file(city.owner, file, "more.toml")
    async with application() as client:
        (device,) = (await fetch(client, "latest", device="weather-1"))["devices"]
        assert set(device["values"]) == {"temperature"}
        assert (await fetch(client, "latest", metric="uv_index"))["devices"] == []
