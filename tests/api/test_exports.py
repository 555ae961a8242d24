"""Exports: files made in the background, fetched in parts, bounded, and gone when they expire."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import csv
import dataclasses
import datetime as dt
import gzip
import hashlib
import io
import math
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx2
import pytest

from api.app import create_app
from api.options import ApiOptions, ExportOptions
from tests.api.answers import NOW, every_page, fetch, problem, table_of
from tests.api.conftest import Served, serve
from tests.api.long_reads import count_reads, until_true, write_many
from tests.cities import City

MINUTE = dt.timedelta(minutes=1)
AIR = {"kind": "air_quality", "start": "-PT24H"}
# Of one device, enough to be running for a while.
MANY = 1_000_000
WEATHER = {"kind": "weather", "start": "-P10D", "format": "csv.gz"}

Start = Callable[..., contextlib.AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture(scope="module", autouse=True)
async def _readings(city: City) -> None:
    rows = [("air-1", NOW - n * MINUTE, {"pm2_5": 10.0 + n}) for n in range(1, 3)]
    rows += [("air-2", NOW - n * MINUTE, {"pm2_5": float(n)}) for n in range(1, 4)]
    await city.write("air_quality", rows)


@pytest.fixture(scope="module")
async def _many(city: City) -> None:
    await write_many(city, MANY)


@pytest.fixture(autouse=True)
async def _none_before(city: City) -> None:
    await city.owner.execute("DELETE FROM alatau.export")


@pytest.fixture
def started(options: ApiOptions, key: str, tmp_path: pathlib.Path) -> Start:
    """Start an application whose files are in the test's own directory."""

    def start(**changes: Any) -> contextlib.AbstractAsyncContextManager[httpx2.AsyncClient]:
        exports = ExportOptions(**{"directory": tmp_path / "exports", "poll_seconds": 0.02, **changes})
        return serve(create_app(dataclasses.replace(options, exports=exports), clock=lambda: NOW), key)

    return start


@pytest.fixture
async def client(started: Start) -> AsyncIterator[httpx2.AsyncClient]:
    async with started() as client:
        yield client


