"""The stream: what happens now, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field, with_config
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from api.access import Known, secret_of
from api.alert_shape import AlertAnswer
from api.contract import PREFIX
from api.description import EVENTS
from api.keys import Caller
from api.line import line_of
from api.live_filter import Filter, Topic
from api.live_hub import Client, Hub
from api.members import ANSWER, DeviceId, DistrictName, KindName, MetricName, Moment
from api.parameters import require_devices, require_known, split_list
from api.services import Whole

router = APIRouter(prefix=PREFIX, tags=["readings"])

# nginx, and others that do as it does, would keep the events until they are a block.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class LiveFilter(BaseModel):
    """What to be told. All that is given must hold; lists are repeated or separated by commas."""

    events: list[str] = Field(
        [],
        description=f"Only these of {', '.join(Topic)}.",
        examples=[["readings", "status"]],
    )
    metric: list[str] = Field([], description="Only readings of these, and only their values.")
    district: list[str] = []
    kind: list[str] = []
    device: list[str] = []


@with_config(ANSWER)
class LiveReading(TypedDict):
    """What a device has just measured."""

    device: DeviceId
    kind: KindName
    district: DistrictName
    time: Annotated[Moment, Field(description="The device's own, UTC.")]
    received_at: Annotated[Moment, Field(description="Of the arrival of its newest reading, UTC.")]
    values: Annotated[dict[MetricName, float], Field(description="In the metrics' units.")]


@with_config(ANSWER)
class LiveStatus(TypedDict):
    """Whether a device is heard: `offline` when it said so, itself or by its last will, and when its newest reading is
    `stale`; then `online` again."""

    device: DeviceId
    kind: KindName
    district: DistrictName
    status: Annotated[Literal["online", "offline"], Field(description="What it is now.")]
    time: Annotated[
        Moment, Field(description="Since when: its word, its reading, or when one was overdue. UTC.")
    ]


@with_config(ANSWER)
class ReadingsEvent(TypedDict):
    """`data` of `readings`: what is new since the last, newest values first merged by device."""

    readings: list[LiveReading]


@with_config(ANSWER)
class StatusEvent(TypedDict):
    """`data` of `status`: devices that came, or fell silent."""

    devices: list[LiveStatus]


@with_config(ANSWER)
class AlertsEvent(TypedDict):
    """`data` of `alerts`: those that changed, as they are now."""

    alerts: list[AlertAnswer]


@with_config(ANSWER)
class MissedEvent(TypedDict):
    """`data` of `missed`: that not all can be told that happened while the client was away."""

    since: Annotated[Moment | None, Field(description="When it was told last, UTC; null if nobody knows.")]
    detail: Annotated[str, Field(description="What to do.", examples=["ask GET /api/v1/latest"])]


class EventStream(Response):
    """Events without end, of the client that ``join`` makes."""

    media_type = EVENTS

    def __init__(self, hub: Hub, join: Callable[[], Client], longest_seconds: float) -> None:
        super().__init__(None, headers=_HEADERS)
        # How long it will be is not known.
        del self.headers["content-length"]
        self._hub = hub
        self._join = join
        self._longest_seconds = longest_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is told, until that is over."""
        client = self._join()
        end = asyncio.get_running_loop().call_later(self._longest_seconds, client.end)
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            while (piece := await client.pieces.get()) and not client.is_dropped:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            end.cancel()
            self._hub.leave(client)


@router.get(
    "/stream",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {"description": "Events", "model": ReadingsEvent | StatusEvent | AlertsEvent | MissedEvent}
    },
)
async def get_stream(
    request: Request,
    whole: Whole,
    caller: Known,
    query: Annotated[LiveFilter, Query()],
    last_event_id: Annotated[
        str | None, Header(description="`id` of the last event that was received: go on from there.")
    ] = None,
) -> Response:
    """Tell what happens, as server-sent events, each at most once a second.

    `readings`: the values that are new since the last; `status`: devices that came, or fell silent; `alerts`: those
    that changed; `missed`: that not all can be told of the time since `Last-Event-ID`, which was half a minute ago or
    more. A comment comes where nothing has for 15 seconds. A stream ends after an hour, or with its key or session, and
    at a client that does not keep up; browsers then ask again by themselves, with `Last-Event-ID`.
    """
    wanted = await _understand(whole, caller, query)
    hub: Hub = request.app.state.hub
    hub.require_room(caller)
    secret, line = secret_of(request), line_of(request.scope)
    return EventStream(
        hub,
        lambda: hub.join(caller, secret, wanted, last_event_id, line),
        whole.options.live.longest_seconds,
    )


async def _understand(whole: Whole, caller: Caller, query: LiveFilter) -> Filter:
    catalogue = whole.catalogue
    topics, metrics = split_list(query.events), split_list(query.metric)
    kinds, districts = split_list(query.kind), split_list(query.district)
    require_known("events", topics, [topic.value for topic in Topic])
    require_known("metric", metrics, catalogue.metric_of)
    require_known("kind", kinds, catalogue.kind_of)
    require_known("district", districts, catalogue.district_of)
    if devices := split_list(query.device):
        async with whole.database.seen_by(caller.scope, caller.id).connection() as connection:
            await require_devices(connection, devices)
    return Filter(
        frozenset(map(Topic, topics)) or frozenset(Topic),
        frozenset(metrics),
        frozenset(districts),
        frozenset(kinds),
        frozenset(devices),
        caller.scope,
    )
