"""The audit: who did what, and what was refused to whom."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.devices import Text
from api.members import ANSWER, Moment, Next
from api.responses import answer, next_page
from storage.audit import Outcome, RecordedEvent, list_events

router = APIRouter(prefix=f"{PREFIX}/audit", tags=["audit"])

_SCOPE = "audit"


class AuditFilter(BaseModel):
    """Which events, page by page."""

    action: Text | None = Field(None, description="Exactly this, such as `make key` or `sign in`.")
    actor: Text | None = Field(None, description="A part of the actor, such as a key's prefix.")
    outcome: Outcome | None = None
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class AuditEvent(TypedDict):
    """One event."""

    id: Annotated[int, Field(description="Rises.", examples=[17])]
    at: Annotated[Moment, Field(description="UTC.")]
    actor: Annotated[
        str, Field(description="The key, or who used the command line.", examples=["0123456789ab (notebook)"])
    ]
    address: Annotated[
        Annotated[str, Field(examples=["127.0.0.1"])] | None,
        Field(description="From where; null: this machine."),
    ]
    action: Annotated[str, Field(description="What was done, or refused.", examples=["make key"])]
    subject: Annotated[Annotated[str, Field(examples=["ba9876543210"])] | None, Field(description="To what.")]
    outcome: Annotated[Outcome, Field(description="Whether it was done.", examples=["done"])]
    times: Annotated[int, Field(description="Refusals of one kind are counted together.", examples=[1])]
    detail: Annotated[
        dict[str, bool | str | int | None], Field(description="More of it.", examples=[{"role": "viewer"}])
    ]


@with_config(ANSWER)
class AuditAnswer(TypedDict):
    """A page of events, the newest first."""

    events: Annotated[list[AuditEvent], Field(description="The newest first.")]
    next: Next


@router.get("", response_model=AuditAnswer)
async def get_audit(request: Request, api: Api, query: Annotated[AuditFilter, Query()]) -> Response:
    """List what was done and what was refused, the newest first. Refusals are there after some seconds."""
    before = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else None
    async with api.database.connection() as connection:
        events = await list_events(
            connection,
            before=before,
            limit=query.limit,
            action=query.action,
            actor=query.actor,
            outcome=query.outcome,
        )
    cursor = encode_cursor(_SCOPE, events[-1].number) if len(events) == query.limit else None
    content: AuditAnswer = {"events": [_shape(one) for one in events], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


def _shape(one: RecordedEvent) -> AuditEvent:
    event = one.event
    return {
        "id": one.number,
        "at": one.at,
        "actor": event.actor,
        "address": event.address,
        "action": event.action,
        "subject": event.subject,
        "outcome": event.outcome,
        "times": event.times,
        "detail": dict(event.detail),
    }
