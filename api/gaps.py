"""Gaps in the numbers of devices' readings: what has not come, and what never will."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.members import ANSWER, DeviceId, Moment, Next
from api.parameters import require_devices
from api.responses import answer, next_page
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


@with_config(ANSWER)
class NumberGap(TypedDict):
    """Numbers of a device's readings, one behind the other, none of which came."""

    device: DeviceId
    state: GapState
    first: Annotated[int, Field(description="Part of the gap.", examples=[1204])]
    last: Annotated[int, Field(description="Part of the gap.", examples=[1204])]
    missing: Annotated[int, Field(description="How many numbers it has.", examples=[1])]
    since: Annotated[
        Moment, Field(description="When the device began to lack numbers, or gave these up; UTC.")
    ]


@with_config(ANSWER)
class GapsAnswer(TypedDict):
    """A page of gaps, in the order of devices and numbers."""

    gaps: list[NumberGap]
    next: Next


@router.get("", response_model=GapsAnswer)
async def get_gaps(request: Request, api: Api, query: Annotated[GapFilter, Query()]) -> Response:
    """List the numbers of readings that have not come, in the order of devices and numbers."""
    device, first = decode_cursor(query.cursor, _SCOPE, str, int) if query.cursor else ("", 0)
    async with api.database.connection() as connection:
        await require_devices(connection, [query.device] if query.device else [])
        gaps = await list_gaps(
            connection, after=(device, first), limit=query.limit, device=query.device, state=query.state
        )
    cursor = encode_cursor(_SCOPE, gaps[-1].device, gaps[-1].first) if len(gaps) == query.limit else None
    content: GapsAnswer = {"gaps": [_shape(gap) for gap in gaps], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


def _shape(gap: Gap) -> NumberGap:
    return {
        "device": gap.device,
        "state": gap.state,
        "first": gap.first,
        "last": gap.last,
        "missing": gap.missing,
        "since": gap.since,
    }
