"""Corrections of stored readings: making one, and the record of all."""

from __future__ import annotations

import enum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.access import Caller
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.devices import Text, require_device
from api.parameters import parse_range, require_devices, require_known
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer, next_page
from api.services import Api
from sensors.kinds import Kind
from sensors.times import to_microseconds
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


_NOTHING_CHANGED = {"description": "Nothing was changed", "content": {"application/json": {"schema": {}}}}


@router.post("", status_code=201, responses={200: _NOTHING_CHANGED})
async def post_correction(body: NewCorrection, api: Api, caller: Caller) -> Response:
    """Delete or amend readings of one device. What was done, by whom and why, stays on record.

    Repeating it is safe: what is as it should be is not changed again, but scale and offset add up.
    """
    start, end = parse_range(body.start, body.end, to_microseconds(api.clock()))
    async with api.database.connection() as connection:
        await require_devices(connection, [body.device])
        device = await require_device(connection, body.device)
        kind = api.catalogue.kind_of[device.kind]
        correction = Correction(
            body.device, start, end, _action(body, kind), who=caller, why=body.why, is_forced=body.force
        )
        make = try_correction if body.dry_run else correct
        try:
            done = await make(connection, kind, correction)
        except HorizonError as error:
            raise invalid_parameter("start", str(error)) from None
        except ImplausibleError as error:
            name = "scale" if body.set is None else "set"
            raise invalid_parameter(name, str(error)) from None
    is_recorded = done.number is not None and not body.dry_run
    return answer(
        {
            "id": done.number if is_recorded else None,
            "changed": done.changed,
            "deleted": done.deleted,
        },
        status=201 if is_recorded else 200,
    )


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


@router.get("")
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
    return answer(
        {"corrections": [_shape(one) for one in found], "next": cursor}, headers=next_page(request, cursor)
    )


def _shape(one: RecordedCorrection) -> dict[str, Any]:
    return {
        "id": one.number,
        "at": one.at,
        "by": one.who,
        "why": one.why,
        "device": one.device,
        "kind": one.kind,
        "start": one.start,
        "end": one.end,
        "action": (What.DELETE if What.DELETE in one.action else What.AMEND).value,
        "metric": one.action.get(What.DELETE, one.action.get(What.AMEND)),
        **{name: one.action[name] for name in ("set", "scale", "offset") if name in one.action},
        "changed": one.changed,
        "deleted": one.deleted,
    }
