"""The latest values: by event time, each with its own age."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.parameters import require_devices, require_known, split_list
from api.responses import (
    GEOJSON,
    Format,
    answer,
    feature,
    feature_collection,
    next_page,
    point,
    wanted_format,
)
from api.services import Api
from sensors.catalogue import Catalogue
from storage.latest_values import LatestReading, list_latest
from storage.selection import Selection

router = APIRouter(prefix=PREFIX, tags=["readings"])

_SCOPE = "latest"
# A device may be late once or twice; the third time it is worth a look.
_STALE_AFTER_INTERVALS = 3


class LatestFilter(BaseModel):
    """Which devices and metrics, page by page. Lists are repeated or separated by commas."""

    kind: list[str] = []
    district: list[str] = []
    device: list[str] = []
    metric: list[str] = Field([], description="Only these, of devices that have a value of one of them.")
    simulated: bool | None = None
    format: Format | None = None
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@router.get("/latest")
async def get_latest(request: Request, api: Api, query: Annotated[LatestFilter, Query()]) -> Response:
    """Return the newest value of each metric of each device, by the time that the device gave it."""
    catalogue, now = api.catalogue, api.clock()
    metrics = split_list(query.metric)
    selection = Selection(
        split_list(query.kind), split_list(query.district), split_list(query.device), query.simulated
    )
    require_known("kind", selection.kinds, catalogue.kind_of)
    require_known("district", selection.districts, catalogue.district_of)
    require_known("metric", metrics, catalogue.metric_of)
    after = decode_cursor(query.cursor, _SCOPE, str)[0] if query.cursor else ""
    async with api.database.connection() as connection:
        await require_devices(connection, selection.devices)
        readings = await list_latest(
            connection, catalogue, selection, metrics, after=after, limit=query.limit
        )
    cursor = encode_cursor(_SCOPE, readings[-1].device) if len(readings) == query.limit else None
    devices = [_shape(reading, catalogue, now) for reading in readings]
    headers = next_page(request, cursor)
    if wanted_format(request, query.format) is Format.GEOJSON:
        features = [feature(point(device["position"]), device, device["device"]) for device in devices]
        return answer(feature_collection(features, next=cursor), headers=headers, media_type=GEOJSON)
    return answer({"devices": devices, "next": cursor}, headers=headers)


def _shape(reading: LatestReading, catalogue: Catalogue, now: dt.datetime) -> dict[str, Any]:
    def age(time: dt.datetime) -> dict[str, Any]:
        seconds = (now - time).total_seconds()
        is_stale = seconds > _STALE_AFTER_INTERVALS * reading.interval_seconds
        return {"time": time, "age_seconds": seconds, "stale": is_stale}

    return {
        "device": reading.device,
        "kind": reading.kind,
        "district": reading.district,
        "position": reading.position,
        "simulated": reading.simulated,
        "interval_seconds": reading.interval_seconds,
        **age(reading.time),
        "received_at": reading.received_at,
        "values": {
            name: {"value": one.value, "unit": catalogue.metric_of[name].unit, **age(one.time)}
            for name, one in reading.values.items()
        },
    }
