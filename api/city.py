"""The city itself: its districts, the kinds of sensors, the metrics they measure."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.contract import PREFIX
from api.formats import Format, wanted_format
from api.responses import GEOJSON, answer, feature, feature_collection
from api.services import Api
from sensors.kinds import District, Kind, Metric

router = APIRouter(prefix=PREFIX, tags=["city"])

OUTLINES = "illustrative: drawn to be told apart on a map, not surveyed"


@router.get("/districts")
async def list_districts(
    request: Request,
    api: Api,
    format: Literal[Format.JSON, Format.GEOJSON] | None = None,  # noqa: A002
) -> Response:
    """List the districts of the city, as JSON or as GeoJSON polygons. The outlines are illustrative."""
    city, districts = api.catalogue.city, api.catalogue.districts
    if wanted_format(request, format, (Format.JSON, Format.GEOJSON)) is Format.GEOJSON:
        features = [
            feature(_polygon(one), {"name": one.name, "title": one.title, "outline": OUTLINES}, one.name)
            for one in districts
        ]
        return answer(feature_collection(features), media_type=GEOJSON)
    return answer(
        {
            "city": {"name": city.name, "title": city.title, "timezone": city.timezone},
            "outlines": OUTLINES,
            "districts": [
                {"name": one.name, "title": one.title, "outline": one.outline} for one in districts
            ],
        }
    )


def _polygon(district: District) -> dict[str, Any]:
    # GeoJSON's rings are closed and run counterclockwise (RFC 7946, 3.1.6); ours are open and run as drawn.
    ring = list(district.outline)
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True))
    ring = ring if area > 0 else ring[::-1]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


@router.get("/kinds")
async def list_kinds(api: Api) -> Response:
    """List the kinds of sensors, each with its metrics."""
    return answer({"kinds": [_kind(kind) for kind in api.catalogue.kinds]})


def _kind(kind: Kind) -> dict[str, Any]:
    metrics = [_metric(metric) for metric in kind.metrics]
    return {"name": kind.name, "title": kind.title, "interval": kind.interval, "metrics": metrics}


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "behaviour": metric.behaviour.value,
        "minimum": metric.minimum,
        "maximum": metric.maximum,
        "resolution": metric.resolution,
    }


@router.get("/metrics")
async def list_metrics(api: Api) -> Response:
    """List the metrics of the city and which kinds measure each. One name is one quantity in one unit."""
    catalogue = api.catalogue
    return answer(
        {
            "metrics": [
                {**_metric(metric), "kinds": [kind.name for kind in catalogue.kinds_measuring(name)]}
                for name, metric in sorted(catalogue.metric_of.items())
            ]
        }
    )
