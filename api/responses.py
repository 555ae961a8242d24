"""Shaping answers: JSON by orjson, GeoJSON, links to the next page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import Request
from starlette.responses import Response

JSON = "application/json"
GEOJSON = "application/geo+json"

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


def encode(content: Any) -> bytes:
    """Return JSON; numpy arrays as they are, NaN as null, times in UTC with Z."""
    return orjson.dumps(content, option=_OPTIONS)


def answer(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
) -> Response:
    """Return the response of some content."""
    return Response(encode(content), status, headers=headers, media_type=media_type)


def as_times(microseconds: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    """Return Unix µs as what ``encode`` writes as RFC 3339."""
    return microseconds.astype("datetime64[us]")


def feature(geometry: Mapping[str, Any] | None, properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a GeoJSON feature."""
    return {"type": "Feature", "id": name, "geometry": geometry, "properties": properties}


def point(position: tuple[float, float] | None) -> dict[str, Any] | None:
    """Return the GeoJSON geometry of (longitude, latitude)."""
    return None if position is None else {"type": "Point", "coordinates": position}


def feature_collection(features: Iterable[Mapping[str, Any]], **members: Any) -> dict[str, Any]:
    """Return a GeoJSON feature collection, with foreign members."""
    return {"type": "FeatureCollection", "features": list(features), **members}


def next_page(request: Request, cursor: str | None, **resolved: str) -> dict[str, str]:
    """Return the Link header of the next page; ``resolved`` replaces parameters that would mean something
    else later, such as times from now."""
    if cursor is None:
        return {}
    url = request.url.include_query_params(**resolved, cursor=cursor)
    # A path, because behind a proxy our own idea of the host is not the client's.
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}
