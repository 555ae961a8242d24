"""Windows of maintenance: times in which nothing new is raised of a device, a district, a kind, or the whole city."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act, refuse, require_in_scope
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.devices import Text
from api.keys import Caller
from api.members import ANSWER, DeviceId, DistrictName, KindName, Moment, Next
from api.parameters import parse_moment, require_devices, require_known
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer, next_page
from api.services import Services
from sensors.times import from_microseconds, to_microseconds
from storage.alert_rules import Window, add_window, delete_window, list_windows
from storage.audit import record

router = APIRouter(prefix=f"{PREFIX}/maintenance-windows", tags=["maintenance windows"])

_SCOPE = "maintenance-windows"
_LARGEST = 2**31 - 1


class NewWindow(BaseModel):
    """A window to be added: of a device, or of a district and a kind, or without all of these of the whole city."""

    model_config = BODY

    starts: str = Field("now", description="RFC 3339 with zone, or from now such as PT1H.")
    ends: str = Field(description="The same, later.", examples=["PT2H"])
    device: str | None = None
    district: str | None = Field(None, examples=["gate"])
    kind: str | None = None
    reason: Annotated[Text, Field(min_length=1, description="For people.", examples=["calibration"])]


class WindowQuery(BaseModel):
    """Windows page by page."""

    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class WindowAnswer(TypedDict):
    """A window of maintenance."""

    id: Annotated[int, Field(description="Its number.", examples=[1])]
    starts: Moment
    ends: Annotated[Moment, Field(description="Not part of it; UTC.")]
    device: DeviceId | None
    district: DistrictName | None
    kind: KindName | None
    reason: Annotated[str, Field(description="For people.", examples=["calibration"])]
    created_by: Annotated[str, Field(description="A key or a person.", examples=["anna"])]


@with_config(ANSWER)
class WindowsAnswer(TypedDict):
    """A page of windows that are not over."""

    maintenance_windows: list[WindowAnswer]
    next: Next


@router.get("", response_model=WindowsAnswer)
async def get_windows(request: Request, api: Api, query: Annotated[WindowQuery, Query()]) -> Response:
    """List the windows that are not over."""
    after = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else 0
    async with api.database.connection() as connection:
        windows = await list_windows(connection, api.clock(), after=after, limit=query.limit)
    cursor = encode_cursor(_SCOPE, windows[-1].id) if len(windows) == query.limit else None
    content: WindowsAnswer = {"maintenance_windows": [_shape(one) for one in windows], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


@router.post("", status_code=201, response_model=WindowAnswer)
async def post_window(request: Request, body: NewWindow, api: Api, caller: Asking) -> Response:
    """Add a window. Alerts that there are already go on."""
    now = to_microseconds(api.clock())
    starts, ends = (parse_moment(name, getattr(body, name), now) for name in ("starts", "ends"))
    if not starts < ends:
        raise invalid_parameter("ends", "is not after starts; write when the work is done, such as PT2H")
    _require_place(request, body, api, caller)
    first, last = from_microseconds(starts), from_microseconds(ends)
    async with api.database.connection() as connection, connection.transaction():
        await require_devices(connection, [body.device] if body.device is not None else [])
        place = {"device": body.device, "district": body.district, "kind": body.kind}
        number = await add_window(
            connection, first, last, **place, reason=body.reason, created_by=caller.actor
        )
        if number is None:
            raise ProblemError(ProblemType.NOT_FOUND, f"the device {body.device} was deleted meanwhile")
        event = act(request, caller, "add maintenance window", str(number), **place, reason=body.reason)
        await record(connection, [event])
    window = Window(number, first, last, **place, reason=body.reason, created_by=caller.actor)
    return answer(_shape(window), status=201)


def _require_place(request: Request, body: NewWindow, api: Services, caller: Caller) -> None:
    for name, value, known, valid in (
        ("district", body.district, api.catalogue.district_of, caller.scope.districts),
        ("kind", body.kind, api.catalogue.kind_of, caller.scope.kinds),
    ):
        if value is not None:
            if body.device is not None:
                raise invalid_parameter(name, "is the device's own; leave it out where a device is named")
            require_in_scope(request, api, caller, name, value, valid)
            require_known(name, [value], known)
        elif valid is not None and body.device is None:
            raise refuse(
                request, api, caller, f"this {caller.what} sees only {name}={','.join(valid)}; name one"
            )


@router.delete("/{number}", status_code=204)
async def delete_one_window(
    request: Request,
    number: Annotated[int, Path(ge=1, le=_LARGEST, description="Of the window.", examples=[1])],
    api: Api,
    caller: Asking,
) -> Response:
    """Delete a window."""
    async with api.database.connection() as connection, connection.transaction():
        if not await delete_window(connection, number):
            raise ProblemError(
                ProblemType.NOT_FOUND,
                f"there is no maintenance window {number}; GET {PREFIX}/maintenance-windows lists them",
            )
        await record(connection, [act(request, caller, "delete maintenance window", str(number))])
    return Response(status_code=204)


def _shape(window: Window) -> WindowAnswer:
    return {
        "id": window.id,
        "starts": window.starts,
        "ends": window.ends,
        "device": window.device,
        "district": window.district,
        "kind": window.kind,
        "reason": window.reason,
        "created_by": window.created_by,
    }
