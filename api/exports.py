"""Exports: files of readings that are made in the background and fetched when they are ready."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import FileResponse, Response
from typing_extensions import TypedDict

from api.access import Api, Asking, require_in_scope
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.description import problem
from api.export_files import delete_files, file_of, our_files
from api.export_runner import ExportRunner
from api.formats import Format
from api.members import ANSWER, Count, DeviceId, DistrictName, KindName, Moment, Next, Share
from api.options import ExportOptions
from api.parameters import parse_range, require_known
from api.problems import ProblemError, ProblemType, unavailable
from api.reading_table import select_one_kind
from api.responses import answer, next_page
from api.selection import PlaceParameters, Places, understand_places, write_places
from api.services import Services, Whole
from sensors.times import from_microseconds, to_microseconds
from storage.exports import (
    Export,
    ExportFormat,
    ExportState,
    NewExport,
    add_export,
    delete_export,
    find_export,
    list_exports,
)
from storage.reading_stream import Extract, estimate_readings

router = APIRouter(prefix=f"{PREFIX}/exports", tags=["exports"])

_SCOPE = "exports"
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
_MEDIA_TYPES = {ExportFormat.PARQUET: Format.PARQUET.media_type, ExportFormat.CSV_GZ: "application/gzip"}


class ExportRequest(PlaceParameters):
    """What the file has: readings of one kind, of all devices of it for which all that is given holds."""

    # A polygon may have 500 vertices, with all the digits that floats have.
    model_config = BODY | {"str_max_length": 32_000}

    kind: str = Field(examples=["air_quality"])
    start: str = Field(
        description="RFC 3339 with zone, `now`, or from now such as `-P30D`.", examples=["-P30D"]
    )
    end: str = Field("now", description="Not part of the range itself.")
    district: list[str] = Field([], max_length=1000)
    device: list[str] = Field([], max_length=10_000)
    simulated: bool | None = None
    format: ExportFormat = ExportFormat.PARQUET


class ExportsFilter(BaseModel):
    """Page by page."""

    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class ExportAnswer(Places):
    """An export: what was asked for, how far it is, and what its file is."""

    id: Annotated[int, Field(description="Its number.", examples=[1])]
    state: Annotated[ExportState, Field(examples=["ready"])]
    kind: KindName
    start: Annotated[Moment, Field(description="Of the range, UTC.", examples=["2026-01-14T12:00:00Z"])]
    end: Annotated[Moment, Field(description="Not part of the range, UTC.")]
    district: Annotated[tuple[DistrictName, ...], Field(description="These only; empty for all.")]
    device: Annotated[tuple[DeviceId, ...], Field(description="These only; empty for all.", examples=[[]])]
    simulated: Annotated[bool | None, Field(description="Null for both.", examples=[None])]
    format: ExportFormat
    requested_at: Moment
    finished_at: Moment | None
    expires_at: Annotated[Moment | None, Field(description="When the file is deleted, UTC.")]
    rows: Annotated[Count, Field(description="Readings written.", examples=[216000])]
    rows_estimated: Annotated[int | None, Field(description="Null once `rows` is all.", examples=[None])]
    progress: Annotated[Share, Field(description="0 to 1; 1 only when the file is ready.", examples=[1.0])]
    bytes: Annotated[int, Field(description="Size of the file so far.", examples=[3407872])]
    sha256: Annotated[
        str | None,
        Field(
            description="Of the whole file, hexadecimal.",
            examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
        ),
    ]
    data_version: Annotated[
        int | None, Field(description="Number of the newest correction of the range.", examples=[0])
    ]
    problem: Annotated[str | None, Field(description="Why it failed.", examples=[None])]
    file: Annotated[
        str | None, Field(description="Its path when ready.", examples=["/api/v1/exports/1/file"])
    ]


@with_config(ANSWER)
class ExportsAnswer(TypedDict):
    """A page of exports, the newest first."""

    exports: list[ExportAnswer]
    next: Next


@router.post("", status_code=202, response_model=ExportAnswer)
async def post_export(
    request: Request, body: ExportRequest, api: Api, whole: Whole, caller: Asking
) -> Response:
    """Ask for a file. It is made in the background; the answer, and its Location, say how far it is."""
    runner = _runner(api)
    options = runner.require()
    now = to_microseconds(api.clock())
    start, end = parse_range(body.start, body.end, now)
    selection = dataclasses.replace(
        understand_places(body),
        kinds=(body.kind,),
        districts=tuple(dict.fromkeys(body.district)),
        devices=tuple(dict.fromkeys(body.device)),
        simulated=body.simulated,
    )
    require_known("kind", selection.kinds, api.catalogue.kind_of)
    require_known("district", selection.districts, api.catalogue.district_of)
    require_in_scope(request, whole, caller, "kind", body.kind, caller.scope.kinds)
    for district in selection.districts:
        require_in_scope(request, whole, caller, "district", district, caller.scope.districts)
    async with api.database.connection() as connection:
        kind, chosen = await select_one_kind(connection, api.catalogue, selection)
        estimated = await estimate_readings(connection, Extract(kind, chosen, start, end), now)
        asked = NewExport(
            selection=selection,
            start=from_microseconds(start),
            stop=from_microseconds(end),
            format=body.format,
            rows_estimated=estimated,
            requested_by=caller.id,
            scope=caller.scope,
        )
        export = await add_export(connection, asked, options.max_waiting)
    if export is None:
        raise unavailable(
            f"{options.max_waiting} exports wait already; ask again later", retry_after_seconds=60
        )
    runner.wake()
    location = f"{router.prefix}/{export.export_id}"
    return answer(_shape(export), status=202, headers={"Location": location, "Retry-After": "1"})


def _runner(api: Services) -> ExportRunner:
    if api.exports is None:
        raise unavailable(
            "this API makes no files: it has no directory for them; set ALATAU_EXPORT_DIR and start it again",
            retry_after_seconds=60,
        )
    return api.exports


@router.get("", response_model=ExportsAnswer)
async def get_exports(request: Request, api: Api, query: Annotated[ExportsFilter, Query()]) -> Response:
    """List exports, the newest first."""
    before = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else None
    async with api.database.connection() as connection:
        exports = await list_exports(connection, before=before, limit=query.limit)
    cursor = encode_cursor(_SCOPE, exports[-1].export_id) if len(exports) == query.limit else None
    content: ExportsAnswer = {"exports": [_shape(export) for export in exports], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


@router.get("/{number}", response_model=ExportAnswer)
async def get_export(number: Number, api: Api) -> Response:
    """Return one export: how far it is, or what its file is."""
    export = await _find(api, number)
    is_open = export.state in (ExportState.WAITING, ExportState.RUNNING)
    return answer(_shape(export), headers={"Retry-After": "1"} if is_open else None)


async def _find(api: Services, number: int) -> Export:
    async with api.database.connection() as connection:
        export = await find_export(connection, number)
    if export is None:
        raise _gone(number)
    return export


def _gone(number: int) -> ProblemError:
    return ProblemError(
        ProblemType.NOT_FOUND,
        f"there is no export {number}; they are deleted when they expire. GET {router.prefix} lists those there are",
    )


_FILE: dict[str, Any] = {"content": {one: {} for one in _MEDIA_TYPES.values()}}


@router.get(
    "/{number}/file",
    response_class=FileResponse,
    responses={200: _FILE, 206: {"description": "The part that was asked for", **_FILE}, 409: problem(409)},
)
async def get_export_file(number: Number, api: Api) -> Response:
    """Return the file of an export that is ready, or a range of it."""
    export = await _find(api, number)
    if export.state is not ExportState.READY or export.sha256 is None:
        why = f": {export.problem}" if export.problem else f"; ask GET {router.prefix}/{number} for its state"
        raise ProblemError(ProblemType.NOT_READY, f"export {number} is {export.state.value}{why}")
    path = file_of(_options(api).directory, export)
    if not await asyncio.to_thread(path.is_file):
        raise ProblemError(
            ProblemType.NOT_FOUND,
            f"the file of export {number} is not on this server; ask for it again: POST {router.prefix}",
        )
    asked = export.asked
    digest = base64.b64encode(export.sha256).decode()
    return FileResponse(
        path,
        media_type=_MEDIA_TYPES[asked.format],
        filename=f"{asked.kind}-{asked.start:%Y%m%dT%H%M%SZ}-{asked.stop:%Y%m%dT%H%M%SZ}.{asked.format.value}",
        headers={"ETag": f'"{export.sha256.hex()}"', "Repr-Digest": f"sha-256=:{digest}:"},
    )


def _options(api: Services) -> ExportOptions:
    return _runner(api).require()


@router.delete("/{number}", status_code=204)
async def remove_export(number: Number, api: Api) -> Response:
    """Delete an export and its file; one that is being made is stopped."""
    async with api.database.connection() as connection:
        if not await delete_export(connection, number):
            raise _gone(number)
    if api.exports is not None:
        api.exports.wake()
        files = await asyncio.to_thread(our_files, _options(api).directory)
        await asyncio.to_thread(delete_files, [path for path, (job, _) in files.items() if job == number])
    return Response(status_code=204)


def _shape(export: Export) -> ExportAnswer:
    asked = export.asked
    is_ready = export.state is ExportState.READY
    return {
        "id": export.export_id,
        "state": export.state,
        "kind": asked.kind,
        "start": asked.start,
        "end": asked.stop,
        "district": asked.selection.districts,
        "device": asked.selection.devices,
        "simulated": asked.selection.simulated,
        **write_places(asked.selection),
        "format": asked.format,
        "requested_at": export.requested_at,
        "finished_at": export.finished_at,
        "expires_at": export.expires_at,
        "rows": export.rows_done,
        "rows_estimated": None if is_ready else asked.rows_estimated,
        "progress": _progress(export),
        "bytes": export.size,
        "sha256": export.sha256.hex() if export.sha256 else None,
        "data_version": export.data_version,
        "problem": export.problem,
        "file": f"{router.prefix}/{export.export_id}/file" if is_ready else None,
    }


def _progress(export: Export) -> float:
    """Return the fraction that is done: 1 only when the file is ready."""
    if export.state is ExportState.READY:
        return 1.0
    return min(export.rows_done / max(export.asked.rows_estimated, 1), 0.99)
