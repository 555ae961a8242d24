"""Gaps in the numbers of devices' readings: what has not come, and what never will."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.parameters import require_devices
from api.responses import answer, next_page
from api.services import Api
from storage.gaps import Gap, GapState, list_gaps

router = APIRouter(prefix=f"{PREFIX}/gaps", tags=["gaps"])

_SCOPE = "gaps"


class GapFilter(BaseModel):
    """Which gaps, page by page."""

    device: str | None = None
    state: GapState | None = Field(
        default=None, description="`open`: the numbers may still come; `abandoned`: the device gave them up."
    )
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@router.get("")
async def get_gaps(request: Request, api: Api, query: Annotated[GapFilter, Query()]) -> Response:
    """List the numbers of readings that have not come, in the order of devices and numbers."""
    device, first = decode_cursor(query.cursor, _SCOPE, str, int) if query.cursor else ("", 0)
    async with api.database.connection() as connection:
        await require_devices(connection, [query.device] if query.device else [])
        gaps = await list_gaps(
            connection, after=(device, first), limit=query.limit, device=query.device, state=query.state
        )
    cursor = encode_cursor(_SCOPE, gaps[-1].device, gaps[-1].first) if len(gaps) == query.limit else None
    return answer({"gaps": [_shape(gap) for gap in gaps], "next": cursor}, headers=next_page(request, cursor))


def _shape(gap: Gap) -> dict[str, Any]:
    return {
        "device": gap.device,
        "state": gap.state.value,
        "first": gap.first,
        "last": gap.last,
        "missing": gap.missing,
        "since": gap.since,
    }
