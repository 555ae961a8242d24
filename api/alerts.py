"""Alerts: what is wrong now and what was, one with its history, and that somebody has seen it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from typing_extensions import TypedDict

from api.access import Api, Asking, act
from api.alert_shape import AlertAnswer, AlertWithHistory, alert_answer, step_shape
from api.contract import BODY, PREFIX
from api.cursors import decode_cursor, encode_cursor
from api.description import problem
from api.devices import Text
from api.members import ANSWER, Next
from api.parameters import require_devices, require_known, split_list
from api.problems import ProblemError, ProblemType, invalid_parameter
from api.responses import answer, next_page
from api.services import Services
from storage.alerts import (
    AlertFilter,
    AlertSort,
    AlertState,
    Severity,
    StoredAlert,
    WorstPlace,
    acknowledge,
    find_alert,
    list_alert_events,
    list_alerts,
    list_worst_alerts,
    worst_place,
)
from storage.audit import record
from storage.kinds import Connection

router = APIRouter(prefix=f"{PREFIX}/alerts", tags=["alerts"])

_SCOPE = "alerts"
_WORST_SCOPE = "alerts worst"
_LARGEST = 2**63 - 1
_Number = Annotated[int, Path(ge=1, le=_LARGEST, description="Of the alert.", examples=[1])]
_Closed = TypeVar("_Closed", bound=enum.StrEnum)


class AlertQuery(BaseModel):
    """Which alerts, page by page; each parameter may have several values with commas between."""

    state: list[str] = Field([], description="pending, firing, acknowledged, resolved; all if left out.")
    severity: list[str] = Field([], description="info, warning, critical.")
    district: list[str] = []
    kind: list[str] = []
    device: list[str] = []
    metric: list[str] = []
    sort: AlertSort = Field(
        AlertSort.NEWEST,
        description="`worst`: only those that are not over, the gravest first, of those first what nobody has "
        "acknowledged, then the newest.",
    )
    cursor: str | None = Field(None, description="`next` of the page before, with the same `sort`.")
    limit: int = Field(100, ge=1, le=1000)


class AcknowledgeBody(BaseModel):
    """What there is to say of it."""

    model_config = BODY

    note: Annotated[Text, Field(max_length=1000)] = Field("", examples=["a crew is on its way"])


@with_config(ANSWER)
class AlertsAnswer(TypedDict):
    """A page of alerts, in the order that was asked for."""

    alerts: list[AlertAnswer]
    next: Next


@router.get("", response_model=AlertsAnswer)
async def get_alerts(request: Request, api: Api, query: Annotated[AlertQuery, Query()]) -> Response:
    """List alerts, the newest or the worst first. What is wrong now is `state=firing,acknowledged`."""
    chosen = alert_filter(api, query)
    async with api.database.connection() as connection:
        await require_devices(connection, chosen.devices)
        page = _worst_page if query.sort is AlertSort.WORST else _newest_page
        alerts, cursor = await page(connection, chosen, query)
    content: AlertsAnswer = {"alerts": [alert_answer(one, api.catalogue) for one in alerts], "next": cursor}
    return answer(content, headers=next_page(request, cursor))


async def _newest_page(
    connection: Connection, chosen: AlertFilter, query: AlertQuery
) -> tuple[list[StoredAlert], str | None]:
    before = decode_cursor(query.cursor, _SCOPE, int)[0] if query.cursor else None
    alerts = await list_alerts(connection, chosen, before=before, limit=query.limit)
    return alerts, encode_cursor(_SCOPE, alerts[-1].id) if len(alerts) == query.limit else None


async def _worst_page(
    connection: Connection, chosen: AlertFilter, query: AlertQuery
) -> tuple[list[StoredAlert], str | None]:
    """Return a page and the cursor of the next. Raises a problem if what is over was asked for."""
    if AlertState.RESOLVED in chosen.states:
        raise invalid_parameter("sort", "is `worst` of what is not over; leave out `resolved`, or this")
    after = WorstPlace(*decode_cursor(query.cursor, _WORST_SCOPE, int, int)) if query.cursor else None
    alerts = await list_worst_alerts(connection, chosen, after=after, limit=query.limit)
    return alerts, encode_cursor(_WORST_SCOPE, *worst_place(alerts[-1])) if len(
        alerts
    ) == query.limit else None


def alert_filter(api: Services, query: AlertQuery) -> AlertFilter:
    """Return what a question names. Raises a problem of a name that there is not."""
    catalogue = api.catalogue
    chosen = AlertFilter(
        _members("state", query.state, AlertState),
        _members("severity", query.severity, Severity),
        *map(split_list, (query.district, query.kind, query.device, query.metric)),
    )
    require_known("district", chosen.districts, catalogue.district_of)
    require_known("kind", chosen.kinds, catalogue.kind_of)
    require_known("metric", chosen.metrics, catalogue.metric_of)
    return chosen


def _members(name: str, values: Iterable[str], of: type[_Closed]) -> tuple[_Closed, ...]:
    given = split_list(values)
    require_known(name, given, [member.value for member in of])
    return tuple(of(value) for value in given)


@router.get("/{number}", response_model=AlertWithHistory)
async def get_alert(number: _Number, api: Api) -> Response:
    """Return one alert and its history."""
    async with api.database.connection() as connection:
        return answer(await _with_history(connection, number, api))


@router.post("/{number}/acknowledge", response_model=AlertWithHistory, responses={409: problem(409)})
async def post_acknowledgement(
    request: Request, number: _Number, body: AcknowledgeBody, api: Api, caller: Asking
) -> Response:
    """Say that somebody has seen a firing alert; it goes on until what is wrong has ended. To do so again changes
    nothing."""
    async with api.database.connection() as connection, connection.transaction():
        if await acknowledge(connection, number, caller.actor, body.note, api.clock()):
            await record(connection, [act(request, caller, "acknowledge alert", str(number), note=body.note)])
        content = await _with_history(connection, number, api)
        if content["state"] in (AlertState.PENDING, AlertState.RESOLVED):
            raise ProblemError(
                ProblemType.NOT_READY,
                f"alert {number} is {content['state']}; only one that fires can be acknowledged",
            )
    return answer(content)


async def _with_history(connection: Connection, number: int, api: Services) -> AlertWithHistory:
    alert: StoredAlert | None = await find_alert(connection, number)
    if alert is None:
        raise ProblemError(
            ProblemType.NOT_FOUND,
            f"there is no alert {number}; GET {PREFIX}/alerts lists those that there are",
        )
    events = await list_alert_events(connection, number)
    return {**alert_answer(alert, api.catalogue), "history": [step_shape(event) for event in events]}
