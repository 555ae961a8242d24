"""Formats of readings and latest values: what is asked for, what is answered, and a client that leaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import gzip
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pyarrow as pa
import pytest

from api.app import create_app
from api.options import ApiOptions
from tests.api.answers import NOW, TABLES, fetch, fetch_rows, get, problem, table_of
from tests.api.conftest import Served, listen
from tests.api.long_reads import count_reads, until_true, write_many
from tests.cities import City

MINUTE = dt.timedelta(minutes=1)
DAY = {"start": "-PT24H", "kind": "air_quality"}


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    rows = [("air-2", NOW - n * MINUTE, {"pm2_5": float(n)}) for n in range(1, 4)]
    rows += [("air-1", NOW - n * MINUTE, {"pm2_5": 10.0 + n, "pm10": 0.5}) for n in range(1, 3)]
    await city.write("air_quality", rows)
    await city.write("noise", [("sim-1", NOW - MINUTE, {"laeq": 55.5})])


@pytest.mark.parametrize("format_", TABLES)
async def test_readings_of_a_kind_are_in_the_order_of_device_and_time(
    client: httpx2.AsyncClient, format_: str
) -> None:
    rows = await fetch_rows(client, "readings", **DAY, format=format_)
    assert [(row["device"], float(row["pm2_5"])) for row in rows] == [
        ("air-1", 12.0),
        ("air-1", 11.0),
        ("air-2", 3.0),
        ("air-2", 2.0),
        ("air-2", 1.0),
    ]
    assert list(rows[0])[:8] == [
        "device", "district", "longitude", "latitude", "time", "received_at", "pm1", "pm2_5",
    ]  # fmt: skip
    assert {row["district"] for row in rows} == {"gate", "golden"}
    assert {row["longitude"] for row in rows[2:]} <= {None, ""}


@pytest.mark.parametrize(
    ("asked", "devices"),
    [
        ({"district": "golden", "kind": "air_quality"}, {"air-2"}),
        ({"device": "air-1"}, {"air-1"}),
        ({"device": ["air-1,air-2"]}, {"air-1", "air-2"}),
        ({"kind": "air_quality", "near": "77.0,43.48,500"}, {"air-1"}),
        ({"kind": "air_quality", "tag": "pole:7"}, {"air-2"}),
        ({"kind": "noise", "simulated": "true"}, {"sim-1"}),
        ({"kind": "noise", "simulated": "false"}, set()),
        ({"kind": "weather"}, set()),
    ],
)
async def test_readings_are_of_the_devices_selected(
    client: httpx2.AsyncClient, asked: dict[str, Any], devices: set[str]
) -> None:
    rows = await fetch_rows(client, "readings", **asked, format="ndjson")
    assert {row["device"] for row in rows} == devices


async def test_newest_first_is_within_each_device(client: httpx2.AsyncClient) -> None:
    rows = await fetch_rows(client, "readings", **DAY, format="ndjson", order="desc")
    assert [row["pm2_5"] for row in rows] == [11.0, 12.0, 1.0, 2.0, 3.0]


async def test_units_go_along_with_parquet_and_times_are_utc(client: httpx2.AsyncClient) -> None:
    response = await get(client, "readings", **DAY, format="parquet")
    schema = table_of(response).schema
    assert schema.field("pm2_5").metadata[b"unit"] == b"ug/m3"
    assert schema.field("time").type == pa.timestamp("us", "UTC")
    assert response.headers["content-disposition"] == 'attachment; filename="readings-air_quality.parquet"'


async def test_readings_have_places_as_geojson(client: httpx2.AsyncClient) -> None:
    response = await get(client, "readings", device="air-1", format="geojson")
    assert response.headers["content-type"] == "application/geo+json"
    features = response.json()["features"]
    assert [feature["geometry"]["coordinates"] for feature in features] == [[77.0, 43.48]] * 2


@pytest.mark.parametrize("format_", TABLES)
async def test_latest_values_are_a_row_each(client: httpx2.AsyncClient, format_: str) -> None:
    rows = await fetch_rows(client, "latest", kind="air_quality", format=format_)
    found = {(row["device"], row["metric"]): (float(row["value"]), row["unit"]) for row in rows}
    assert found == {
        ("air-1", "pm2_5"): (11.0, "ug/m3"),
        ("air-1", "pm10"): (0.5, "ug/m3"),
        ("air-2", "pm2_5"): (1.0, "ug/m3"),
    }
    assert {float(row["age_seconds"]) for row in rows} == {60.0}


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/*", "text/csv"),
        ("text/csv;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("application/*;q=0.1, text/csv;q=0.2", "text/csv"),
        ("application/json;q=0, */*;q=0.1", "application/x-ndjson"),
        ("APPLICATION/VND.APACHE.PARQUET", "application/vnd.apache.parquet"),
        ("application/x-parquet", "application/vnd.apache.parquet"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("application/geo+json", "application/geo+json"),
    ],
)
async def test_the_format_is_what_the_client_accepts_most(
    client: httpx2.AsyncClient, accept: str, answered: str
) -> None:
    response = await client.get("/api/v1/readings?device=air-1", headers={"Accept": accept})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == answered


async def test_the_parameter_wins_over_the_header(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/v1/latest?format=json", headers={"Accept": "text/csv"})
    assert response.headers["content-type"] == "application/json"


async def test_what_can_not_be_given_is_refused_with_what_can(client: httpx2.AsyncClient) -> None:
    refused = await client.get("/api/v1/latest", headers={"Accept": "application/pdf, text/csv;q=0"})
    document = problem(refused, 406, "not-acceptable")
    assert "text/csv" in document["valid"]
    assert document["nearest"] == "application/json"
    document = problem(await client.get("/api/v1/latest?format=xlsx"), 422, "invalid-parameter")
    assert document["valid"] == ["json", "ndjson", "csv", "geojson", "parquet", "arrow"]
    near = problem(await client.get("/api/v1/latest?format=parket"), 422, "invalid-parameter")
    assert near["nearest"] == "parquet"
    problem(await client.get("/api/v1/districts?format=csv"), 422, "invalid-parameter")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("readings", "one device"),
        ("readings?device=air-1,air-2", "ndjson"),
        ("readings?kind=air_quality", "ndjson"),
        ("readings?format=csv", "kind"),
        ("readings?format=csv&device=air-1,sim-1", "air_quality and noise"),
        ("readings?format=csv&device=air-1&kind=noise", "air_quality and noise"),
        ("readings?format=csv&device=air-9", "air-2"),
        ("readings?format=csv&kind=air_qualty", "air_quality"),
        ("readings?format=csv&device=air-1&limit=10", "no pages"),
        ("latest?format=arrow&cursor=x", "no pages"),
        ("heatmap?format=geojson&metric=pm2_5", "json, ndjson, csv, parquet, arrow"),
    ],
)
async def test_what_a_table_can_not_be_of_is_said(client: httpx2.AsyncClient, path: str, said: str) -> None:
    assert said in problem(await client.get(f"/api/v1/{path}"), 422, "invalid-parameter")["detail"]


async def test_more_readings_than_a_table_may_have_are_refused(application: Served) -> None:
    async with application(max_stream_rows=4) as client:
        parameters = {**DAY, "format": "csv"}
        document = problem(await client.get("/api/v1/readings", params=parameters), 422, "too-large")
        assert "POST /api/v1/exports" in document["detail"]
        rows = await fetch_rows(client, "readings", device="air-2", format="csv")
        assert len(rows) == 3


async def test_no_more_long_answers_are_given_than_there_may_be(application: Served) -> None:
    async with application(max_streams=0) as client:
        refused = await client.get("/api/v1/readings?kind=air_quality&format=csv")
        assert "POST /api/v1/exports" in problem(refused, 503, "unavailable")["detail"]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_texts_are_compressed_for_who_takes_that(client: httpx2.AsyncClient, coding: str) -> None:
    for path in ("readings?kind=air_quality&format=csv", "metrics"):
        response = await client.get(f"/api/v1/{path}", headers={"Accept-Encoding": coding})
        assert response.headers["content-encoding"] == coding
        assert "Accept-Encoding" in response.headers["vary"]
    response = await client.get("/api/v1/metrics", headers={"Accept-Encoding": f"{coding};q=0"})
    assert "content-encoding" not in response.headers


async def test_what_is_compressed_already_is_left_alone(client: httpx2.AsyncClient) -> None:
    response = await get(client, "readings", **DAY, format="parquet")
    assert "content-encoding" not in response.headers
    assert response.content.startswith(b"PAR1")


# -- a client that goes away ------------------------------------------------------------------------

MANY = 600_000


@pytest.fixture(scope="module")
async def _many(city: City) -> None:
    await write_many(city, MANY)


@contextlib.asynccontextmanager
async def reading(url: str, path: str, key: str, *headers: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for a path, and read no more than the head of the answer; at the end of the block the client is gone."""
    place = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 16)
    try:
        head = [f"GET /api/v1/{path} HTTP/1.1", "Host: api", f"X-API-Key: {key}", *headers, "", ""]
        writer.write("\r\n".join(head).encode())
        async with asyncio.timeout(20):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        yield reader
    finally:
        writer.transport.abort()


