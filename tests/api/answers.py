"""Looking at answers."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet

NOW = dt.datetime(2026, 1, 15, 12, 0, tzinfo=dt.UTC)
TABLES = ("ndjson", "csv", "parquet", "arrow")


def problem(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Return the problem that a response must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:alatau:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["request_id"] == response.headers["x-request-id"]
    return document


async def get(client: httpx2.AsyncClient, path: str, **parameters: Any) -> httpx2.Response:
    """Return the response, which must be an answer."""
    response = await client.get(f"/api/v1/{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response


async def fetch(client: httpx2.AsyncClient, path: str, **parameters: Any) -> Any:
    """Return the JSON of an answer that must be one."""
    return (await get(client, path, **parameters)).json()


async def fetch_rows(client: httpx2.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of an answer that must be a table; all values of CSV are texts."""
    response = await get(client, path, **parameters)
    kind = response.headers["content-type"]
    if kind.startswith("text/csv"):
        return list(csv.DictReader(io.StringIO(response.text, newline="")))
    if kind == "application/x-ndjson":
        return [json.loads(line) for line in response.text.splitlines()]
    rows: list[dict[str, Any]] = table_of(response).to_pylist()
    return rows


def table_of(response: httpx2.Response) -> pa.Table:
    """Return the table of an answer in Parquet or Arrow."""
    if response.headers["content-type"] == "application/vnd.apache.parquet":
        return pa.parquet.read_table(io.BytesIO(response.content))
    assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
    return pa.ipc.open_stream(response.content).read_all()


async def every_page(client: httpx2.AsyncClient, path: str, **parameters: Any) -> list[Any]:
    """Follow the links from page to page, and return the pages."""
    response = await get(client, path, **parameters)
    pages = [response.json()]
    while "next" in response.links:
        response = await client.get(response.links["next"]["url"])
        assert response.status_code == 200, response.text
        pages.append(response.json())
    assert pages[-1]["next"] is None
    return pages
