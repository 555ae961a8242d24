"""The latest values: by event time, each with its own age."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.formats import Format, wanted_format
from api.latest_shape import DeviceNow, shape_devices
from api.latest_table import COLUMNS, latest_batch
from api.members import ANSWER, Next
from api.parameters import refuse_paging, require_devices, require_known, split_list
from api.problems import invalid_parameter
from api.responses import GEOJSON, answer, feature, feature_collection, next_page, point
from api.selection import SelectionParameters, understand_selection
from api.services import Services
from api.tables import TABLE_FORMATS, Batch, Table, table_response
from storage.latest_values import list_latest, now_changing
from storage.selection import Selection

router = APIRouter(prefix=PREFIX, tags=["readings"])

_SCOPE = "latest"
_FORMATS = (Format.JSON, Format.GEOJSON, *TABLE_FORMATS)
_TABLE_PAGE = 1000


class LatestFilter(SelectionParameters):
    """Which devices and metrics, page by page. Lists are repeated or separated by commas."""

    metric: list[str] = Field([], description="Only these, of devices that have a value of one of them.")
    since: str | None = Field(
        None, description="`cursor` of an earlier answer to the same question: only what changed since."
    )
    format: Format | None = None
    cursor: str | None = Field(None, description="`next` of the page before; JSON and GeoJSON only.")
    limit: int = Field(100, ge=1, le=10_000, description="Of a page; JSON and GeoJSON only.")


class _Continuation(TypedDict):
    """How to go on."""

    next: Next
    cursor: Annotated[
        str | None,
        Field(description="On the last page, for `since`: what changes from now on.", examples=[None]),
    ]


@with_config(ANSWER)
class LatestAnswer(_Continuation):
    """A page of devices with their newest values."""

    devices: list[DeviceNow]


@router.get("/latest", response_model=LatestAnswer)
async def get_latest(request: Request, api: Api, query: Annotated[LatestFilter, Query()]) -> Response:
    """Return the newest value of each metric of each device, by the time that the device gave it.

    As JSON and GeoJSON page by page, device by device; in any other format one row for each value, all of them. The
    last page has a `cursor`: with `since` of that, the same question is answered with what changed.
    """
    format_ = wanted_format(request, query.format, _FORMATS)
    catalogue, now = api.catalogue, api.clock()
    metrics = split_list(query.metric)
    require_known("metric", metrics, catalogue.metric_of)
    selection = understand_selection(query, catalogue)
    if format_ in TABLE_FORMATS:
        refuse_paging(query, format_)
        return await table_response(Table("latest", COLUMNS, _batches(api, selection, metrics)), format_)
    changes = _scope_of_changes(selection, metrics)
    since = _since(query.since, changes)
    after, begun = decode_cursor(query.cursor, _SCOPE, str, int) if query.cursor else ("", None)
    async with api.database.connection() as connection:
        await require_devices(connection, selection.devices)
        changing = await now_changing(connection)
        if since is not None and since > changing:
            raise invalid_parameter("since", f"the database has been restored since; {_AGAIN}")
        latest = await list_latest(
            connection, catalogue, selection, metrics, since=since, after=after, limit=query.limit
        )
    # What changes between two pages is in neither: the changes begin with the first.
    begun = changing if begun is None else begun
    is_last = len(latest.devices) < query.limit
    members: _Continuation = {
        "next": None if is_last else encode_cursor(_SCOPE, latest.devices[-1].device, begun),
        "cursor": encode_cursor(changes, begun) if is_last else None,
    }
    devices = shape_devices(latest, catalogue, now)
    headers = next_page(request, members["next"])
    if format_ is Format.GEOJSON:
        features = [feature(point(device["position"]), device, device["device"]) for device in devices]
        return answer(feature_collection(features, **members), headers=headers, media_type=GEOJSON)
    content: LatestAnswer = {"devices": devices, **members}
    return answer(content, headers=headers)


_AGAIN = 'take "cursor" of an answer to the same question, or leave it out'


def _scope_of_changes(selection: Selection, metrics: Sequence[str]) -> str:
    """Return the scope of a question's changes: those of another one would lack what that did not ask for."""
    question = repr((selection, metrics)).encode()
    return f"changes {hashlib.blake2s(question, digest_size=8).hexdigest()}"


def _since(cursor: str | None, scope: str) -> int | None:
    if cursor is None:
        return None
    (since,) = decode_cursor(cursor, scope, int, parameter="since", advice=_AGAIN)
    return int(since)


async def _batches(
    api: Services, selection: Selection, metrics: Sequence[str]
) -> AsyncGenerator[Batch, None]:
    catalogue, now, after = api.catalogue, api.clock(), ""
    async with api.database.streaming() as connection:
        await require_devices(connection, selection.devices)
        while True:
            latest = await list_latest(
                connection, catalogue, selection, metrics, after=after, limit=_TABLE_PAGE
            )
            if not latest.devices:
                return
            after = latest.devices[-1].device
            yield latest_batch(latest, catalogue, now)
