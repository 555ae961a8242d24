"""Corrections of stored readings: making one, and the record of all."""

from __future__ import annotations

import enum
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.devices import Text, require_device
from api.members import ANSWER, Count, DeviceId, KindName, MetricName, Moment, Next
from api.parameters import parse_range, require_devices, require_known
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer, next_page
from sensors.kinds import Kind
from sensors.times import to_microseconds
from storage.audit import record
from storage.corrections import (
    Action,
    Correction,
    Delete,
    HorizonError,
    ImplausibleError,
    RecordedCorrection,
    Replace,
    Rescale,
    correct,
    list_corrections,
    try_correction,
)

router = APIRouter(prefix=f"{PREFIX}/corrections", tags=["corrections"])

_SCOPE = "corrections"


class What(enum.StrEnum):
    """What is done to the readings."""

    DELETE = "delete"
    AMEND = "amend"


class NewCorrection(BaseModel):
    """A correction of the readings of one device in a range."""

    model_config = ConfigDict(
        **BODY,
        json_schema_extra={
            "examples": [
                {
                    "device": "sample-air-1",
                    "start": "-PT6H",
                    "end": "now",
                    "action": "delete",
                    "metric": "pm2_5",
                    "why": "the sensor was being cleaned",
                    "dry_run": True,
                }
            ]
        },
    )

    device: str
    start: str = Field(description="RFC 3339 with zone, `now`, or from now such as `-PT6H`.")
    end: str = Field(description="Not part of the range itself.")
    action: What
    metric: str | None = Field(
        None, description="To be amended; or alone to be deleted, else whole readings."
    )
    set: float | None = Field(None, description="The value that each one becomes.")
    scale: float | None = Field(None, description="Each value becomes scale · value + offset.")
    offset: float | None = None
    why: Text = Field(min_length=1)
    force: bool = Field(default=False, description="Also values that are not plausible.")
    dry_run: bool = Field(default=False, description="Say what would change, and change nothing.")


class CorrectionFilter(BaseModel):
    """Which corrections, page by page."""

    device: str | None = None
    kind: str | None = None
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class CorrectionAnswer(TypedDict):
    """What came of a correction."""

    id: Annotated[int | None, Field(description="Null where nothing was changed.", examples=[7])]
    changed: Annotated[Count, Field(description="Readings that have other values now.")]
    deleted: Annotated[Count, Field(description="Readings that are gone.")]


class Amendment(TypedDict, total=False):
    """What values became: either `set`, or scale · value + offset."""

    set: Annotated[float, Field(description="In the metric's unit.")]
    scale: Annotated[float, Field(description="A factor.", examples=[1.0])]
    offset: Annotated[float, Field(description="In the metric's unit.", examples=[-1.5])]


@with_config(ANSWER)
class CorrectionRecord(Amendment):
    """A correction on record."""

    id: Annotated[int, Field(description="Its number.", examples=[7])]
    at: Moment
    by: Annotated[str, Field(description="Name of the API key, or the user.", examples=["ops"])]
    why: Annotated[str, Field(description="The reason given.", examples=["calibration"])]
    device: DeviceId
    kind: KindName
    start: Annotated[Moment, Field(description="Of the range, UTC.")]
    end: Annotated[Moment, Field(description="Not part of the range, UTC.")]
    action: Annotated[What, Field(examples=["amend"])]
    metric: Annotated[MetricName | None, Field(description="Null where whole readings were deleted.")]
    changed: Annotated[Count, Field(description="Readings that had other values then.")]
    deleted: Annotated[Count, Field(description="Readings that were gone then.")]


@with_config(ANSWER)
class CorrectionsAnswer(TypedDict):
    """A page of corrections, the newest first."""

    corrections: list[CorrectionRecord]
    next: Next


_NOTHING_CHANGED = {"description": "Nothing was changed", "model": CorrectionAnswer}


@router.post("", status_code=201, response_model=CorrectionAnswer, responses={200: _NOTHING_CHANGED})
async def post_correction(request: Request, body: NewCorrection, api: Api, caller: Asking) -> Response:
    """Delete or amend readings of one device. What was done, by whom and why, stays on record.

    Repeating it is safe: what is as it should be is not changed again, but scale and offset add up.
    """
    start, end = parse_range(body.start, body.end, to_microseconds(api.clock()))
    async with api.database.connection() as connection:
        await require_devices(connection, [body.device])
        device = await require_device(connection, body.device)
        kind = api.catalogue.kind_of[device.kind]
        correction = Correction(
            body.device,
            start,
            end,
            _action(body, kind),
            who=caller.signature,
            why=body.why,
            is_forced=body.force,
        )
        make = try_correction if body.dry_run else correct
        try:
            async with connection.transaction():
                done = await make(connection, kind, correction)
                if done.number is not None and not body.dry_run:
                    event = act(request, caller, "correct readings", body.device, correction=done.number)
                    await record(connection, [event])
        except HorizonError as error:
            raise invalid_parameter("start", str(error)) from None
        except ImplausibleError as error:
            name = "scale" if body.set is None else "set"
            raise invalid_parameter(name, str(error)) from None
    is_recorded = done.number is not None and not body.dry_run
    content: CorrectionAnswer = {
        "id": done.number if is_recorded else None,
        "changed": done.changed,
        "deleted": done.deleted,
    }
    return answer(content, status=201 if is_recorded else 200)


def _action(body: NewCorrection, kind: Kind) -> Action:
    if body.metric is not None:
        require_known("metric", [body.metric], kind.columns)
    values = (body.set, body.scale, body.offset)
    if body.action is What.DELETE:
        if any(value is not None for value in values):
            raise _invalid('set, scale and offset go with "action": "amend"')
        return Delete(body.metric)
    if body.metric is None:
        raise _invalid("metric: say which one is to be amended")
    if body.set is not None and body.scale is None and body.offset is None:
        return Replace(body.metric, body.set)
    if body.set is None and (body.scale is not None or body.offset is not None):
        return Rescale(body.metric, 1.0 if body.scale is None else body.scale, body.offset or 0.0)
    raise _invalid("give either set, or scale, offset or both")


def _invalid(detail: str) -> ProblemError:
    return ProblemError(ProblemType.INVALID_BODY, detail)


@router.get("", response_model=CorrectionsAnswer)
async def get_corrections(
    request: Request, api: Api, query: Annotated[CorrectionFilter, Query()]
) -> Response:
    """List corrections, newest first."""
    require_known("kind", [query.kind] if query.kind else (), api.catalogue.kind_of)
    before = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else None
    async with api.database.connection() as connection:
        await require_devices(connection, [query.device] if query.device else [])
        found = await list_corrections(
            connection, before=before, limit=query.limit, device=query.device, kind=query.kind
        )
    cursor = encode_cursor(_SCOPE, found[-1].number) if len(found) == query.limit else None
    content: CorrectionsAnswer = {"corrections": [_shape(one) for one in found], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


def _shape(one: RecordedCorrection) -> CorrectionRecord:
    amendment = {name: one.action[name] for name in ("set", "scale", "offset") if name in one.action}
    return {
        "id": one.number,
        "at": one.at,
        "by": one.who,
        "why": one.why,
        "device": one.device,
        "kind": one.kind,
        "start": one.start,
        "end": one.end,
        "action": What.DELETE if What.DELETE in one.action else What.AMEND,
        "metric": one.action.get(What.DELETE, one.action.get(What.AMEND)),
        **cast("Amendment", amendment),
        "changed": one.changed,
        "deleted": one.deleted,
    }
