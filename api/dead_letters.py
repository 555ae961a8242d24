"""Dead letters: what was refused, and why."""

from __future__ import annotations

import base64
import codecs
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.members import ANSWER, DeviceId, Moment, Next
from api.parameters import require_devices
from api.problems import ProblemError, ProblemType
from api.responses import answer, next_page
from sensors.checks import Reason
from storage.dead_letters import StoredLetter, find_letter, list_letters

router = APIRouter(prefix=f"{PREFIX}/dead-letters", tags=["dead letters"])

_SCOPE = "dead-letters"
_LARGEST = 2**63 - 1


class LetterFilter(BaseModel):
    """Which letters, page by page."""

    reason: Reason | None = None
    device: str | None = None
    waiting: bool = Field(default=False, description="Only those that no replay has got accepted.")
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class LetterAnswer(TypedDict):
    """A message that was refused, or a part of one."""

    id: Annotated[int, Field(description="Its number.", examples=[4])]
    received_at: Moment
    device: DeviceId | None
    topic: Annotated[
        str, Field(description="Where it was published.", examples=["alatau/v1/sample-air-1/telemetry"])
    ]
    reason: Annotated[str, Field(description="One of the filter's.", examples=["unknown_metric"])]
    detail: Annotated[
        str,
        Field(
            description="What is wrong with it.",
            examples=['air_quality has no metric "pm2.5"; did you mean "pm2_5"?'],
        ),
    ]
    payload: Annotated[
        str, Field(description="Base64; in lists only its beginning.", examples=["eyJwbTIuNSI6IDEyLjV9"])
    ]
    payload_text: Annotated[
        str | None, Field(description="The same where it is UTF-8.", examples=['{"pm2.5": 12.5}'])
    ]
    payload_bytes: Annotated[int, Field(description="Length of the whole payload, bytes.", examples=[15])]
    repeats: Annotated[int, Field(description="Further ones that were only counted.", examples=[0])]
    replayed_at: Annotated[Moment | None, Field(description="When a replay got it accepted, UTC.")]
    replay_verdict: Annotated[str | None, Field(description="Of the last replay.", examples=[None])]


@with_config(ANSWER)
class LettersAnswer(TypedDict):
    """A page of refused messages, the newest first."""

    dead_letters: list[LetterAnswer]
    next: Next


@router.get("", response_model=LettersAnswer)
async def get_letters(request: Request, api: Api, query: Annotated[LetterFilter, Query()]) -> Response:
    """List refused messages, the newest first, each with the first 4096 bytes of its payload."""
    before = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else None
    async with api.database.connection() as connection:
        await require_devices(connection, [query.device] if query.device else [])
        letters = await list_letters(
            connection,
            before=before,
            limit=query.limit,
            reason=query.reason,
            device=query.device,
            waiting_only=query.waiting,
        )
    cursor = encode_cursor(_SCOPE, letters[-1].dead_letter_id) if len(letters) == query.limit else None
    content: LettersAnswer = {"dead_letters": [_shape(letter) for letter in letters], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


@router.get("/{number}", response_model=LetterAnswer)
async def get_letter(number: Annotated[int, Path(ge=1, le=_LARGEST)], api: Api) -> Response:
    """Return one refused message."""
    async with api.database.connection() as connection:
        letter = await find_letter(connection, number)
    if letter is None:
        raise ProblemError(
            ProblemType.NOT_FOUND, f"there is no dead letter {number}; the oldest are deleted at the bound"
        )
    return answer(_shape(letter))


def _shape(letter: StoredLetter) -> LetterAnswer:
    return {
        "id": letter.dead_letter_id,
        "received_at": letter.received_at,
        "device": letter.device,
        "topic": letter.topic,
        "reason": letter.reason,
        "detail": letter.detail,
        "payload": base64.b64encode(letter.payload).decode(),
        "payload_text": _text(letter),
        "payload_bytes": letter.payload_bytes,
        "repeats": letter.repeats,
        "replayed_at": letter.replayed_at,
        "replay_verdict": letter.replay_verdict,
    }


def _text(letter: StoredLetter) -> str | None:
    """Return the payload as text, or None if it is none; a list's part may end within a character."""
    is_whole = len(letter.payload) == letter.payload_bytes
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(letter.payload, final=is_whole)
    except UnicodeDecodeError:
        return None