async def ask(client: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post("/api/v1/exports", json=body)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/api/v1/exports/{job['id']}"
    return job


async def until(client: httpx2.AsyncClient, job: dict[str, Any], *states: str) -> dict[str, Any]:
    """Wait until a job is in one of these states."""
    async with asyncio.timeout(30):
        while True:
            found: dict[str, Any] = await fetch(client, f"exports/{job['id']}")
            if found["state"] in states:
                return found
            await asyncio.sleep(0.01)


async def made(client: httpx2.AsyncClient, **body: Any) -> tuple[dict[str, Any], httpx2.Response]:
    job = await until(client, await ask(client, **body), "ready")
    response = await client.get(job["file"])
    assert response.status_code == 200, response.text
    return job, response


async def test_a_file_has_the_readings_asked_for_and_says_what_it_is(client: httpx2.AsyncClient) -> None:
    job, response = await made(client, **AIR)
    assert (job["rows"], job["progress"], job["problem"]) == (5, 1.0, None)
    assert job["bytes"] == len(response.content)
    assert job["sha256"] == hashlib.sha256(response.content).hexdigest()
    expires = dt.datetime.fromisoformat(job["expires_at"]) - dt.datetime.fromisoformat(job["finished_at"])
    assert expires == dt.timedelta(hours=24)
    table = table_of(response)
    assert table.column("device").to_pylist() == ["air-1"] * 2 + ["air-2"] * 3
    assert table.column("pm2_5").to_pylist() == [12.0, 11.0, 3.0, 2.0, 1.0]
    assert table.schema.field("pm2_5").metadata[b"unit"] == b"ug/m3"
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    name = "air_quality-20260114T120000Z-20260115T120000Z.parquet"
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    digest = base64.b64encode(bytes.fromhex(job["sha256"])).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"


async def test_a_csv_file_is_compressed_once(client: httpx2.AsyncClient) -> None:
    job, response = await made(client, **AIR, format="csv.gz", district=["golden"])
    assert job["rows"] == 3
    assert "content-encoding" not in response.headers
    lines = list(csv.DictReader(io.StringIO(gzip.decompress(response.content).decode(), newline="")))
    assert [(line["device"], line["pm2_5"]) for line in lines] == [
        ("air-2", "3"),
        ("air-2", "2"),
        ("air-2", "1"),
    ]


async def test_a_file_without_readings_is_one(client: httpx2.AsyncClient) -> None:
    job, response = await made(client, **AIR, device=["air-1"], end="-PT23H")
    assert job["rows"] == 0
    assert table_of(response).num_rows == 0


# Around air-1, each vertex with all its digits.
RING = " ".join(
    f"{77 + math.cos(n * math.tau / 500) / 7!r},{43.48 + math.sin(n * math.tau / 500) / 7!r}"
    for n in range(500)
)


@pytest.mark.parametrize(
    ("where", "devices"),
    [
        ({"bbox": "76.9,43.4,77.1,43.6"}, {"air-1"}),
        ({"near": "77.0,43.48,500.0"}, {"air-1"}),
        ({"near": "77.1,43.48,500.0"}, set()),
        ({"polygon": "76.9,43.4 77.1,43.4 77.0,43.6"}, {"air-1"}),
        pytest.param({"polygon": RING}, {"air-1"}, id="many-vertices"),
        ({"tag": ["pole:7"]}, {"air-2"}),
        ({"tag": ["pole:7"], "bbox": "76.9,43.4,77.1,43.6"}, set()),
    ],
)
async def test_a_file_of_a_place_or_a_tag_is_that_also_after_a_restart(
    started: Start, where: dict[str, Any], devices: set[str]
) -> None:
    async with started(at_once=0) as client:
        asked = await ask(client, **AIR, **where)
    async with started() as client:
        job = await until(client, asked, "ready")
        assert set(table_of(await client.get(job["file"])).column("device").to_pylist()) == devices
    everywhere: dict[str, Any] = {"bbox": None, "near": None, "polygon": None, "tag": []}
    for told in (asked, job):
        assert {name: told[name] for name in everywhere} == everywhere | where


async def test_a_download_is_resumed_where_it_broke(client: httpx2.AsyncClient) -> None:
    job, whole = await made(client, **AIR)
    etag = f'"{job["sha256"]}"'
    assert whole.headers["etag"] == etag
    assert whole.headers["accept-ranges"] == "bytes"
    rest = await client.get(job["file"], headers={"Range": "bytes=100-", "If-Range": etag})
    assert rest.status_code == 206
    assert rest.content == whole.content[100:]
    assert rest.headers["content-range"] == f"bytes 100-{job['bytes'] - 1}/{job['bytes']}"
    other = await client.get(job["file"], headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)


async def test_exports_are_listed_the_newest_first_page_by_page(client: httpx2.AsyncClient) -> None:
    jobs = [(await ask(client, **AIR))["id"] for _ in range(5)]
    pages = await every_page(client, "exports", limit=2)
    assert [job["id"] for page in pages for job in page["exports"]] == jobs[::-1]


async def test_a_deleted_export_and_its_file_are_gone(
    client: httpx2.AsyncClient, tmp_path: pathlib.Path
) -> None:
    job, _ = await made(client, **AIR)
    assert len(list((tmp_path / "exports").iterdir())) == 1
    assert (await client.delete(f"/api/v1/exports/{job['id']}")).status_code == 204
    assert list((tmp_path / "exports").iterdir()) == []
    for path in (f"exports/{job['id']}", f"exports/{job['id']}/file"):
        problem(await client.get(f"/api/v1/{path}"), 404, "not-found")
    problem(await client.delete(f"/api/v1/exports/{job['id']}"), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "slug", "said"),
    [
        ({"kind": "air_qualty", "start": "-P1D"}, "invalid-parameter", 'did you mean "air_quality"'),
        ({**AIR, "district": ["gates"]}, "invalid-parameter", 'did you mean "gate"'),
        ({**AIR, "device": ["air_1"]}, "invalid-parameter", 'did you mean "air-1"'),
        ({**AIR, "device": ["sim-1"]}, "invalid-parameter", "air_quality and noise"),
        ({**AIR, "end": "-P2D"}, "invalid-parameter", "not before end"),
        ({**AIR, "bbox": "76.9,43.6,77.1,43.4"}, "invalid-parameter", "south, 43.6, is above north"),
        ({**AIR, "near": "77.0,43.48"}, "invalid-parameter", "not 3 numbers"),
        ({**AIR, "polygon": "76.9,43.4 77.1,43.4"}, "invalid-parameter", "2 vertices"),
        ({**AIR, "tag": ["pole"]}, "invalid-parameter", "not name:value"),
        ({**AIR, "device": ["air-2"], "near": "77.0,43.48,500"}, "invalid-parameter", "none of the others"),
        ({**AIR, "format": "parkuet"}, "invalid-body", "format"),
        ({**AIR, "districts": []}, "invalid-body", 'did you mean "district"'),
        ({"kind": "air_quality"}, "invalid-body", "start"),
    ],
)
async def test_what_can_not_be_exported_is_said(
    client: httpx2.AsyncClient, body: dict[str, Any], slug: str, said: str
) -> None:
    assert said in problem(await client.post("/api/v1/exports", json=body), 422, slug)["detail"]


