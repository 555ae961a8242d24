"""What a client of the API does in the tests of whole cities."""

from __future__ import annotations

import urllib.request
from typing import Any

import orjson

PM2_5_BY_DISTRICT = "/api/v1/series?metric=pm2_5&group_by=district&step=PT1H&start=-PT6H"


def ask(port: int, key: str, path: str) -> Any:
    """Ask the API on a loopback port."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"X-API-Key": key})
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
        return orjson.loads(response.read())


def districts_that_measure(port: int, key: str) -> set[str]:
    """Return the districts that have at least one reading of pm2_5 in the last hours."""
    groups = ask(port, key, PM2_5_BY_DISTRICT)["groups"]
    return {group["group"]["district"] for group in groups if sum(group["count"])}
