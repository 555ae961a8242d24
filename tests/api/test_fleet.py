"""Devices by what they are doing: at noon air-1 reports, air-2 and traffic-1 are silent, the others as written."""

from __future__ import annotations

import datetime as dt

import httpx2
import pytest

from sensors.statuses import Said
from sensors.times import to_microseconds
from storage.device_status import Heard, record_statuses
from tests.api.answers import NOW, every_page, fetch, problem
from tests.cities import City

MINUTE = dt.timedelta(minutes=1)
WORST_FIRST = ["weather-1", "air-2", "traffic-1", "air-1", "sim-1"]


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    await city.write(
        "air_quality",
        [("air-1", NOW - 2 * MINUTE, {"pm2_5": 20.5}), ("air-2", NOW - 60 * MINUTE, {"pm2_5": 9.0})],
    )
    await city.write("traffic_flow", [("traffic-1", NOW - 5 * MINUTE, {"speed": 30.0})])
    await city.write("noise", [("sim-1", NOW, {"laeq": 50.0})])
    await city.owner.execute("UPDATE alatau.device SET disabled_at = $1 WHERE id = 'sim-1'", NOW)


async def test_devices_come_by_what_they_do_the_worst_first(client: httpx2.AsyncClient) -> None:
    document = await fetch(client, "fleet")
    assert [device["device"] for device in document["devices"]] == WORST_FIRST
    assert [device["state"] for device in document["devices"]] == [
        *("never", "silent", "silent", "reporting", "disabled")
    ]
    assert document["counts"] == {"reporting": 1, "silent": 2, "never": 1, "disabled": 1}
    silent = document["devices"][1]
    assert (silent["time"], silent["age_seconds"]) == ("2026-01-15T11:00:00Z", 3600.0)
    assert document["devices"][0]["age_seconds"] is None


async def test_the_worst_of_its_open_alerts_puts_a_device_before_all_that_are_only_silent(
    client: httpx2.AsyncClient, city: City
) -> None:
    for severity, state in (("warning", "acknowledged"), ("info", "firing"), ("critical", "pending")):
        await city.owner.execute(
            """
            INSERT INTO alatau.alert (kind_of_rule, fingerprint, severity, state, title, sentence, since, changed_at,
                                      device_id, clear_seconds)
            VALUES ('silence', $1, $1, $2, 'late', 'It is late', $3, $3, $4, 0)
            """,
            severity,
            state,
            NOW,
            city.number["air-1"],
        )
    worst = (await fetch(client, "fleet", limit=1))["devices"][0]
    assert (worst["device"], worst["alerts"]) == ("air-1", {"open": 2, "severity": "warning"})
    pages = await every_page(client, "fleet", limit=2)
    found = [device["device"] for page in pages for device in page["devices"]]
    assert found == ["air-1", *(device for device in WORST_FIRST if device != "air-1")]
    await city.owner.execute("DELETE FROM alatau.alert")


async def test_a_device_that_says_it_is_offline_is_silent_at_once_and_both_are_told_apart(
    client: httpx2.AsyncClient, city: City
) -> None:
    said = to_microseconds(NOW - MINUTE)
    await record_statuses(
        city.ingest, [Heard("air-1", Said.OFFLINE, said), Heard("air-2", Said.ONLINE, said)]
    )
    document = await fetch(client, "fleet", kind="air_quality", sort="id")
    assert [device["state"] for device in document["devices"]] == ["silent", "silent"]
    assert document["counts"]["silent"] == 2
    devices = (await fetch(client, "devices", kind="air_quality"))["devices"]
    at = "2026-01-15T11:59:00Z"
    assert [device["status"] for device in devices] == [
        {"said": "offline", "at": at},
        {"said": "online", "at": at},
    ]
    assert (await fetch(client, "state"))["devices"]["silent"] == 4
    await city.owner.execute("DELETE FROM alatau.device_status")


@pytest.mark.parametrize("sort", ["worst", "id"])
async def test_pages_of_one_device_each_are_the_whole_list(client: httpx2.AsyncClient, sort: str) -> None:
    pages = await every_page(client, "fleet", sort=sort, limit=1)
    found = [device["device"] for page in pages for device in page["devices"]]
    assert found == (WORST_FIRST if sort == "worst" else sorted(WORST_FIRST))


async def test_the_fleet_is_searched_by_a_part_of_the_id_and_counted_whatever_the_state(
    client: httpx2.AsyncClient,
) -> None:
    document = await fetch(client, "fleet", q="AIR", state="silent,never")
    assert [device["device"] for device in document["devices"]] == ["air-2"]
    assert document["counts"] == {"reporting": 1, "silent": 1, "never": 0, "disabled": 0}
    assert (await fetch(client, "fleet", q="100%_"))["devices"] == []


async def test_a_cursor_of_another_order_and_a_state_that_there_is_not_are_refused(
    client: httpx2.AsyncClient,
) -> None:
    cursor = (await fetch(client, "fleet", limit=1))["next"]
    refused = await client.get("/api/v1/fleet", params={"sort": "id", "cursor": cursor})
    assert problem(refused, 422, "invalid-parameter")["parameter"] == "cursor"
    refused = await client.get("/api/v1/fleet", params={"state": "silnt"})
    assert problem(refused, 422, "invalid-parameter")["nearest"] == "silent"
