"""Looking at answers."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx2

NOW = dt.datetime(2026, 1, 15, 12, 0, tzinfo=dt.UTC)


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


async def fetch(client: httpx2.AsyncClient, path: str, **parameters: Any) -> Any:
    """Return the JSON of an answer that must be one."""
    response = await client.get(f"/api/v1/{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def every_page(client: httpx2.AsyncClient, path: str, **parameters: Any) -> list[Any]:
    """Follow the links from page to page, and return the pages."""
    response = await client.get(f"/api/v1/{path}", params=parameters)
    pages = [response.json()]
    while "next" in response.links:
        response = await client.get(response.links["next"]["url"])
        assert response.status_code == 200, response.text
        pages.append(response.json())
    assert pages[-1]["next"] is None
    return pages
