"""What a client of the API does in the tests of whole cities."""

from __future__ import annotations

import ssl
import urllib.request
from typing import Any

import orjson

PM2_5_BY_DISTRICT = "/api/v1/series?metric=pm2_5&group_by=district&step=PT1H&start=-PT6H"


def ask(url: str, key: str, path: str, authority: str | None = None) -> Any:
    """Ask the API at a URL; one of HTTPS, with trust in an authority."""
    trust = ssl.create_default_context(cafile=authority) if authority else None
    request = urllib.request.Request(f"{url}{path}", headers={"X-API-Key": key})  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=10, context=trust) as response:  # noqa: S310
        return orjson.loads(response.read())


def districts_that_measure(url: str, key: str, authority: str | None = None) -> set[str]:
    """Return the districts that have at least one reading of pm2_5 in the last hours."""
    groups = ask(url, key, PM2_5_BY_DISTRICT, authority)["groups"]
    return {group["group"]["district"] for group in groups if sum(group["count"])}
