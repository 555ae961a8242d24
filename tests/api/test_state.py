"""The city's state: what its page says first, held against what was written."""

from __future__ import annotations

import asyncio
import datetime as dt

import httpx2
import pytest

from api.app import ApiOptions, create_app
from api.fleet import PATIENCE
from api.kept import Kept
from api.pulse import arrivals
from sensors.checks import Reason
from sensors.times import to_microseconds
from storage.dead_letters import DeadLetter, insert_letters
from tests.alerts.making import of_device, passed
from tests.api.answers import NOW, every_page, fetch
from tests.api.conftest import serve
from tests.api.people import Clock
from tests.cities import City

MINUTE = dt.timedelta(minutes=1)
_MOVE = "UPDATE alatau.latest SET time = $1 WHERE device_id = $2"


@pytest.fixture(scope="module", autouse=True)
async def _written(city: City) -> None:
    """Three hours of smoke in Gate; of the others sim-1 is disabled, and the rest is silent."""
    smoke = [("air-1", NOW - n * MINUTE, {"pm2_5": 80.0, "no2": 10.0}) for n in range(180)]
    await city.write("air_quality", smoke)
    await city.write("traffic_flow", [("traffic-1", NOW - 5 * MINUTE, {"speed": 30.0})])
    await city.owner.execute("UPDATE alatau.device SET disabled_at = $1 WHERE id = 'sim-1'", NOW)
    await passed(
        city.owner,
        [
            of_device("air-1", "air_quality", "gate", "pm2_5"),
            of_device("traffic-1", "traffic_flow", "green", "speed"),
        ],
    )


async def test_the_numbers_are_those_of_the_database(client: httpx2.AsyncClient, city: City) -> None:
    state = await fetch(client, "state")
    assert state["time"] == "2026-01-15T12:00:00Z"
    # air-1 reports; air-2 and weather-1 never did, traffic-1 stopped.
    assert state["devices"] == {"expected": 4, "silent": 3, "disabled": 1}
    firing = await city.owner.fetchval("SELECT count(*) FROM alatau.alert WHERE state = 'firing'")
    assert sum(state["alerts"][severity] for severity in ("critical", "warning", "info")) == firing == 2
    assert state["ingest"]["last_received_at"] == "2026-01-15T12:00:02Z"
    assert state["ingest"]["lag_p95_seconds"] == pytest.approx(2.0)
    by_name = {one["district"]: one for one in state["districts"]}
    assert list(by_name) == ["gate", "golden", "growing", "green"]
    assert by_name["green"]["devices"] == {"expected": 1, "silent": 1, "disabled": 0}
    assert by_name["growing"]["devices"] == {"expected": 0, "silent": 0, "disabled": 1}


async def test_what_is_sent_afterwards_is_not_told_of_as_late(city: City) -> None:
    device = city.number["air-1"]
    was = await city.owner.fetchval("SELECT time FROM alatau.latest WHERE device_id = $1", device)
    lags = []
    # A minute more is late; an hour is what a device has kept, and sends afterwards.
    for late in (MINUTE, 60 * MINUTE):
        await city.owner.execute(_MOVE, was - late, device)
        lags.append((await arrivals(city.owner, NOW, PATIENCE)).lag_p95)
    await city.owner.execute(_MOVE, was, device)
    assert lags == [pytest.approx(2 + 0.95 * 60), pytest.approx(2)]


async def test_each_district_has_its_air_and_what_is_worst_there(client: httpx2.AsyncClient) -> None:
    state = await fetch(client, "state")
    assert (state["air"]["name"], state["air"]["date"]) == ("US EPA AQI", "2024-05-06")
    by_name = {one["district"]: one for one in state["districts"]}
    # Source: 40 CFR part 58, appendix G: 80.0 µg/m³ lies on the line from 55.5, 151 to 125.4, 200.
    air = {"index": 168, "category": "unhealthy", "level": 3, "metric": "pm2_5"}
    assert by_name["gate"]["air"] == air
    assert by_name["gate"]["worst"] == {"cause": "air", "level": 3}
    assert by_name["green"]["air"] is None
    assert by_name["green"]["worst"] == {"cause": "silence", "level": 4}
    assert by_name["growing"]["worst"] == {"cause": None, "level": 0}


async def test_what_comes_in_is_counted_between_two_looks(options: ApiOptions, city: City, key: str) -> None:
    clock = Clock(NOW)
    app = create_app(options, clock=clock)
    app.state.keeper._found = Kept(0)
    await city.ingest.execute("SELECT pg_stat_force_next_flush()")
    async with serve(app, key) as client:
        first = (await fetch(client, "state"))["ingest"]
        assert (first["readings_per_second"], first["refused_per_minute"]) == (None, None)
        await city.write(
            "weather", [("weather-1", NOW - (60 + n) * MINUTE, {"temperature": 1.0}) for n in range(120)]
        )
        await city.ingest.execute("SELECT pg_stat_force_next_flush()")
        refused = DeadLetter(to_microseconds(NOW), "x", b"{}", Reason.NO_METRICS, "empty")
        await insert_letters(city.ingest, [refused] * 5)
        clock.now = NOW + dt.timedelta(seconds=30)
        then = (await fetch(client, "state"))["ingest"]
        assert then["readings_per_second"] == pytest.approx(4.0)
        assert then["refused_per_minute"] == pytest.approx(10.0)
        # An hour later there is nothing to compare with.
        clock.now = NOW + dt.timedelta(hours=1)
        assert (await fetch(client, "state"))["ingest"]["readings_per_second"] is None


async def test_a_map_gets_every_device_once_whatever_the_page(client: httpx2.AsyncClient) -> None:
    whole = await fetch(client, "state/devices")
    assert whole["device"] == ["air-1", "air-2", "sim-1", "traffic-1", "weather-1"]
    assert whole["state"][:3] == ["reporting", "never", "disabled"]
    assert (whole["longitude"][0], whole["latitude"][0]) == (77.0, 43.48)
    assert whole["longitude"][1] is None
    assert whole["reading_time"][:2] == ["2026-01-15T12:00:00Z", None]
    pages = await every_page(client, "state/devices", limit=2)
    assert [device for page in pages for device in page["device"]] == whole["device"]


async def test_many_who_ask_at_once_are_answered_by_one_look() -> None:
    made = 0

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return made

    now = 0.0
    kept = Kept[int](2, lambda: now)
    assert await asyncio.gather(*(kept.get("a", make) for _ in range(10))) == [1] * 10
    assert await kept.get("b", make) == 2
    now = 3.0
    assert await kept.get("a", make) == 3


async def test_what_failed_is_tried_again() -> None:
    kept = Kept[int](2)

    async def fail() -> int:
        raise ConnectionError

    async def succeed() -> int:
        return 1

    with pytest.raises(ConnectionError):
        await kept.get("a", fail)
    assert await kept.get("a", succeed) == 1
