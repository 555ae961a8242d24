"""The operator's own base map below ``/ui/map``: what it is, and its bytes, range by range, to whoever is signed in.

Which file that is the operator says; nothing of a request becomes a path. A changed file has another address, so that
browsers keep what they have of it and mix nothing.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from api.access import allow
from api.caching import REVALIDATED
from api.pmtiles import Archive, ArchiveError, open_archive
from api.problems import ProblemError, ProblemType
from api.services import Whole
from storage.api_keys import Role

ROOT = "/ui/map"
# A tile has some hundred kilobytes, and a directory less: each answer is held in memory.
MOST_BYTES = 4 << 20
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")
_FOR_EVER = "private, max-age=31536000, immutable"

router = APIRouter(
    prefix=ROOT, include_in_schema=False, dependencies=[Depends(allow(Role.VIEWER, Role.ADMIN))]
)


@router.get("")
async def describe(whole: Whole) -> Response:
    """Say where the base map's tiles are and how to draw them; ``tiles`` is null where there are none."""
    archive = await _archive(whole)
    tiles: dict[str, Any] | None = None
    if archive is not None:
        tiles = {
            "path": f"{ROOT}/{archive.version}.pmtiles",
            "schema": archive.schema,
            "attribution": archive.attribution,
            "zooms": archive.zooms,
            "bounds": archive.bounds,
        }
    return JSONResponse({"tiles": tiles}, headers={"Cache-Control": REVALIDATED})


@router.get("/{version}.pmtiles")
async def get_range(request: Request, whole: Whole, version: str) -> Response:
    """Return one range of the file, of at most ``MOST_BYTES``: never the whole, which may have gigabytes."""
    archive = await _archive(whole)
    if archive is None or archive.version != version:
        raise ProblemError(ProblemType.NOT_FOUND, "the base map is another now; reload the page")
    tag = f'"{archive.version}"'
    headers = {"ETag": tag, "Cache-Control": _FOR_EVER, "Accept-Ranges": "bytes"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    first, last = _range_of(request, archive, tag)
    try:
        content = await asyncio.to_thread(archive.read, first, last)
    except OSError:
        content = b""
    if len(content) != last - first + 1:
        raise ProblemError(ProblemType.NOT_FOUND, "the base map is being changed; reload the page")
    headers["Content-Range"] = f"bytes {first}-{last}/{archive.size}"
    return Response(content, 206, headers=headers, media_type="application/vnd.pmtiles")


async def _archive(whole: Whole) -> Archive | None:
    path = whole.options.map_tiles
    try:
        # A stat each time; the disk may be slow, or a network's.
        return None if path is None else await asyncio.to_thread(open_archive, path)
    except ArchiveError:
        return None  # said at the start, and by `doctor`


def _range_of(request: Request, archive: Archive, tag: str) -> tuple[int, int]:
    """Return the first and the last byte that are asked for and are there."""
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    is_other = request.headers.get("if-range", tag) != tag
    if asked is None or is_other or not 0 <= int(asked[2]) - int(asked[1]) < MOST_BYTES:
        raise ProblemError(
            ProblemType.TOO_LARGE,
            f"ask for one range of at most {MOST_BYTES} bytes, as in: Range: bytes=0-16383",
        )
    first, last = int(asked[1]), min(int(asked[2]), archive.size - 1)
    if first > last:
        raise ProblemError(
            ProblemType.OUT_OF_RANGE,
            f"the file has {archive.size} bytes; ask for a range within",
            headers={"Content-Range": f"bytes */{archive.size}"},
        )
    return first, last
