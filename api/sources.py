"""Who speaks another firmware's format: seen, claimed as a device, released."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act, refuse
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.description import problem
from api.devices import Text
from api.keys import Caller
from api.members import ANSWER, DeviceId, Moment, Next
from api.options import MessageReader
from api.parameters import require_devices, require_known
from api.problems import ProblemError, ProblemType, unavailable
from api.responses import answer, next_page
from api.services import Services
from sensors.errors import did_you_mean
from storage.audit import record
from storage.kept import count_kept
from storage.kinds import Connection
from storage.wire_sources import (
    LONGEST_NAME,
    HeldError,
    Source,
    SourceError,
    claim_source,
    find_source,
    list_sources,
    release_source,
)

router = APIRouter(prefix=f"{PREFIX}/sources", tags=["sources"])

_CURSOR = "sources"
_FORMAT = Field(description="Which firmware's format.", examples=["chirpstack"])
_SOURCE = Field(
    min_length=1,
    max_length=LONGEST_NAME,
    description="How the format names it.",
    examples=["24e124aa00000007"],
)
_Source = Annotated[Text, _SOURCE]


class SourceFilter(BaseModel):
    """Which sources, page by page."""

    claimed: bool | None = Field(default=None, description="Only those that are, or are not, a device's.")
    format: str | None = Field(default=None, description="Only of this format.", examples=["chirpstack"])
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


class NamedSource(BaseModel):
    """A source by its names."""

    model_config = BODY

    format: Annotated[Text, _FORMAT]
    source: _Source


class ClaimedSource(NamedSource):
    """A source, and the device that it is."""

    device: Annotated[Text, Field(description="That it is.", examples=["sample-air-1"])]
    profile: Annotated[
        Text | None,
        Field(
            description="Which field is which metric; the kind's of this format if left out, else those of its name.",
            examples=["milesight-am300"],
        ),
    ] = None


@with_config(ANSWER)
class SaidAnswer(TypedDict):
    """What a source said in one field."""

    value: Annotated[float, Field(description="The last.", examples=[-3.5])]
    unit: Annotated[str | None, Field(description="UCUM code, where the message says one.", examples=["Cel"])]


@with_config(ANSWER)
class SourceAnswer(TypedDict):
    """Who speaks another firmware's format."""

    format: Annotated[str, _FORMAT]
    source: Annotated[str, _SOURCE]
    device: Annotated[DeviceId | None, Field(description="That it is; null where nobody has claimed it.")]
    profile: Annotated[
        str | None, Field(description="Which field is which metric.", examples=["milesight-am300"])
    ]
    first_seen: Moment
    last_seen: Annotated[Moment, Field(description="Before it was claimed, UTC.")]
    messages: Annotated[int, Field(description="That came before it was claimed.", examples=[12])]
    said: Annotated[
        dict[str, SaidAnswer],
        Field(
            description="By the fields' names, before it was claimed.",
            examples=[{"temperature": {"value": -3.5, "unit": "Cel"}}],
        ),
    ]
    topics: Annotated[
        list[str],
        Field(description="Where.", examples=[["application/a/device/24e124aa00000007/event/up"]]),
    ]
    storing: Annotated[
        bool, Field(description="Whether what was kept of it is still being stored.", examples=[False])
    ]


@with_config(ANSWER)
class SourcesAnswer(TypedDict):
    """A page of sources, in the order of format and name."""

    sources: list[SourceAnswer]
    next: Next


@with_config(ANSWER)
class ClaimAnswer(SourceAnswer):
    """A source that is a device's now."""

    kept: Annotated[
        int, Field(description="Messages of before that ingest stores in the background.", examples=[12])
    ]


