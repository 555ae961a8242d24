"""Raw readings of one device, in columns."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.devices import require_device
from api.parameters import parse_range, require_devices
from api.responses import answer, as_times, next_page
from api.services import Api
from sensors.times import format_timestamp, to_microseconds
from storage.readings import Order, read_readings

router = APIRouter(prefix=PREFIX, tags=["readings"])

_SCOPE = "readings"


class ReadingsQuery(BaseModel):
    """Which readings, page by page."""

    device: str
    start: str = Field("-PT24H", description="RFC 3339 with zone, `now`, or from now such as `-PT6H`.")
    end: str = Field("now", description="Not part of the range itself.")
    order: Order = Order.ASC
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(1000, ge=1, le=10_000)


@router.get("/readings")
async def get_readings(request: Request, api: Api, query: Annotated[ReadingsQuery, Query()]) -> Response:
    """Return the readings of one device as they came, absent values as null.

    A cursor carries the whole range of its first page, so that times from now do not move between pages.
    """
    scope = f"{_SCOPE} {query.device} {query.order.value}"
    if query.cursor:
        start, end = decode_cursor(query.cursor, scope, int, int)
    else:
        start, end = parse_range(query.start, query.end, to_microseconds(api.clock()))
    async with api.database.connection() as connection:
        await require_devices(connection, [query.device])
        device = await require_device(connection, query.device)
        kind = api.catalogue.kind_of[device.kind]
        page = await read_readings(
            connection, kind, device.device_id, start, end, order=query.order, limit=query.limit
        )
    cursor = None
    resolved: dict[str, str] = {}
    if len(page.time) == query.limit:
        last = int(page.time[-1])
        rest = (last + 1, end) if query.order is Order.ASC else (start, last)
        cursor = encode_cursor(scope, *rest)
        resolved = {"start": format_timestamp(start), "end": format_timestamp(end)}
    return answer(
        {
            "device": device.id,
            "kind": kind.name,
            "columns": kind.columns,
            "units": {metric.name: metric.unit for metric in kind.metrics},
            "time": as_times(page.time),
            "received_at": as_times(page.received),
            "values": page.values,
            "next": cursor,
        },
        headers=next_page(request, cursor, **resolved),
    )
