"""The city itself: its districts, the kinds of sensors, the metrics they measure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.formats import Format, wanted_format
from api.members import ANSWER, DistrictName, KindName, MetricName, Position, Title, Unit, Zone
from api.responses import GEOJSON, answer, feature, feature_collection
from sensors.kinds import Behaviour, District, Kind, Metric

router = APIRouter(prefix=PREFIX, tags=["city"])

OUTLINES = "illustrative: drawn to be told apart on a map, not surveyed"


@with_config(ANSWER)
class CityName(TypedDict):
    """The city itself."""

    name: Annotated[str, Field(description="For programs.", examples=["alatau"])]
    title: Annotated[Title, Field(examples=["Alatau City"])]
    timezone: Annotated[Zone, Field(description="IANA time zone of its days.")]


@with_config(ANSWER)
class CityDistrict(TypedDict):
    """A district of the city."""

    name: DistrictName
    title: Annotated[Title, Field(examples=["Gate District"])]
    outline: Annotated[
        tuple[Position, ...],
        Field(
            description="A ring of [longitude, latitude], degrees, WGS 84; the last joins the first.",
            examples=[[[76.9, 43.43], [77.06, 43.42], [77.0, 43.55]]],
        ),
    ]


@with_config(ANSWER)
class DistrictsAnswer(TypedDict):
    """The districts of the city."""

    city: CityName
    outlines: Annotated[str, Field(description="What the outlines are good for.", examples=[OUTLINES])]
    districts: list[CityDistrict]


@with_config(ANSWER)
class SensorMetric(TypedDict):
    """What a kind of sensors measures."""

    name: MetricName
    title: Title
    unit: Unit
    behaviour: Behaviour
    minimum: Annotated[float, Field(description="Of what is plausible, in the unit.", examples=[0.0])]
    maximum: Annotated[float, Field(description="Of what is plausible, in the unit.", examples=[1000.0])]
    resolution: Annotated[float, Field(description="The smallest step, in the unit.", examples=[0.1])]


@with_config(ANSWER)
class SensorKind(TypedDict):
    """A kind of sensors."""

    name: KindName
    title: Annotated[Title, Field(examples=["Air quality station"])]
    interval: Annotated[str, Field(description="Between two readings, ISO 8601.", examples=["PT1M"])]
    metrics: list[SensorMetric]


@with_config(ANSWER)
class KindsAnswer(TypedDict):
    """The kinds of sensors."""

    kinds: list[SensorKind]


@with_config(ANSWER)
class CityMetric(SensorMetric):
    """A metric of the city."""

    kinds: Annotated[list[KindName], Field(description="Those that measure it.")]


@with_config(ANSWER)
class MetricsAnswer(TypedDict):
    """The metrics of the city, by their names."""

    metrics: list[CityMetric]


@router.get("/districts", response_model=DistrictsAnswer)
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
    content: DistrictsAnswer = {
        "city": {"name": city.name, "title": city.title, "timezone": city.timezone},
        "outlines": OUTLINES,
        "districts": [{"name": one.name, "title": one.title, "outline": one.outline} for one in districts],
    }
    return answer(content)


def _polygon(district: District) -> dict[str, Any]:
    # GeoJSON's rings are closed and run counterclockwise (RFC 7946, 3.1.6); ours are open and run as drawn.
    ring = list(district.outline)
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True))
    ring = ring if area > 0 else ring[::-1]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


@router.get("/kinds", response_model=KindsAnswer)
async def list_kinds(api: Api) -> Response:
    """List the kinds of sensors, each with its metrics."""
    content: KindsAnswer = {"kinds": [_kind(kind) for kind in api.catalogue.kinds]}
    return answer(content)


def _kind(kind: Kind) -> SensorKind:
    metrics = [_metric(metric) for metric in kind.metrics]
    return {"name": kind.name, "title": kind.title, "interval": kind.interval, "metrics": metrics}


def _metric(metric: Metric) -> SensorMetric:
    return {
        "name": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "behaviour": metric.behaviour,
        "minimum": metric.minimum,
        "maximum": metric.maximum,
        "resolution": metric.resolution,
    }


@router.get("/metrics", response_model=MetricsAnswer)
async def list_metrics(api: Api) -> Response:
    """List the metrics of the city and which kinds measure each. One name is one quantity in one unit."""
    catalogue = api.catalogue
    content: MetricsAnswer = {
        "metrics": [
            {**_metric(metric), "kinds": [kind.name for kind in catalogue.kinds_measuring(name)]}
            for name, metric in sorted(catalogue.metric_of.items())
        ]
    }
    return answer(content)
