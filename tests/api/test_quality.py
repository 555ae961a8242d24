"""The quality of readings: what came of what was expected, how late, by which clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
import pytest

from api.cursors import encode_cursor
from sensors.checks import Reason
from sensors.kinds import DeviceSpec, Kind
from sensors.readings import ReadingBatch
from sensors.times import to_microseconds
from storage.dead_letters import DeadLetter, Fold, fold_letters, insert_letters
from storage.devices import register_devices
from storage.frozen import FROZEN_READINGS
from storage.latest import flush_latest
from storage.sequences import Numbers, enter_numbers
from storage.writer import Batch, write
from tests.api.answers import NOW, TABLES, every_page, fetch, fetch_rows, get, problem, table_of
from tests.api.conftest import Served
from tests.cities import City

pytestmark = pytest.mark.servers

MINUTE = dt.timedelta(minutes=1)
# Minutes before now, seconds from then until arrival, values.
Sent = tuple[float, float, dict[str, float]]


async def send(city: City, device: str, kind: str, sent: Sequence[Sent]) -> None:
    """Store readings of one device with their arrivals."""
    described: Kind = city.catalogue.kind_of[kind]
    time = np.array([to_microseconds(NOW - before * MINUTE) for before, _, _ in sent], np.int64)
    received = time + np.array([lag * 1e6 for _, lag, _ in sent]).astype(np.int64)
    values = np.full((len(sent), len(described.columns)), np.nan)
    for row, (_, _, given) in enumerate(sent):
        for metric, value in given.items():
            values[row, described.index[metric]] = value
    numbers = np.full(len(sent), city.number[device], np.int32)
    batch = ReadingBatch(described, numbers, time, received, values)
    await write(city.ingest, Batch([batch]))
    await flush_latest(city.ingest, [batch])


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    new = DeviceSpec("new-1", "weather", "gate", installed="2026-01-15T11:30:00Z")
    city.number.update(await register_devices(city.owner, [new], city.catalogue))
    # One of two minutes of the last hour, later each time; the last two from a clock ahead of ours.
    lags = [*range(28), -10, -30]
    rising = [(60 - 2 * n, float(lag), {"pm2_5": float(n)}) for n, lag in enumerate(lags)]
    await send(city, "air-1", "air_quality", rising)
    # Every minute, and more often than that; the temperature sticks, the humidity is at its highest.
    sticking = [(60 - n / 2, 0.0, {"temperature": 3.5, "humidity": 100.0}) for n in range(120)]
    await send(city, "air-2", "air_quality", sticking)
    await send(city, "new-1", "weather", [(30 - n, 1.0, {"temperature": float(n)}) for n in range(15)])
    number = city.number["air-1"]
    letters = [
        DeadLetter(to_microseconds(NOW - before * MINUTE), f"t{before}", b"{", Reason.UNDECODABLE, "", number)
        for before in (5, 6, 90)
    ]
    await insert_letters(city.ingest, letters)
    await fold_letters(city.ingest, [Fold("t5", letters[0].received, 4, letters[0])])
    await number_readings(city, "air-1", [(1, 1), (5, 4), (8, 4)])


async def number_readings(city: City, device: str, given: Sequence[tuple[int, int]]) -> None:
    """Enter numbers of readings, each with the lowest that the device still keeps."""
    for number, oldest in given:
        columns = (np.array([value], np.int64) for value in (number, number, oldest))
        async with city.ingest.transaction():
            await enter_numbers(city.ingest, Numbers(np.array([city.number[device]], np.int32), *columns))
    await city.owner.execute("UPDATE alatau.sequence_gap SET abandoned_at = $1", NOW - 10 * MINUTE)


async def quality_of(client: httpx2.AsyncClient, **parameters: Any) -> dict[str, Any]:
    """Return the groups of an answer by their names."""
    answer = await fetch(client, "quality", **{"start": "-PT1H"} | parameters)
    return {next(iter(one["group"].values())): one for one in answer["groups"]}


async def test_what_came_is_counted_against_what_the_interval_foresees(client: httpx2.AsyncClient) -> None:
    quality = await quality_of(client)
    assert list(quality) == ["air-1", "air-2", "new-1", "sim-1", "traffic-1", "weather-1"]
    counted = {
        name: (one["expected"], one["received"], one["completeness"], one["silent"])
        for name, one in quality.items()
    }
    assert counted["air-1"] == (60, 30, 0.5, 0)
    # More than was expected makes up for nothing.
    assert counted["air-2"] == (60, 120, 1.0, 0)
    # Installed half an hour ago.
    assert counted["new-1"] == (30, 15, 0.5, 0)
    assert counted["sim-1"] == (60, 0, 0.0, 1)


@pytest.mark.parametrize(("before", "counted"), [(30, (30, 0.0, 1)), (90, (0, None, 0))])
async def test_nothing_is_expected_of_a_disabled_device(
    city: City, client: httpx2.AsyncClient, before: int, counted: tuple[int, float | None, int]
) -> None:
    change = "UPDATE alatau.device SET disabled_at = $1 WHERE id = 'sim-1'"
    await city.owner.execute(change, NOW - before * MINUTE)
    try:
        one = (await quality_of(client, device="sim-1"))["sim-1"]
    finally:
        await city.owner.execute(change, None)
    assert (one["expected"], one["completeness"], one["silent"]) == counted


async def test_lag_is_of_arrival_and_a_clock_ahead_of_ours_is_told_apart(client: httpx2.AsyncClient) -> None:
    quality = await quality_of(client)
    lags = [*range(28), 0, 0]
    assert quality["air-1"]["lag_seconds"] == {
        "p50": pytest.approx(np.quantile(lags, 0.5)),
        "p95": pytest.approx(np.quantile(lags, 0.95)),
    }
    assert quality["air-1"]["clock_ahead"] == {"median_seconds": 20.0, "share": pytest.approx(2 / 30)}
    assert quality["air-2"]["lag_seconds"] == {"p50": 0.0, "p95": 0.0}
    assert quality["air-2"]["clock_ahead"] == {"median_seconds": None, "share": 0.0}
    assert quality["sim-1"]["lag_seconds"] == {"p50": None, "p95": None}
    assert quality["sim-1"]["clock_ahead"] == {"median_seconds": None, "share": None}


async def test_refused_messages_and_missing_numbers_are_counted(client: httpx2.AsyncClient) -> None:
    quality = await quality_of(client)
    assert quality["air-1"]["dead_letters"] == {"undecodable": 6}
    assert quality["air-2"]["dead_letters"] == {}
    assert quality["air-1"]["missing_numbers"] == {"open": 3, "abandoned": 2}
    earlier = await quality_of(client, start="-PT2H", end="-PT1H", device="air-1")
    assert earlier["air-1"]["dead_letters"] == {"undecodable": 1}
    assert earlier["air-1"]["missing_numbers"] == {"open": 3, "abandoned": 0}


async def test_a_value_that_never_changes_is_frozen_unless_it_is_at_the_end_of_its_range(
    client: httpx2.AsyncClient,
) -> None:
    quality = await quality_of(client)
    assert quality["air-2"]["frozen"] == [
        {
            "device": "air-2",
            "metric": "temperature",
            "value": 3.5,
            "readings": 120,
            "start": "2026-01-15T11:00:00Z",
            "end": "2026-01-15T11:59:30Z",
        }
    ]
    assert {one["frozen_devices"] for name, one in quality.items() if name != "air-2"} == {0}


async def test_fewer_equal_values_than_the_rule_says_are_not_frozen(client: httpx2.AsyncClient) -> None:
    for readings, frozen in ((FROZEN_READINGS, 1), (FROZEN_READINGS - 1, 0)):
        quality = await quality_of(client, start=f"-PT{readings * 30}S", device="air-2")
        assert quality["air-2"]["received"] == readings
        assert quality["air-2"]["frozen_devices"] == frozen


async def test_the_last_reading_has_an_age_wherever_the_range_is(client: httpx2.AsyncClient) -> None:
    quality = await quality_of(client, start="-P2D", end="-P1D")
    assert quality["air-1"]["last_age_seconds"] == 120
    assert quality["traffic-1"]["last_age_seconds"] is None


async def test_devices_come_page_by_page_with_the_range_of_the_first(client: httpx2.AsyncClient) -> None:
    pages = await every_page(client, "quality", start="-PT1H", limit=4)
    names = [one["group"]["device"] for page in pages for one in page["groups"]]
    assert names == ["air-1", "air-2", "new-1", "sim-1", "traffic-1", "weather-1"]
    assert {page["start"] for page in pages} == {"2026-01-15T11:00:00Z"}


async def test_districts_and_kinds_are_what_their_devices_are_together(client: httpx2.AsyncClient) -> None:
    districts = await quality_of(client, group_by="district", kind="air_quality,weather")
    gate = districts["gate"]
    assert (gate["devices"], gate["silent"], gate["expected"], gate["received"]) == (3, 1, 150, 45)
    assert gate["completeness"] == pytest.approx(45 / 150)
    assert gate["lag_seconds"]["p50"] == np.quantile([*range(28), 0, 0, *([1] * 15)], 0.5)
    kinds = await quality_of(client, group_by="kind")
    assert list(kinds) == ["air_quality", "noise", "traffic_flow", "weather"]
    assert kinds["air_quality"]["completeness"] == pytest.approx(90 / 120)
    assert kinds["air_quality"]["frozen_devices"] == 1
    assert kinds["air_quality"]["dead_letters"] == {"undecodable": 6}
    assert kinds["air_quality"]["missing_numbers"] == {"open": 3, "abandoned": 2}


async def test_only_what_is_selected_is_looked_at(client: httpx2.AsyncClient) -> None:
    assert list(await quality_of(client, near="77,43.48,10")) == ["air-1"]
    assert await quality_of(client, tag="pole:8") == {}


async def test_nothing_is_expected_of_the_future(client: httpx2.AsyncClient) -> None:
    quality = await quality_of(client, end="PT5H", device="air-1")
    assert quality["air-1"]["expected"] == 60
    quality = await quality_of(client, start="PT1H", end="PT5H", device="air-1")
    assert (quality["air-1"]["expected"], quality["air-1"]["completeness"]) == (0, None)


@pytest.mark.parametrize("format_", TABLES)
async def test_a_table_has_a_row_for_each_device_without_pages(
    client: httpx2.AsyncClient, format_: str
) -> None:
    rows = await fetch_rows(client, "quality", start="-PT1H", format=format_)
    assert [row["device"] for row in rows] == ["air-1", "air-2", "new-1", "sim-1", "traffic-1", "weather-1"]
    measured = {name: float(value) for name, value in rows[0].items() if name != "device"}
    assert measured == {
        "devices": 1,
        "silent": 0,
        "expected": 60,
        "received": 30,
        "completeness": 0.5,
        "lag_seconds_p50": pytest.approx(12.5),
        "lag_seconds_p95": pytest.approx(25.55),
        "clock_ahead_median_seconds": 20,
        "clock_ahead_share": pytest.approx(2 / 30),
        "dead_letters": 6,
        "missing_numbers_open": 3,
        "missing_numbers_abandoned": 2,
        "frozen_devices": 0,
        "last_age_seconds": 120,
    }
    assert await fetch_rows(client, "quality", tag="pole:8", format=format_) == []


async def test_a_table_of_kinds_has_units_and_null_where_nothing_came(client: httpx2.AsyncClient) -> None:
    response = await get(client, "quality", start="-PT1H", group_by="kind", format="arrow")
    table = table_of(response)
    assert table.column_names[0] == "kind"
    assert table.schema.field("lag_seconds_p95").metadata == {b"unit": b"s"}
    assert table["frozen_devices"].to_pylist() == [1, 0, 0, 0]
    assert table["lag_seconds_p50"].to_pylist()[1] is None


async def test_a_table_has_no_pages_and_as_many_readings_as_are_looked_at(application: Served) -> None:
    async with application(max_quality_readings=200) as client:
        response = await client.get("/api/v1/quality", params={"format": "csv", "limit": 5})
        assert "no pages" in problem(response, 422, "invalid-parameter")["detail"]
        response = await client.get("/api/v1/quality", params={"format": "csv", "start": "-PT1H"})
        assert "page by page as JSON" in problem(response, 422, "too-large")["detail"]


async def test_more_readings_than_are_looked_at_are_refused_with_what_to_ask(application: Served) -> None:
    async with application(max_quality_readings=200) as client:
        response = await client.get("/api/v1/quality", params={"start": "-PT1H", "limit": 5})
        detail = problem(response, 422, "too-large")["detail"]
        assert "about 270 readings" in detail
        assert "limit=3" in detail
        assert await quality_of(client, limit=3)
        response = await client.get("/api/v1/quality", params={"start": "-PT20H", "group_by": "kind"})
        detail = problem(response, 422, "too-large")["detail"]
        assert "group_by=device page by page" in detail
        assert await quality_of(client, start="-PT20H", group_by="kind", device="new-1")


async def test_pages_of_districts_forged_cursors_and_ranges_beyond_a_month_are_refused(
    client: httpx2.AsyncClient,
) -> None:
    cursor = (await fetch(client, "quality", start="-PT1H", limit=1))["next"]
    response = await client.get("/api/v1/quality", params={"group_by": "kind", "cursor": cursor})
    assert "group_by=device" in problem(response, 422, "invalid-parameter")["detail"]
    response = await client.get(
        "/api/v1/quality", params={"cursor": encode_cursor("quality", "air-1", 2**62, 2**62 + 1)}
    )
    assert "is not one that this list gave" in problem(response, 422, "invalid-parameter")["detail"]
    response = await client.get("/api/v1/quality", params={"start": "-P32D"})
    assert "start=-P31D" in problem(response, 422, "invalid-parameter")["detail"]
