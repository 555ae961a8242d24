"""What was delivered of alerts, what waits, and what was given up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.members import ANSWER, Moment, Next
from api.problems import ProblemError, ProblemType
from api.responses import answer, next_page
from storage.delivery_list import Delivery, DeliveryState, list_deliveries
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/deliveries", tags=["alerts"])

_SCOPE = "deliveries"
_LARGEST = 2**63 - 1


class DeliveryFilter(BaseModel):
    """Which deliveries, page by page."""

    state: DeliveryState | None = Field(
        default=None, description="`dead`: given up; `alatau destination replay` has them made after all."
    )
    destination: str | None = Field(default=None, description="A destination.", examples=["mqtt"])
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class DeliveryAnswer(TypedDict):
    """A delivery of one event of an alert to one destination."""

    number: Annotated[int, Field(description="Names it.", examples=[17])]
    id: Annotated[
        str,
        Field(
            description="Of the message, the same in each attempt.",
            examples=["6d1f0a3e-9d57-4b59-9f0c-3f6a3e1e6a51"],
        ),
    ]
    destination: Annotated[str, Field(description="Its name.", examples=["control-room"])]
    alert: Annotated[str | None, Field(description="The alert; null: a test.", examples=["17"])]
    event: Annotated[
        str | None, Field(description="The state that it came to; null: a test.", examples=["firing"])
    ]
    state: Annotated[DeliveryState, Field(description="What came of it.", examples=["delivered"])]
    attempts: Annotated[int, Field(description="How often it was tried.", examples=[1])]
    created_at: Moment
    next_attempt_at: Annotated[Moment | None, Field(description="UTC, not before; null: it does not wait.")]
    finished_at: Annotated[Moment | None, Field(description="UTC; null: it waits.")]
    last_error: Annotated[
        str | None, Field(description="Why it did not arrive, the last time.", examples=["status 500"])
    ]


@with_config(ANSWER)
class DeliveriesAnswer(TypedDict):
    """A page of deliveries, the newest first."""

    deliveries: list[DeliveryAnswer]
    next: Next


@router.get("", response_model=DeliveriesAnswer)
async def get_deliveries(request: Request, api: Api, query: Annotated[DeliveryFilter, Query()]) -> Response:
    """List deliveries of alerts, the newest first; finished ones are kept for 90 days."""
    before = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else None
    async with api.database.connection() as connection:
        found = await list_deliveries(
            connection, state=query.state, destination=query.destination, before=before, limit=query.limit
        )
    cursor = encode_cursor(_SCOPE, found[-1].number) if len(found) == query.limit else None
    content: DeliveriesAnswer = {"deliveries": [delivery_answer(one) for one in found], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


@router.get("/{number}", response_model=DeliveryAnswer)
async def get_delivery(number: Annotated[int, Path(ge=1, le=_LARGEST)], api: Api) -> Response:
    """Return one delivery."""
    async with api.database.connection() as connection:
        return answer(delivery_answer(await require_delivery(connection, number)))


async def require_delivery(connection: Connection, number: int) -> Delivery:
    """Return a delivery by its number. Raises a problem where there is none."""
    found = await list_deliveries(connection, number=number)
    if not found:
        raise ProblemError(
            ProblemType.NOT_FOUND,
            f"there is no delivery {number}; finished ones are deleted after 90 days, and with their destination",
        )
    return found[0]


def delivery_answer(one: Delivery) -> DeliveryAnswer:
    """Return the answer that a delivery is."""
    return {
        "number": one.number,
        "id": one.message_id,
        "destination": one.destination,
        "alert": None if one.alert is None else str(one.alert),
        "event": one.event,
        "state": one.state,
        "attempts": one.attempts,
        "created_at": one.created_at,
        "next_attempt_at": one.next_attempt,
        "finished_at": one.finished_at,
        "last_error": one.last_error,
    }
