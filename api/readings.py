"""Raw readings: of one device page by page in columns, or of many as a table."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.description import TRIED
from api.formats import Format, wanted_format
from api.members import ANSWER, DeviceId, KindName, MetricName, Next, Numbers, Times, Unit
from api.parameters import parse_range, refuse_paging, split_list
from api.problems import invalid_parameter
from api.reading_table import reading_batches, readings_table, select_one_kind, too_many_rows
from api.responses import answer, as_times, next_page
from api.selection import SelectionParameters, understand_selection
from api.services import Services
from api.tables import TABLE_FORMATS, Batch, table_response
from sensors.times import format_timestamp, to_microseconds
from storage.reading_stream import Extract, count_readings, estimate_readings
from storage.readings import Order, read_readings

router = APIRouter(prefix=PREFIX, tags=["readings"])

_SCOPE = "readings"
_FORMATS = (Format.JSON, *TABLE_FORMATS, Format.GEOJSON)


class ReadingsQuery(SelectionParameters):
    """Which readings. As JSON of one device, page by page; in any other format of all that are selected."""

    device: list[str] = Field(
        [],
        description="As JSON exactly one. Lists are repeated or with commas.",
        json_schema_extra={TRIED: True},
    )
    start: str = Field("-PT24H", description="RFC 3339 with zone, `now`, or from now such as `-PT6H`.")
    end: str = Field("now", description="Not part of the range itself.")
    order: Order = Order.ASC
    format: Format | None = None
    cursor: str | None = Field(None, description="`next` of the page before; JSON only.")
    limit: int = Field(1000, ge=1, le=10_000, description="Of a page; JSON only.")


@with_config(ANSWER)
class ReadingsAnswer(TypedDict):
    """A page of one device's readings, in columns: arrays of equal length."""

    device: DeviceId
    kind: KindName
    columns: Annotated[tuple[MetricName, ...], Field(description="The metrics, in the kind's order.")]
    units: Annotated[dict[MetricName, Unit], Field(description="By metric, UCUM codes.")]
    time: Annotated[Times, Field(description="The device's own, UTC.", examples=[["2026-01-15T12:00:00Z"]])]
    received_at: Annotated[
        Times, Field(description="Of the arrival, UTC.", examples=[["2026-01-15T12:00:02Z"]])
    ]
    values: Annotated[
        dict[MetricName, Numbers],
        Field(
            description="By metric, in its unit; null where a reading has none.", examples=[{"pm2_5": [12.5]}]
        ),
    ]
    next: Next


@router.get("/readings", response_model=ReadingsAnswer)
async def get_readings(request: Request, api: Api, query: Annotated[ReadingsQuery, Query()]) -> Response:
    """Return readings as they came, absent values as null.

    As JSON those of one device, page by page; a cursor carries the whole range of its first page, so that times
    from now do not move between pages. In any other format those of all devices selected, of one kind, in the
    order of (device, time) and without pages.
    """
    format_ = wanted_format(request, query.format, _FORMATS)
    if format_ is Format.JSON:
        return await _page(request, api, query)
    refuse_paging(query, format_)
    extract = await _extract(api, query)
    table = readings_table(extract.kind, _batches(api, extract))
    return await table_response(table, format_)


async def _page(request: Request, api: Services, query: ReadingsQuery) -> Response:
    name = _one_device(query)
    scope = f"{_SCOPE} {name} {query.order.value}"
    if query.cursor:
        start, end = decode_cursor(query.cursor, scope, int, int)
    else:
        start, end = parse_range(query.start, query.end, to_microseconds(api.clock()))
    async with api.database.connection() as connection:
        kind, devices = await select_one_kind(
            connection, api.catalogue, understand_selection(query, api.catalogue)
        )
        page = await read_readings(
            connection, kind, int(devices.device_id[0]), start, end, order=query.order, limit=query.limit
        )
    cursor = None
    resolved: dict[str, str] = {}
    if len(page.time) == query.limit:
        last = int(page.time[-1])
        rest = (last + 1, end) if query.order is Order.ASC else (start, last)
        cursor = encode_cursor(scope, *rest)
        resolved = {"start": format_timestamp(start), "end": format_timestamp(end)}
    content: ReadingsAnswer = {
        "device": name,
        "kind": kind.name,
        "columns": kind.columns,
        "units": {metric.name: metric.unit for metric in kind.metrics},
        "time": as_times(page.time),
        "received_at": as_times(page.received),
        "values": page.values,
        "next": cursor,
    }
    return answer(content, headers=next_page(request, cursor, **resolved))


def _one_device(query: ReadingsQuery) -> str:
    devices = split_list(query.device)
    if len(devices) != 1:
        raise invalid_parameter(
            "device",
            "as JSON, readings are of one device, which is named; for more, ask for "
            f"format={', '.join(one.value for one in TABLE_FORMATS)}",
        )
    return devices[0]


async def _extract(api: Services, query: ReadingsQuery) -> Extract:
    now = to_microseconds(api.clock())
    start, end = parse_range(query.start, query.end, now)
    async with api.database.connection() as connection:
        kind, devices = await select_one_kind(
            connection, api.catalogue, understand_selection(query, api.catalogue)
        )
        extract = Extract(kind, devices, start, end, query.order)
        limit = api.options.max_stream_rows
        if await estimate_readings(connection, extract, now) > limit and (
            await count_readings(connection, extract, limit + 1) > limit
        ):
            raise too_many_rows(limit)
    return extract


async def _batches(api: Services, extract: Extract) -> AsyncGenerator[Batch, None]:
    async with api.database.streaming() as connection:
        batches = reading_batches(connection, extract, api.options.max_stream_rows)
        try:
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()