async def test_files_are_for_their_owner_only(client: httpx2.AsyncClient, tmp_path: pathlib.Path) -> None:
    await made(client, **AIR)
    assert (tmp_path / "exports").stat().st_mode & 0o777 == 0o700


async def test_an_api_without_a_directory_makes_no_files(application: Served) -> None:
    async with application() as client:
        response = await client.post("/api/v1/exports", json=AIR)
        assert "ALATAU_EXPORT_DIR" in problem(response, 503, "unavailable")["detail"]


async def test_an_api_whose_directory_can_not_be_made_answers_everything_else(
    started: Start, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("")
    async with started(directory=tmp_path / "file") as client:
        assert await fetch(client, "districts")
        response = await client.post("/api/v1/exports", json=AIR)
        assert str(tmp_path / "file") in problem(response, 503, "unavailable")["detail"]


async def test_more_rows_than_a_file_may_have_fail(started: Start, tmp_path: pathlib.Path) -> None:
    async with started(max_rows=4) as client:
        job = await until(client, await ask(client, **AIR), "failed")
        assert "more than 4 readings" in job["problem"]
        assert (
            "more than 4 readings"
            in problem(await client.get(f"/api/v1/exports/{job['id']}/file"), 409, "not-ready")["detail"]
        )
        assert list((tmp_path / "exports").iterdir()) == []


async def test_more_bytes_than_all_files_may_have_fail(started: Start, tmp_path: pathlib.Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports/not-ours.parquet").write_bytes(bytes(1_000_000))
    async with started(max_bytes=20_000) as client:
        first, _ = await made(client, **AIR)
        assert first["bytes"] < 20_000 < 4 * first["bytes"]
        seen = [await until(client, await ask(client, **AIR), "ready", "failed") for _ in range(4)]
        assert "delete some" in str(seen[-1]["problem"])
        for job in (first, *seen):
            await client.delete(f"/api/v1/exports/{job['id']}")
        await made(client, **AIR)
    assert (tmp_path / "exports/not-ours.parquet").exists()


async def test_an_expired_export_goes_with_its_file(started: Start, tmp_path: pathlib.Path) -> None:
    async with started(keep=dt.timedelta(seconds=1)) as client:
        job, _ = await made(client, **AIR)

        async def is_gone() -> bool:
            found = await client.get(f"/api/v1/exports/{job['id']}")
            return found.status_code == 404 and not list((tmp_path / "exports").iterdir())

        await until_true(is_gone)


@pytest.mark.usefixtures("_many")
async def test_a_job_tells_how_far_it_is_and_stops_when_it_is_deleted(
    started: Start, city: City, superuser: asyncpg.Connection, tmp_path: pathlib.Path
) -> None:
    async with started(at_once=1) as client:
        job = await ask(client, **WEATHER)
        waiting = await ask(client, **WEATHER)

        async def has_begun() -> bool:
            return bool((await fetch(client, f"exports/{job['id']}"))["rows"])

        await until_true(has_begun)
        running = await fetch(client, f"exports/{job['id']}")
        assert running["state"] == "running"
        assert 0 < running["rows"] < MANY
        assert 0 < running["progress"] < 1
        problem(await client.get(f"/api/v1/exports/{job['id']}/file"), 409, "not-ready")
        assert (await fetch(client, f"exports/{waiting['id']}"))["state"] == "waiting"
        for one in (waiting, job):
            assert (await client.delete(f"/api/v1/exports/{one['id']}")).status_code == 204

        async def is_idle() -> bool:
            reads = await count_reads(superuser, city)
            return reads == 0 and not list((tmp_path / "exports").iterdir())

        await until_true(is_idle)
        await made(client, **AIR)


@pytest.mark.usefixtures("_many")
async def test_a_job_of_an_api_that_stops_is_made_by_the_next(started: Start, tmp_path: pathlib.Path) -> None:
    async with started() as client:
        job = await ask(client, **WEATHER)
        await until(client, job, "running")
    assert list((tmp_path / "exports").iterdir()) == []
    async with started() as client:
        job = await until(client, job, "ready")
        assert job["rows"] == MANY
        content = (await client.get(job["file"])).content
    assert hashlib.sha256(content).hexdigest() == job["sha256"]
    assert gzip.decompress(content).count(b"\n") == MANY + 1


async def test_a_job_of_an_api_that_was_killed_is_made_again_but_not_for_ever(
    started: Start, city: City, tmp_path: pathlib.Path
) -> None:
    left = """
        INSERT INTO alatau.export (
            kind, start, stop, districts, devices, format, rows_estimated, state, attempt, seen_at)
        VALUES ('air_quality', $1, $2, '{}', '{}', 'parquet', 5, 'running', $3, now() - interval '1 minute')
        RETURNING export_id
    """
    once, thrice = [
        {"id": await city.owner.fetchval(left, NOW - dt.timedelta(days=1), NOW, attempt)}
        for attempt in (1, 3)
    ]
    (tmp_path / "exports").mkdir()
    stray = tmp_path / f"exports/export-{once['id']}.parquet.partial-1"
    stray.write_bytes(b"half")
    (tmp_path / "exports/export-999999999.parquet").write_bytes(b"of a job that is gone")
    async with started() as client:
        assert (await until(client, once, "ready"))["rows"] == 5
        assert "interrupted 3 times" in (await until(client, thrice, "failed"))["problem"]

        async def is_tidy() -> bool:
            return {path.name for path in (tmp_path / "exports").iterdir()} == {
                f"export-{once['id']}.parquet"
            }

        await until_true(is_tidy)


async def test_a_file_that_is_gone_is_said_to_be(client: httpx2.AsyncClient, tmp_path: pathlib.Path) -> None:
    job, _ = await made(client, **AIR)
    for path in (tmp_path / "exports").iterdir():
        path.unlink()
    refused = await client.get(job["file"])
    assert "ask for it again" in problem(refused, 404, "not-found")["detail"]


async def test_a_file_knows_the_version_of_its_data_where_there_is_one(
    client: httpx2.AsyncClient, city: City
) -> None:
    if await city.owner.fetchval(
        "SELECT to_regprocedure('alatau.data_version(text, timestamptz, timestamptz)') IS NOT NULL"
    ):
        job, _ = await made(client, **AIR)
        assert job["data_version"] is not None
        return
    assert (await made(client, **AIR))[0]["data_version"] is None
    await city.owner.execute(
        """
        CREATE FUNCTION alatau.data_version(text, timestamptz, timestamptz) RETURNS bigint
        LANGUAGE sql AS 'SELECT 7::bigint'
        """
    )
    try:
        assert (await made(client, **AIR))[0]["data_version"] == 7
    finally:
        await city.owner.execute("DROP FUNCTION alatau.data_version(text, timestamptz, timestamptz)")
