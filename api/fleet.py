"""The fleet as an operator looks at it: devices by what they are doing, the worst first."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api
from api.contract import PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.latest_shape import STALE_AFTER_INTERVALS, STALE_AFTER_SECONDS
from api.members import (
    ANSWER,
    Count,
    DeviceId,
    DistrictName,
    KindName,
    Moment,
    Next,
    Position,
    Seconds,
    Simulated,
)
from api.parameters import EARLIEST, LATEST, require_devices, require_known, split_list
from api.problems import invalid_parameter
from api.responses import answer, next_page
from api.selection import SelectionParameters, understand_selection
from sensors.times import from_microseconds, to_microseconds
from storage.fleet import FleetDevice, Look, Patience, Place, Sort, State, count_fleet, list_fleet

router = APIRouter(prefix=PREFIX, tags=["devices"])

_SCOPE = "fleet"
PATIENCE = Patience(STALE_AFTER_INTERVALS, STALE_AFTER_SECONDS)


class FleetFilter(SelectionParameters):
    """Which devices, page by page. Lists are repeated or separated by commas."""

    q: str = Field("", max_length=64, pattern=r"^[^\x00]*$", description="A part of the id, in any case.")
    state: list[str] = Field([], description="Only devices in one of these states.", examples=[["silent"]])
    sort: Sort = Field(
        Sort.WORST,
        description="`worst`: by the worst open alert, then by for how many of its intervals a device is silent.",
    )
    cursor: str | None = Field(None, description="`next` of the page before.")
    limit: int = Field(100, ge=1, le=1000)


@with_config(ANSWER)
class OpenAlerts(TypedDict):
    """Alerts of a device that are open, acknowledged or not; pending ones are not among them."""

    open: Annotated[Count, Field(description="How many.")]
    severity: Annotated[
        Literal["info", "warning", "critical"] | None, Field(description="The worst of theirs; null of none.")
    ]


@with_config(ANSWER)
class FleetMember(TypedDict):
    """A device and what it is doing."""

    device: DeviceId
    kind: KindName
    district: DistrictName
    position: Position | None
    simulated: Simulated
    interval_seconds: Annotated[Seconds, Field(description="Expected between two readings, s.")]
    state: Annotated[
        State,
        Field(
            description="`silent`: the newest reading is older than three intervals and than a minute, or the device "
            "said afterwards that it is offline, itself or by its last will."
        ),
    ]
    time: Annotated[Moment | None, Field(description="Of the newest reading, the device's own, UTC.")]
    age_seconds: Annotated[
        Seconds | None, Field(description="Since then, s; below 0 of a clock that is ahead.")
    ]
    received_at: Annotated[Moment | None, Field(description="Of its arrival, UTC.")]
    alerts: OpenAlerts


@with_config(ANSWER)
class FleetCounts(TypedDict):
    """How many devices are in each state, whichever states were asked for."""

    reporting: Annotated[
        Count, Field(description="Their newest reading is not stale, and they are not offline.")
    ]
    silent: Annotated[Count, Field(description="It is, or they are.")]
    never: Annotated[Count, Field(description="They have had none yet.")]
    disabled: Annotated[Count, Field(description="The broker does not let them in.")]


@with_config(ANSWER)
class FleetAnswer(TypedDict):
    """A page of devices by what they are doing."""

    devices: list[FleetMember]
    counts: FleetCounts
    next: Next


@router.get("/fleet", response_model=FleetAnswer)
async def get_fleet(request: Request, api: Api, query: Annotated[FleetFilter, Query()]) -> Response:
    """List devices by what they are doing, the worst first, and count them.

    A cursor carries the moment of its first page, by which all pages are in order.
    """
    states = split_list(query.state)
    require_known("state", states, [state.value for state in State])
    selection = understand_selection(query, api.catalogue)
    look = Look(selection, query.q.strip(), tuple(map(State, states)))
    scope = f"{_SCOPE} {query.sort.value}"
    now = api.clock()
    after, as_of = _place(query.cursor, scope, now)
    async with api.database.connection() as connection:
        await require_devices(connection, selection.devices)
        devices = await list_fleet(
            connection, look, as_of, PATIENCE, sort=query.sort, after=after, limit=query.limit
        )
        counts = await count_fleet(connection, look, as_of, PATIENCE)
    cursor = None
    if len(devices) == query.limit:
        last = devices[-1]
        cursor = encode_cursor(scope, last.badness, last.device, to_microseconds(as_of))
    content: FleetAnswer = {
        "devices": [_shape(device, now) for device in devices],
        "counts": {
            "reporting": counts[State.REPORTING],
            "silent": counts[State.SILENT],
            "never": counts[State.NEVER],
            "disabled": counts[State.DISABLED],
        },
        "next": cursor,
    }
    return answer(content, headers=next_page(request, cursor))


def _place(cursor: str | None, scope: str, now: dt.datetime) -> tuple[Place | None, dt.datetime]:
    """Return where the page before ended, and the moment by which the pages are in order."""
    if cursor is None:
        return None, now
    badness, device, as_of = decode_cursor(cursor, scope, int, str, int)
    if not EARLIEST <= as_of < LATEST:
        raise invalid_parameter("cursor", 'is not one that this list gave; take "next" of the page before')
    return Place(badness, device), from_microseconds(as_of)


def _shape(device: FleetDevice, now: dt.datetime) -> FleetMember:
    return {
        "device": device.device,
        "kind": device.kind,
        "district": device.district,
        "position": device.position,
        "simulated": device.simulated,
        "interval_seconds": device.interval_seconds,
        "state": device.state,
        "time": device.time,
        "age_seconds": None if device.time is None else (now - device.time).total_seconds(),
        "received_at": device.received_at,
        "alerts": {"open": device.alerts, "severity": device.severity},
    }