@pytest.mark.usefixtures("_many")
@pytest.mark.parametrize("format_", ["ndjson", "arrow"])
async def test_a_client_that_leaves_ends_its_query_and_the_connection_serves_the_next(
    city: City, options: ApiOptions, key: str, superuser: asyncpg.Connection, format_: str
) -> None:
    """The pool has two connections, and six clients leave one after the other."""
    options = dataclasses.replace(options, pool_size=2, max_streams=1)

    app = create_app(options, clock=lambda: NOW)

    async def is_idle() -> bool:
        # The query has ended some moments before the place of the answer is free again.
        return await count_reads(superuser, city) == 0 and app.state.services.database.long_answers == 0

    async with listen(app) as url:
        for _ in range(6):
            async with reading(url, f"readings?device=weather-1&start=-P3D&format={format_}", key):
                assert await count_reads(superuser, city) == 1
            await until_true(is_idle)
        async with httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
            latest = await fetch(client, "latest", device="air-1")
            assert latest["devices"][0]["device"] == "air-1"
            whole = await get(client, "readings", device="weather-1", start="-P3D", format="arrow")
    assert table_of(whole).num_rows == MANY


@pytest.mark.usefixtures("_many")
async def test_a_slow_client_makes_the_database_wait_and_then_gets_everything(
    city: City, options: ApiOptions, key: str, superuser: asyncpg.Connection
) -> None:
    path = "readings?device=weather-1&start=-P3D&format=csv"

    async def waits_for_the_client() -> bool:
        return await count_reads(superuser, city, "ClientWrite") == 1

    async with (
        listen(create_app(options, clock=lambda: NOW)) as url,
        reading(url, path, key, "Accept-Encoding: gzip") as reader,
    ):
        await until_true(waits_for_the_client)
        async with asyncio.timeout(60):
            content = await _chunked(reader)
    assert gzip.decompress(content).count(b"\n") == MANY + 1


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readline()
    return b"".join(pieces)