@router.get("", response_model=SourcesAnswer)
async def get_sources(request: Request, api: Api, query: Annotated[SourceFilter, Query()]) -> Response:
    """List who speaks another firmware's format, and what those that nobody has claimed said last."""
    if query.format is not None and api.reader is not None:
        require_known("format", [query.format], api.reader.formats)
    after = decode_cursor(query.cursor, _CURSOR, str, str) if query.cursor else ("", "")
    async with api.database.connection() as connection:
        found = await list_sources(
            connection,
            claimed=query.claimed,
            wire_format=query.format,
            after=(after[0], after[1]),
            limit=query.limit,
        )
    cursor = encode_cursor(_CURSOR, found[-1].format, found[-1].name) if len(found) == query.limit else None
    content: SourcesAnswer = {"sources": [_shape(one) for one in found], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


@router.post("/claim", response_model=ClaimAnswer, responses={409: problem(409)})
async def post_claim(request: Request, body: ClaimedSource, api: Api, caller: Asking) -> Response:
    """Make a source a device's, seen or not yet: what it sends becomes readings.

    What was kept of it is read again by ingest, in the background: `storing` says until when.
    """
    _require_whole(request, api, caller)
    require_format(api, body.format)
    async with api.database.connection() as connection, connection.transaction():
        await require_devices(connection, [body.device])
        try:
            await claim_source(connection, body.format, body.source, body.device, body.profile)
        except HeldError as error:
            raise ProblemError(ProblemType.CONFLICT, f"{error}: POST {PREFIX}/sources/release does") from None
        except SourceError as error:
            raise ProblemError(ProblemType.INVALID_BODY, str(error)) from None
        detail = {"format": body.format, "device": body.device, "profile": body.profile}
        await record(connection, [act(request, caller, "claim source", body.source, **detail)])
        kept = await count_kept(connection, body.format, body.source)
        content: ClaimAnswer = {**await _stored(connection, body), "kept": kept}
    return answer(content)


@router.post("/release", response_model=SourceAnswer, responses={404: problem(404), 409: problem(409)})
async def post_release(request: Request, body: NamedSource, api: Api, caller: Asking) -> Response:
    """Make a source nobody's: what it sends from then on is kept as unclaimed."""
    _require_whole(request, api, caller)
    require_format(api, body.format)
    async with api.database.connection() as connection, connection.transaction():
        device = await release_source(connection, body.format, body.source)
        if device is None:
            raise ProblemError(
                ProblemType.NOT_FOUND,
                f"{body.format} {body.source[:80]} is no device's; GET {PREFIX}/sources?claimed=true lists those",
            )
        detail = {"format": body.format, "device": device}
        await record(connection, [act(request, caller, "release source", body.source, **detail)])
        content = await _stored(connection, body)
    return answer(content)


def reader_of(api: Services) -> MessageReader:
    """Return who reads messages, or raise the problem that nobody does."""
    if api.reader is None:
        raise unavailable("this API reads no messages; ask the one that `alatau api` serves")
    return api.reader


def require_format(api: Services, name: str) -> None:
    """Refuse a format in a body that is not understood."""
    formats = reader_of(api).formats
    if name not in formats:
        raise ProblemError(
            ProblemType.INVALID_BODY, f'format "{name[:80]}" is not known; {did_you_mean(name, formats)}'
        )


def _require_whole(request: Request, api: Services, caller: Caller) -> None:
    if not caller.scope.is_whole:
        detail = f"a source that nobody has claimed is the whole city's, and this {caller.what} sees a part"
        raise refuse(request, api, caller, detail)


async def _stored(connection: Connection, body: NamedSource) -> SourceAnswer:
    """Return a source that this transaction has changed."""
    found = await find_source(connection, body.format, body.source)
    if found is None:
        raise ProblemError(ProblemType.CONFLICT, f"{body.source[:80]} has just been forgotten; try again")
    return _shape(found)


def _shape(source: Source) -> SourceAnswer:
    return {
        "format": source.format,
        "source": source.name,
        "device": source.device,
        "profile": source.profile,
        "first_seen": source.first_seen,
        "last_seen": source.last_seen,
        "messages": source.messages,
        "said": {name: {"value": value, "unit": unit} for name, (value, unit) in source.fields.items()},
        "topics": source.topics,
        "storing": source.has_kept,
    }
